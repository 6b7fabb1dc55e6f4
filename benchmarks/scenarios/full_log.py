"""What a sliding window's decision takes when its log is full, by the limit."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import redis

from ..harness import Figures, Result, Turn, interleave
from ..tables import micros, times, value
from .scenario import Run, Scenario

SIZES = (10, 100, 1000, 10_000)
MILLISECOND, TTL = 1000, 3_600_000


def by_limit(run: Run) -> Result:
    result, turns = Result(), {}
    with redis.Redis.from_url(run.server.url) as client:
        for limit in SIZES[:3] if run.quick else SIZES:
            hit, size = full(client, limit)
            turns[f"{limit:,}/h"] = turn(run, hit)
            result.rows[f"{limit:,}/h"] = {"bytes": size}
        interleave(turns, run.rounds, result)
    return result


def turn(run: Run, hit: Callable[[], None]) -> Turn:
    def timed() -> Figures:
        served, start = run.server.cpu(), time.perf_counter()
        for _ in range(run.calls):
            hit()
        taken = time.perf_counter() - start
        return {
            "seconds": taken / run.calls,
            "server": (run.server.cpu() - served) / run.calls,
        }

    return timed


def full(client: redis.Redis, limit: int) -> tuple[Callable[[], None], int]:
    """
    A call that finds its log full and one unit just gone; and the bytes of the log.

    Time is ours to tell: the script takes it, for tests.
    """
    from redis_atomic.ratelimit.charge import Charge
    from redis_atomic.ratelimit.limit import Limit
    from redis_atomic.ratelimit.protocol import ask, key_of

    rule = Limit(f"{limit}/h", key=None)
    charge = Charge(rule, rule.rate, "full", f"ip:{limit}")
    call = ask([charge], [key_of(charge, b"bench")])
    key = call.keys[0].name
    sha = client.script_load(call.command.source)
    now, gap = 10**15, rule.rate.window / limit

    def hit(pause: float = gap + 1.1 * MILLISECOND) -> None:
        nonlocal now
        now += int(pause)
        if not client.evalsha(sha, 1, key, *call.args, now, TTL)[0]:
            raise AssertionError("refused: this would be another measurement")

    rng = random.Random(limit)
    moments = sorted(rng.uniform(0, rule.rate.window) for _ in range(limit))
    for earlier, later in itertools.pairwise([0.0, *moments]):
        hit(later - earlier)
    size = client.memory_usage(key, samples=0)
    now += rule.rate.window  # from here on evenly, so that each call frees one
    for _ in range(limit):
        hit()
    return hit, size


SCENARIOS = [
    Scenario(
        "full-log",
        "A decision of a sliding window whose log is full",
        by_limit,
        [
            micros("us", "seconds"),
            times("x time at 10", "seconds", "10/h"),
            micros("server CPU us", "server"),
            value("bytes of the log", "bytes"),
        ],
    )
]
