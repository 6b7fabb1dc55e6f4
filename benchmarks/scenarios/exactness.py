"""Eight processes ask for one client, 2,000 times each: how many do they let through?"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from ..harness import Result
from ..peers import BASE, OURS, Rate, contestant, peers
from ..project import configure
from ..tables import value
from .scenario import Run, Scenario

PROCESSES, DECISIONS = 8, 2000
#: By the hour: none of the buckets is to refill one in the meantime.
LIMIT = Rate(100, 3600)
UNCACHED = f"{OURS}, deny cache off"


def worker(url: str, pipe: Connection) -> None:
    """A name comes in, "ready" goes out, then the number of decisions and how many allowed."""
    configure(url)
    while (task := pipe.recv()) is not None:
        name, decisions = task
        try:
            _work(url, pipe, name, decisions)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its own
            pipe.send(f"{type(error).__name__}: {error}")


def _work(url: str, pipe: Connection, name: str, decisions: int) -> None:
    from redis_atomic.testing import override

    size = 0 if name == UNCACHED else 10_000
    asked = contestant(OURS if name == UNCACHED else name, url, LIMIT)
    with (
        asked.during(),
        override(RATE_LIMIT_DENY_CACHE_SIZE=size),
        contextmanager(asked.make)() as ask,
    ):
        ask("ip:192.0.2.2")  # connects, and loads scripts
        pipe.send("ready")
        pipe.recv()
        pipe.send(sum(bool(ask("ip:192.0.2.1")) for _ in range(decisions)))


def measure(run: Run) -> Result:
    result = Result()
    processes, decisions = (2, 200) if run.quick else (PROCESSES, DECISIONS)
    with workers(processes, run.server.url) as pipes:
        for name in [OURS, UNCACHED, *(name for name in peers if name not in {BASE, OURS})]:
            run.server.flush()
            ready = _told(pipes, (name, decisions))
            if ready != ["ready"] * processes:
                result.leave_out(name, next(word for word in ready if word != "ready"))
                continue
            start = time.perf_counter()
            counts = _told(pipes, "go")
            taken = time.perf_counter() - start
            if failed := [each for each in counts if isinstance(each, str)]:
                result.leave_out(name, failed[0])
                continue
            rate = round(processes * decisions / taken)
            result.rows[name] = {"allowed": sum(counts), "a second": rate}
    return result


def _told(pipes: list[Connection], word: object) -> list[object]:
    """What all of them answer, or that they don't."""
    for pipe in pipes:
        pipe.send(word)
    return [pipe.recv() if pipe.poll(60) else "no answer in 60 s" for pipe in pipes]


@contextmanager
def workers(count: int, url: str) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=worker, args=(url, there)) for _, there in pipes]
    for process in processes:
        process.start()
    try:
        yield [here for here, _ in pipes]
    finally:
        for (here, _), process in zip(pipes, processes, strict=True):
            here.send(None)
            process.join(5)
            process.kill()


SCENARIOS = [
    Scenario(
        "exactness",
        f"{PROCESSES} processes, {DECISIONS:,} decisions each, for one client at 100 an hour",
        measure,
        [value("allowed", "allowed"), value("decisions a second", "a second")],
        "allowed",
    )
]
