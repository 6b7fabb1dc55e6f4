"""A lock that nobody else wants: acquired and released. (benchmarks/locks.py has waiters.)"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import redis

from ..harness import Result
from ..peers import OFF, settings_of
from ..slices import Call, Contestant, Plan, race
from ..tables import micros, times
from .scenario import Run, Scenario

TTL = 30
BASE, OURS = "redis-py: Lock", "redis_atomic: redis_lock"


def taking_turns(lock: Any) -> Call:
    return lambda _: (lock.acquire(), lock.release())


def ours(url: str) -> Iterator[Call]:
    from redis_atomic import redis_lock

    lock = redis_lock("free", ttl=TTL)
    yield lambda _: lock.acquire().release()


def redis_py(url: str) -> Iterator[Call]:
    with redis.Redis.from_url(url) as client:
        yield taking_turns(client.lock("free:redis-py", timeout=TTL))


def python_redis_lock(url: str) -> Iterator[Call]:
    from redis_lock import Lock

    with redis.Redis.from_url(url, socket_timeout=None) as client:
        yield taking_turns(Lock(client, "free", expire=TTL))


def pottery(url: str) -> Iterator[Call]:
    from pottery import Redlock

    with redis.Redis.from_url(url) as client:
        yield taking_turns(Redlock(key="free", masters={client}, auto_release_time=TTL))


CONTESTANTS = {
    OURS: ours,
    OURS + OFF: ours,
    BASE: redis_py,
    "python-redis-lock": python_redis_lock,
    "pottery: Redlock": pottery,
}


def uncontended(run: Run) -> Result:
    found = [
        Contestant(name, partial(make, run.server.url), settings_of(name))
        for name, make in CONTESTANTS.items()
    ]
    plan = Plan(run.rounds, run.calls // 3, range(10), range(5))
    return race(run.server, found, plan)


SCENARIOS = [
    Scenario(
        "lock",
        "An uncontended lock, TCP",
        uncontended,
        [
            micros("us", "seconds"),
            times("x time of redis-py's Lock", "seconds", BASE),
            times("x its client CPU", "cpu", BASE),
            micros("server CPU us", "server"),
        ],
        "seconds",
    )
]
