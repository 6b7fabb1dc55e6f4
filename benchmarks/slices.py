"""
A turn of a contestant that is called: a slice of so many calls, and what it took.

A contestant is a generator function: it sets up, yields what is to be called with each
item, and tears down. Connecting, loading scripts and the first calls are not measured.
A slice begins with an empty server.
"""

from __future__ import annotations

import gc
import itertools
import operator
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from .harness import Figures, Result, Turn, interleave
from .servers import Server

Call = Callable[[Any], Any]
#: Makes the calls for these items, and returns how many of the answers were false.
Drive = Callable[[Call, Sequence[Any]], int]


@dataclass(frozen=True)
class Contestant:
    """
    ``make`` is a generator function without arguments, as the module tells.

    ``during`` is entered around each slice, outside of what is measured. ``facts`` are
    columns of its row that need no measuring.
    """

    name: str
    make: Callable[[], Iterator[Call]]
    during: Callable[[], AbstractContextManager[Any]] = nullcontext
    facts: dict[str, Any] = field(default_factory=dict)


def one_by_one(call: Call, items: Sequence[Any]) -> int:
    # Nothing is kept: answers that live on would have the collector at work, as a site has not.
    return sum(map(operator.not_, map(call, items)))


def anything(refused: int, calls: int) -> None:
    """No answer is wrong."""


@dataclass(frozen=True)
class Plan:
    """
    How a race is run: so many rounds, slices of so many calls.

    ``warm`` comes before each slice, ``items`` go round and round. ``check`` is told how
    many answers of a slice were false, and of how many; it raises if that is not what was
    to be measured. ``latency``: measure single calls, too, which only works one by one.
    """

    rounds: int
    calls: int
    items: Sequence[Any]
    warm: Sequence[Any]
    check: Callable[[int, int], None] = anything
    drive: Drive = one_by_one
    latency: bool = True


def race(server: Server, contestants: Iterable[Contestant], plan: Plan) -> Result:
    """Interleave slices of all contestants that can be set up."""
    result, turns = Result(), {}
    with ExitStack() as stack:
        for contestant in contestants:
            try:
                call = stack.enter_context(contextmanager(contestant.make)())
                turns[contestant.name] = _turn(server, contestant, call, plan)
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is its own
                result.leave_out(contestant.name, error)
            else:
                result.rows[contestant.name] = dict(contestant.facts)
        gc.collect()
        gc.freeze()  # what was imported is not to be gone through in somebody's slice
        interleave(turns, plan.rounds, result)
        gc.unfreeze()
    return result


def _turn(server: Server, contestant: Contestant, call: Call, plan: Plan) -> Turn:
    items = itertools.cycle(plan.items)
    with contestant.during():
        plan.drive(call, plan.warm)

    def turn() -> Figures:
        server.flush()  # nobody pays for what others keep there
        with contestant.during():
            plan.drive(call, plan.warm)
            figures = _timed(server, call, list(itertools.islice(items, plan.calls)), plan)
            if plan.latency:
                figures |= _latencies(call, list(itertools.islice(items, plan.calls // 5)))
        return figures

    return turn


def _timed(server: Server, call: Call, items: list[Any], plan: Plan) -> Figures:
    """Seconds of a call: by the clock, of this process, of the server."""
    served = server.cpu()
    spent, start = time.process_time(), time.perf_counter()
    refused = plan.drive(call, items)
    end, used = time.perf_counter(), time.process_time()
    figures = {
        "seconds": (end - start) / len(items),
        "cpu": (used - spent) / len(items),
        "server": (server.cpu() - served) / len(items),
    }
    plan.check(refused, len(items))
    return figures


def _latencies(call: Call, items: list[Any]) -> Figures:
    taken = []
    for item in items:
        start = time.perf_counter()
        call(item)
        taken.append(time.perf_counter() - start)
    return {"p50": statistics.median(taken), "p99": statistics.quantiles(taken, n=100)[98]}
