"""Nine of ten requests come from 20 clients that are over their limit, one from another."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from redis_atomic.testing import override

from ..harness import Result
from ..peers import BASE, OURS, Rate, contestant, peers
from ..slices import Plan, race
from ..tables import micros, rate, value
from .scenario import Run, Scenario

LIMIT = Rate(10, 600)
GREEDY = [f"ip:greedy:{number}" for number in range(20)]
#: Each of the others comes once in a turn of the traffic, so that none of them is refused.
TRAFFIC = random.Random(0).sample(GREEDY * 450 + [f"ip:{n}" for n in range(1000)], 10_000)


def mixed(run: Run) -> Result:
    found = [contestant(name, run.server.url, LIMIT) for name in peers]
    return race(run.server, found, Plan(run.rounds, run.calls, TRAFFIC, GREEDY * 11, _as_meant))


def _as_meant(refused: int, calls: int) -> None:
    """About nine of ten; none by the bare call, which knows no limit."""
    if refused and not 0.8 < refused / calls < 0.97:
        raise AssertionError(f"of {calls} calls {refused} were refused")


def remembered(run: Run) -> Result:
    """A refusal that this process remembers: no trip at all."""
    from redis_atomic import RateLimiter

    with override(CACHE_ALIAS="default"):
        limiter = RateLimiter("1/h", name="remembered")
        while limiter.hit("ip:0"):
            pass
        rounds = [_latency(limiter.hit, run.calls) for _ in range(run.rounds)]
    return Result({OURS: {"p50": [p50 for p50, _ in rounds], "p99": [p99 for _, p99 in rounds]}})


def _latency(hit: Callable[[str], Any], calls: int) -> tuple[float, float]:
    """p50 and p99 in seconds; reading the clock is in them."""
    hit("ip:0")  # a refusal is remembered for some seconds: it may have to be asked for again
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        hit("ip:0")
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


SCENARIOS = [
    Scenario(
        "denied",
        "90 % denied, TCP",
        mixed,
        [
            value("kind", "kind"),
            micros("us", "seconds"),
            micros("p50 us", "p50"),
            rate("x calls of the bare call", BASE),
            micros("client CPU us", "cpu"),
            micros("server CPU us", "server"),
        ],
        "seconds",
    ),
    Scenario(
        "remembered",
        "A refusal from the deny cache",
        remembered,
        [micros("p50 us", "p50"), micros("p99 us", "p99")],
    ),
]
