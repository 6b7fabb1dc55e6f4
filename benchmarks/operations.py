"""
Each ready-made operation, beside the script that people copy for the same thing.

    python -m benchmarks.operations [--rounds 15] [--calls 500] [--url redis://…]

The copied scripts do less: they lose precision, TTLs and, when they fail half-way,
money. Both run in turns within each round and the ratio is taken inside the round:
only ratios of one run mean something. "whole call" is measured in Python, "server"
is what the server's own statistics count for the command. Without --url an embedded
server is started. The keys used start with "bench:".
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings

from redis_atomic import RawKey
from redis_atomic.testing import embedded_server

COPIED = {
    "add": """
        local now = redis.call('GET', KEYS[1])
        now = (now and tonumber(now) or 0) + tonumber(ARGV[1])
        redis.call('SET', KEYS[1], now)
        return now""",
    "add below": """
        local sum = tonumber(redis.call('GET', KEYS[1]) or 0) + tonumber(ARGV[1])
        if sum > tonumber(ARGV[2]) then return -1 end
        redis.call('SET', KEYS[1], sum)
        return sum""",
    "add validated": """
        local amount = tonumber(ARGV[1])
        if not amount then return redis.error_reply('ERR no number') end
        if amount < 0 then return redis.error_reply('ERR negative') end
        local now = tonumber(redis.call('GET', KEYS[1]) or 0)
        if now + amount > 1e12 then return redis.error_reply('ERR too much') end
        return redis.call('INCRBY', KEYS[1], amount)""",
    "swap": """
        local key, before, after = KEYS[1], ARGV[1], ARGV[2]
        if redis.call('GET', key) ~= before then return 0 end
        redis.call('SET', key, after)
        return 1""",
    "exchange": """
        local ttl = tonumber(ARGV[2])
        local before = redis.call('GET', KEYS[1])
        redis.call('SETEX', KEYS[1], ttl, ARGV[1])
        return before""",
    "raise": """
        local value = tonumber(ARGV[1])
        if value > tonumber(redis.call('GET', KEYS[1]) or 0) then
          redis.call('SET', KEYS[1], value)
          return 1
        end
        return 0""",
    "move": """
        local amount = tonumber(ARGV[1])
        if tonumber(redis.call('GET', KEYS[1]) or 0) < amount then return -1 end
        redis.call('DECRBY', KEYS[1], amount)
        redis.call('INCRBY', KEYS[2], amount)
        return 1""",
    "add to fields": """
        local sums = {}
        for i = 1, #ARGV, 2 do
          table.insert(sums, redis.call('HINCRBY', KEYS[1], ARGV[i], tonumber(ARGV[i + 1])))
        end
        return sums""",
    "get or create": """
        if redis.call('EXISTS', KEYS[1]) == 0 then
          for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
        end
        return redis.call('HGETALL', KEYS[1])""",
}


@dataclass
class Pair:
    """One row: the same work done by a copied script and by an operation of ours."""

    name: str
    copied: str
    keys: list[str]
    args: Callable[[int], list[Any]]
    ours: Callable[[int], object]
    command: str = "evalsha"  # what ours is in the server's statistics


def pairs() -> list[Pair]:
    from redis_atomic import operations as op

    n, a, b, h = (RawKey(f"bench:{{x}}:{name}") for name in "nabh")
    names = {key: str(key.name) for key in (n, a, b, h)}
    one, two, field = [names[n]], [names[a], names[b]], [names[h]]
    amounts = {f"f{i}": i for i in range(1, 6)}
    flat = [word for item in amounts.items() for word in item]
    high = 10**15
    return [
        Pair("increment", "add", one, lambda i: [1], lambda i: op.increment(n), "incrby"),
        Pair("increment, ttl", "add", one, lambda i: [1], lambda i: op.increment(n, ttl=99)),
        Pair(
            "increment_with_max",
            "add below",
            one,
            lambda i: [1, 10**12],
            lambda i: op.increment_with_max(n, maximum=10**12),
        ),
        Pair(
            "… refused",
            "add below",
            one,
            lambda i: [10, 5],
            lambda i: op.increment_with_max(n, 10, maximum=5),
        ),
        Pair(
            "validated_increment",
            "add validated",
            one,
            lambda i: [1],
            lambda i: op.validated_increment(n, 1, maximum=10**12),
        ),
        Pair(
            "compare_and_swap",
            "swap",
            one,
            lambda i: ["same", "same"],
            lambda i: op.compare_and_swap(n, "same", "same"),
        ),
        Pair(
            "… refused",
            "swap",
            one,
            lambda i: ["other", "same"],
            lambda i: op.compare_and_swap(n, "other", "same"),
        ),
        Pair(
            "get_and_set",
            "exchange",
            one,
            lambda i: ["same", 99],
            lambda i: op.get_and_set(n, "same", ttl=99),
            "set",
        ),
        Pair(
            "set_if_greater",
            "raise",
            one,
            lambda i: [high + 2 * i],
            lambda i: op.set_if_greater(n, high + 2 * i + 1),
        ),
        Pair("… refused", "raise", one, lambda i: [5], lambda i: op.set_if_greater(n, 5)),
        Pair("transfer", "move", two, lambda i: [1], lambda i: op.transfer(a, b, 1)),
        Pair("… refused", "move", two, lambda i: [high], lambda i: op.transfer(a, b, high)),
        Pair(
            "… exactly once",
            "move",
            two,
            lambda i: [1],
            lambda i: op.transfer(a, b, 1, request_id=f"{time.perf_counter_ns()}", request_ttl=9),
        ),
        Pair(
            "hash_increment_multiple x5",
            "add to fields",
            field,
            lambda i: flat,
            lambda i: op.hash_increment_multiple(h, amounts),
        ),
        Pair(
            "hash_get_or_create x5",
            "get or create",
            field,
            lambda i: flat,
            lambda i: op.hash_get_or_create(h, amounts),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--url")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(embedded_server(tcp=True)).tcp_url
        backend = "django_redis.cache.RedisCache"
        settings.configure(CACHES={"default": {"BACKEND": backend, "LOCATION": url}})
        server = stack.enter_context(redis.Redis.from_url(url))
        info = server.info("server")
        version = info.get("valkey_version") or info["redis_version"]
        print(f"{info.get('server_name', 'redis')} {version}, ours / copied\n")
        print(f"{'':28}{'whole call':>22}{'server':>8}{'µs a call on the server':>26}")
        for pair in pairs():
            print(compare(server, pair, options.rounds, options.calls))


def compare(server: redis.Redis, pair: Pair, rounds: int, calls: int) -> str:
    plant(server, pair)
    script = server.register_script(COPIED[pair.copied])
    wholes, times = [], ([], [])
    steps = iter(range(1, 10**9))
    for _ in range(rounds + 1):
        theirs = measured(
            server, "evalsha", calls, lambda: script(keys=pair.keys, args=pair.args(next(steps)))
        )
        ours = measured(server, pair.command, calls, lambda: pair.ours(next(steps)))
        wholes.append(ours[0] / theirs[0])
        times[0].append(theirs[1])
        times[1].append(ours[1])
    # The first round warmed up.
    ratios = sorted(wholes[1:])
    their_time, our_time = (statistics.median(each[1:]) for each in times)
    whole = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    server_ratio = our_time / their_time
    return f"{pair.name:28}{whole:>22}{server_ratio:8.2f}{our_time:14.2f} / {their_time:.2f}"


def plant(server: redis.Redis, pair: Pair) -> None:
    server.delete(*pair.keys, "bench:{x}:n", "bench:{x}:h")
    if pair.copied == "swap":
        server.set(pair.keys[0], "same")
    elif pair.copied == "move":
        server.mset(dict.fromkeys(pair.keys, 10**9))
    elif pair.copied == "get or create":
        server.hset(pair.keys[0], mapping={f"f{i}": i for i in range(1, 6)})
    elif pair.copied != "add to fields":
        server.set(pair.keys[0], 1000)


def measured(
    server: redis.Redis, command: str, calls: int, call: Callable[[], object]
) -> tuple[float, float]:
    """Seconds for all calls in Python, microseconds for one on the server."""
    server.config_resetstat()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    taken = time.perf_counter() - start
    return taken, server.info("commandstats")[f"cmdstat_{command}"]["usec_per_call"]


if __name__ == "__main__":
    main()
