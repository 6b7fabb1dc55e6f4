"""asyncio: one event loop with 1, 8 and 64 coroutines that call as fast as they can."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import redis
import redis.asyncio

from ..harness import Result
from ..peers import OFF, ORDINARY, OURS, settings_of, text_of
from ..slices import Contestant, Drive, Plan, race
from ..tables import micros, rate, times
from .decisions import CLIENTS, MINUTE, WARM, allowed
from .scenario import Run, Scenario

BASE = "redis.asyncio: EVALSHA 'return 1'"
SCRIPT = "redis_atomic: a script of 'return 1'"

Acall = Callable[[str], Awaitable[Any]]


def bare(url: str, loop: asyncio.Runner) -> Iterator[Acall]:
    with redis.Redis.from_url(url) as client:
        sha = client.script_load("return 1")
    client = redis.asyncio.Redis.from_url(url)
    yield lambda who: client.evalsha(sha, 1, who)
    loop.run(client.aclose())


def script(url: str, loop: asyncio.Runner) -> Iterator[Acall]:
    from redis_atomic import scripts

    empty = scripts["empty"]
    yield lambda who: empty.acall(key=who)


def window(url: str, loop: asyncio.Runner, name: str) -> Iterator[Acall]:
    from redis_atomic import RateLimiter

    yield RateLimiter(text_of(MINUTE), name=name).ahit


def limits_moving(url: str, loop: asyncio.Runner) -> Iterator[Acall]:
    from limits import RateLimitItemPerSecond, aio

    store = aio.storage.RedisStorage(f"async+{url}", implementation="redispy")
    limiter = aio.strategies.MovingWindowRateLimiter(store)
    yield partial(limiter.hit, RateLimitItemPerSecond(*MINUTE))


def throttled_gcra(url: str, loop: asyncio.Runner) -> Iterator[Acall]:
    from throttled.asyncio import Throttled, rate_limiter, store

    quota = rate_limiter.per_min(MINUTE.amount, burst=MINUTE.amount)
    limiter = Throttled(using="gcra", quota=quota, store=store.RedisStore(server=url))

    async def ask(who: str) -> bool:
        return not (await limiter.limit(who)).limited

    yield ask


CONTESTANTS = {
    BASE: bare,
    SCRIPT: script,
    SCRIPT + OFF: script,
    OURS: partial(window, name="lean"),
    ORDINARY: partial(window, name="ordinary"),
    "limits: moving window": limits_moving,
    "throttled-py: GCRA": throttled_gcra,
}


async def together(coroutines: int, call: Acall, items: Sequence[Any]) -> int:
    """So many coroutines share the items, each with one call after the other; how many refused."""
    left = iter(items)

    async def work() -> int:
        refused = 0
        for item in left:
            refused += not await call(item)
        return refused

    return sum(await asyncio.gather(*[work() for _ in range(coroutines)]))


def on_loop(loop: asyncio.Runner, coroutines: int) -> Drive:
    """Calls are made by so many coroutines of this loop."""
    return lambda call, items: loop.run(together(coroutines, call, items))


def concurrent(run: Run, coroutines: int) -> Result:
    warm = WARM * (1 + coroutines // len(WARM))
    with asyncio.Runner() as loop:
        drive = on_loop(loop, coroutines)
        plan = Plan(run.rounds, run.calls, CLIENTS, warm, allowed, drive, latency=False)
        found = [
            Contestant(name, partial(make, run.server.url, loop), settings_of(name))
            for name, make in CONTESTANTS.items()
        ]
        return race(run.server, found, plan)


COLUMNS = [
    micros("us", "seconds"),
    rate("x calls of redis.asyncio", BASE),
    times("x its client CPU", "cpu", BASE),
    micros("server CPU us", "server"),
]
SCENARIOS = [
    Scenario(
        f"asyncio-{count}",
        f"asyncio, {count} at a time" if count > 1 else "asyncio, one at a time",
        partial(concurrent, coroutines=count),
        COLUMNS,
        "seconds",
    )
    for count in (1, 8, 64)
]
