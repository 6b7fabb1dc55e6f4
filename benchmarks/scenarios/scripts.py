"""One call of a one-key script of one's own (INCR), beside redis-py's Script object."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

from ..harness import Result
from ..peers import OFF, settings_of
from ..slices import Call, Contestant, Plan, race
from ..tables import micros, times
from .asynchronous import on_loop
from .scenario import Run, Scenario

SOURCE = (Path(__file__).parent.parent / "lua/count.lua").read_text()
BASE, OURS = "redis-py: Script", "redis_atomic: script"
KEYS = [f"counter:{number}" for number in range(100)]


def theirs(url: str, _: Any) -> Iterator[Call]:
    with redis.Redis.from_url(url) as client:
        script = client.register_script(SOURCE)
        yield lambda key: script(keys=[key])


def ours(_: str, __: Any) -> Iterator[Call]:
    from redis_atomic import scripts

    count = scripts["count"]
    yield lambda key: count(counter=key)


def increment(_: str, __: Any) -> Iterator[Call]:
    from redis_atomic.operations import increment

    yield increment


def atheirs(url: str, loop: asyncio.Runner) -> Iterator[Call]:
    client = redis.asyncio.Redis.from_url(url)
    script = client.register_script(SOURCE)
    yield lambda key: script(keys=[key])
    loop.run(client.aclose())


def aours(_: str, __: Any) -> Iterator[Call]:
    from redis_atomic import scripts

    count = scripts["count"]
    yield lambda key: count.acall(counter=key)


def calls(run: Run, alias: str, asynchronous: bool = False) -> Result:
    url = run.server.unix_url if alias == "unix" else run.server.url
    base, own = (atheirs, aours) if asynchronous else (theirs, ours)
    makes = {BASE: base, OURS: own, OURS + OFF: own}
    if not asynchronous:
        makes["redis_atomic: increment()"] = increment
    plan = Plan(run.rounds, run.calls, KEYS, KEYS[:20])
    with asyncio.Runner() as loop:
        found = [
            Contestant(name, partial(make, url, loop), settings_of(name, alias))
            for name, make in makes.items()
        ]
        if asynchronous:
            plan = replace(plan, drive=on_loop(loop, 1), latency=False)
        return race(run.server, found, plan)


COLUMNS = [
    micros("us", "seconds"),
    times("x time of redis-py's Script", "seconds", BASE),
    times("x its client CPU", "cpu", BASE),
]
SCENARIOS = [
    Scenario("script", "A script call, TCP", partial(calls, alias="default"), COLUMNS, "seconds"),
    Scenario(
        "script-unix",
        "A script call, unix socket",
        partial(calls, alias="unix"),
        COLUMNS,
        "seconds",
    ),
    Scenario(
        "script-asyncio",
        "A script call, asyncio, TCP",
        partial(calls, alias="default", asynchronous=True),
        COLUMNS,
        "seconds",
    ),
]
