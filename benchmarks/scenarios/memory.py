"""Bytes of the server's memory for one client, by the requests that it has made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..harness import Result
from ..peers import BASE, ORDINARY, Rate, contestant, peers
from ..tables import value
from .scenario import Run, Scenario

HOUR = 3600
SIZES = (10, 100, 1000, 10_000)
LIMIT, DENIED = 100, 5000


def allowed(run: Run, name: str) -> dict[str, Any]:
    """Limits of 10 and more an hour, all of it used."""
    sizes = {}
    for size in SIZES[:2] if run.quick else SIZES:
        ask(run, name, Rate(size, HOUR), size)
        sizes[str(size)] = run.server.memory()
    return sizes | {"ttl": run.server.ttl()}


def denied(run: Run, name: str) -> dict[str, int]:
    """A limit that is used up, and then asked again and again."""
    ask(run, name, Rate(LIMIT, HOUR), LIMIT)
    before = run.server.memory()
    ask(run, name, Rate(LIMIT, HOUR), LIMIT + (DENIED // 10 if run.quick else DENIED))
    return {"before": before, "after": run.server.memory()}


def ask(run: Run, name: str, rate: Rate, count: int) -> None:
    run.server.flush()
    asked = contestant(name, run.server.url, rate)
    with asked.during(), contextmanager(asked.make)() as call:
        for _ in range(count):
            call("ip:192.0.2.1")


def of_all(run: Run, measure: Callable[[Run, str], dict[str, Any]]) -> Result:
    result = Result()
    for name in [each for each in peers if each not in {BASE, ORDINARY}]:
        try:
            result.rows[name] = {"kind": peers[name].kind, **measure(run, name)}
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its own
            result.leave_out(name, error)
    run.server.flush()
    return result


SCENARIOS = [
    Scenario(
        "memory",
        "Memory of a client with so many requests",
        partial(of_all, measure=allowed),
        [
            value("kind", "kind"),
            *[value(f"{size:,} requests", str(size)) for size in SIZES],
            value("longest TTL (s)", "ttl"),
        ],
        "100",
    ),
    Scenario(
        "memory-denied",
        f"Memory of a client that is denied {DENIED:,} times, at {LIMIT} an hour",
        partial(of_all, measure=denied),
        [value("kind", "kind"), value("before", "before"), value("after", "after")],
        "after",
    ),
]
