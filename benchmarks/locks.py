"""
Locks side by side: redis_atomic, redis-py's Lock, python-redis-lock, pottery.

    python -m benchmarks.locks [--processes 32] [--seconds 2.5] [--trials 10] [--url redis://…]

Systems that are not installed are left out. They take turns in shuffled order inside
each round; only ratios of one run mean something. Waiters are processes, which share
the monotonic clock. Without --url an embedded server is started.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import redis

TTL = 30
HOLD = 0.002  # seconds, in a saturated lock

#: Distribution, by name of the module that has to be there.
MODULES = {
    "redis_atomic": "redis_atomic",
    "redis_atomic, ordinary": "redis_atomic",
    "redis-py": "redis",
    "redis-py, sleep 0.01": "redis",
    "python-redis-lock": "redis_lock",
    "pottery": "pottery",
}
OURS, THEIRS = "redis_atomic", "redis-py"

#: What a waiter sends; commands that scripts execute have other names.
SENT_WHILE_WAITING = ("evalsha", "blpop", "set")

Lock = tuple[Callable[[], Any], Callable[[], Any]]


#: The cache alias that takes no lean calls.
ORDINARY = "ordinary"


class OrdinaryPool(redis.ConnectionPool):
    """A pool that is not known to be one whose connections may stay with a thread."""


def systems() -> list[str]:
    return [name for name, module in MODULES.items() if importlib.util.find_spec(module)]


def lock_of(system: str, url: str, name: str) -> Lock:
    """How this system acquires and releases a lock, waiting as long as it takes."""
    # Those that block for long would not survive the default time-out of 5 s.
    client = redis.Redis.from_url(url, socket_timeout=None)
    if system.startswith(OURS):
        return _ours(name, None if system == OURS else ORDINARY)
    if system.startswith(THEIRS):
        lock = client.lock(name, timeout=TTL, sleep=0.01 if "0.01" in system else 0.1)
    elif system == "python-redis-lock":
        import redis_lock

        lock = redis_lock.Lock(client, name, expire=TTL)
    else:
        from pottery import Redlock

        lock = Redlock(key=name, masters={client}, auto_release_time=TTL)
    return lock.acquire, lock.release


def _ours(name: str, cache: str | None) -> Lock:
    from redis_atomic import FOREVER, redis_lock

    lock, leases = redis_lock(name, ttl=TTL, wait=FOREVER, cache=cache), []
    return lambda: leases.append(lock.acquire()), lambda: leases.pop().release()


def configure(url: str) -> None:
    from django.conf import settings

    default = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
    pool = {"CONNECTION_POOL_CLASS": f"{OrdinaryPool.__module__}.OrdinaryPool"}
    settings.configure(CACHES={"default": default, ORDINARY: default | {"OPTIONS": pool}})


# In each process


def worker(url: str, pipe: Connection) -> None:
    """Do one task after the other: (function, system, name, until) in, its result out."""
    configure(url)
    locks: dict[tuple[str, str], Lock] = {}
    while (task := pipe.recv()) is not None:
        function, system, name, *rest = task
        if (system, name) not in locks:
            locks[system, name] = lock_of(system, url, name)
        pipe.send(function(*locks[system, name], *rest))


def take_turn(acquire: Callable[[], Any], release: Callable[[], Any]) -> float:
    """When the lock was had."""
    acquire()
    had = time.monotonic()
    release()
    return had


def saturate(
    acquire: Callable[[], Any], release: Callable[[], Any], start: float, end: float
) -> list[float]:
    """How long each acquire took, until the end (both on the monotonic clock)."""
    time.sleep(max(0.0, start - time.monotonic()))
    waits = []
    while (asked := time.monotonic()) < end:
        acquire()
        waits.append(time.monotonic() - asked)
        time.sleep(HOLD)
        release()
    return waits


# In the process that measures


class Bench:
    def __init__(self, url: str, pipes: list[Connection]) -> None:
        self.url = url
        self.pipes = pipes
        self.server = redis.Redis.from_url(url)
        self.systems = systems()
        for system in self.systems:  # imports and connections come before, in each process
            for number, pipe in enumerate(pipes):
                pipe.send((take_turn, system, f"warm:{number}"))
            for pipe in pipes:
                pipe.recv()

    def shuffled(self) -> list[str]:
        return random.sample(self.systems, len(self.systems))

    def uncontended(self, rounds: int, calls: int) -> None:
        """Acquire and release, nobody else there: time, and processor time of the client."""
        locks = {system: lock_of(system, self.url, f"free:{system}") for system in self.systems}
        for acquire, release in locks.values():
            acquire(), release()
        times: dict[str, list[float]] = {system: [] for system in self.systems}
        works: dict[str, list[float]] = {system: [] for system in self.systems}
        for _ in range(rounds):
            for system in self.shuffled():
                acquire, release = locks[system]
                start, worked = time.perf_counter(), time.thread_time()
                for _ in range(calls):
                    acquire()
                    release()
                times[system].append((time.perf_counter() - start) / calls)
                works[system].append((time.thread_time() - worked) / calls)
        print(f"\nUncontended acquire and release, {rounds} rounds of {calls}")
        for system in self.systems:
            for kind, spent in (("time", times), ("CPU", works)):
                micro = statistics.median(spent[system]) * 1e6
                ratios = [us / base for us, base in zip(spent[system], spent[THEIRS], strict=True)]
                print(f"  {system:22}{micro:8.0f} us {kind:4} {spread(ratios)} of redis-py's")

    def handing_over(self, waiters: int, trials: int) -> None:
        """From a release, at a random moment, to the first and to the last who waits."""
        results: dict[str, list[tuple[float, float, float]]] = {}
        for _ in range(trials):
            for system in self.shuffled():
                with self._waiting(system, waiters) as release:
                    cold = self._cold_get()
                    released = time.monotonic()
                    release()
                    had = [pipe.recv() - released for pipe in self.pipes[:waiters]]
                results.setdefault(system, []).append((min(had), min(had) / cold, max(had)))
        print(f"\nHand-over to {waiters} waiters, {trials} trials")
        for system in self.systems:
            first, ratio, last = map(statistics.median, zip(*results[system], strict=True))
            print(
                f"  {system:22}first {first * 1e3:8.2f} ms = {ratio:6.1f} cold GETs"
                f"   last {last * 1e3:8.1f} ms"
            )

    def waiting(self, waiters: int, seconds: float = 5.0) -> None:
        """What it costs the server that somebody waits."""
        print(f"\nWaiting, {waiters} waiters for {seconds} s")
        for system in self.shuffled():
            with self._waiting(system, waiters) as release:
                before, since = self._sent(), time.monotonic()
                time.sleep(seconds)
                rate = (self._sent() - before) / (time.monotonic() - since) / waiters
                release()
                for pipe in self.pipes[:waiters]:
                    pipe.recv()
            print(f"  {system:22}{rate:6.2f} commands per waiter and second")

    @contextlib.contextmanager
    def _waiting(self, system: str, waiters: int) -> Iterator[Callable[[], Any]]:
        """The lock is held, and so many wait for it; its release."""
        name = f"handed:{system}"
        acquire, release = lock_of(system, self.url, name)
        acquire()
        for pipe in self.pipes[:waiters]:
            pipe.send((take_turn, system, name))
        time.sleep(0.5 + random.random() / 5)
        yield release

    def _cold_get(self) -> float:
        """Of a connection, and a processor, that had nothing to do for a while (seconds)."""
        start = time.perf_counter()
        self.server.get("cold")
        return time.perf_counter() - start

    def _sent(self) -> int:
        stats = self.server.info("commandstats")
        counts = [stats.get(f"cmdstat_{name}", {"calls": 0}) for name in SENT_WHILE_WAITING]
        return sum(count["calls"] for count in counts)

    def saturated(self, seconds: float, repetitions: int) -> None:
        """Everybody wants it all the time."""
        results: dict[str, list[tuple[float, float, float]]] = {}
        for _ in range(repetitions):
            for system in self.shuffled():
                start = time.monotonic() + 0.2
                for pipe in self.pipes:
                    task = (saturate, system, f"wanted:{system}", start, start + seconds)
                    pipe.send(task)
                waits = [pipe.recv() for pipe in self.pipes]
                counts = [len(each) for each in waits]
                longest = max(max(each, default=seconds) for each in waits)
                results.setdefault(system, []).append(
                    (sum(counts) / seconds, jain(counts), longest)
                )
        base = statistics.median(result[0] for result in results[THEIRS])
        turn = len(self.pipes) * HOLD
        print(f"\nSaturated, {len(self.pipes)} processes, {repetitions} times {seconds} s")
        for system in self.systems:
            rate, fair, longest = (
                statistics.median(each) for each in zip(*results[system], strict=True)
            )
            print(
                f"  {system:22}{rate:6.0f} a second = {rate / base:4.2f} of redis-py's"
                f"   Jain {fair:4.2f}   longest wait {longest:5.2f} s = {longest / turn:5.1f} turns"
            )


def jain(counts: list[int]) -> float:
    """Jain's index of fairness: 1.0 if all got the same, 1/n if one got everything."""
    return sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts) or 1)


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


@contextlib.contextmanager
def workers(count: int, url: str) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=worker, args=(url, there)) for _, there in pipes]
    for process in processes:
        process.start()
    yield [here for here, _ in pipes]
    for here, _ in pipes:
        here.send(None)
    for process in processes:
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each saturated run")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--url")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = options.url
        if url is None:
            from redis_atomic.testing import embedded_server

            url = stack.enter_context(embedded_server(tcp=True)).tcp_url
        configure(url)
        bench = Bench(url, stack.enter_context(workers(options.processes, url)))
        bench.uncontended(options.rounds, options.calls)
        for waiters in sorted({1, min(8, options.processes), options.processes}):
            bench.handing_over(waiters, options.trials)
        bench.waiting(min(8, options.processes))
        bench.saturated(options.seconds, 3)


if __name__ == "__main__":
    main()
