"""
One call of a one-key script: through redis_atomic, beside redis-py's own Script object.

    python benchmarks/scripts.py [--rounds 15] [--calls 2000] [--url redis://…]

Both run in turns within each round, and the ratio is taken inside the round: only
ratios of one run mean something. Without --url an embedded server is started.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import redis
import redis.asyncio
from django.conf import settings

from redis_atomic.client.connections import Client
from redis_atomic.client.execution import arun, run
from redis_atomic.scripting.script import Call, Script
from redis_atomic.testing import embedded_server

SOURCE = "return redis.call('INCR', KEYS[1])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--url")
    options = parser.parse_args()
    with ExitStack() as stack:
        urls = {"given": options.url}
        if options.url is None:
            server = stack.enter_context(embedded_server(tcp=True))
            urls = {"TCP": server.tcp_url, "unix socket": server.url}
        backend = "django_redis.cache.RedisCache"
        settings.configure(
            CACHES={name: {"BACKEND": backend, "LOCATION": url} for name, url in urls.items()}
        )
        for name, url in urls.items():
            print(f"\n{name}")
            compare(name, url, options.rounds, options.calls)


def compare(alias: str, url: str, rounds: int, calls: int) -> None:
    client, script = Client(alias), Script("incr", SOURCE.encode())
    theirs = redis.Redis.from_url(url)
    register = theirs.register_script(SOURCE)
    report(
        rounds,
        lambda: timed(calls, lambda: register(keys=["a"])),
        lambda: timed(calls, lambda: run(client, Call(script, ("a",)))),
        "sync",
    )

    async def asynchronous() -> None:
        aredis = redis.asyncio.Redis.from_url(url)
        aregister = aredis.register_script(SOURCE)
        pairs = []
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(calls // 2):
                await aregister(keys=["a"])
            middle = time.perf_counter()
            for _ in range(calls // 2):
                await arun(client, Call(script, ("a",)))
            pairs.append((middle - start, time.perf_counter() - middle))
        await aredis.aclose()
        show("asyncio", pairs)

    asyncio.run(asynchronous())
    theirs.close()
    client.close()


def timed(calls: int, call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def report(rounds: int, theirs: Callable[[], float], ours: Callable[[], float], name: str) -> None:
    theirs(), ours()
    show(name, [(theirs(), ours()) for _ in range(rounds)])


def show(name: str, pairs: list[tuple[float, float]]) -> None:
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    print(
        f"  {name:8} redis_atomic takes {statistics.median(ratios):.2f} of redis-py's time"
        f" (median of {len(ratios)} rounds, {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
