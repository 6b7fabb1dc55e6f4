"""
What a call costs the server: the table of docs/deployment.md.

    python -m benchmarks.capacity [--calls 3000] [--url redis://…]

Time is the server's own (INFO commandstats, EVALSHA). Without --url an embedded server
is started. It empties the server's statistics, so don't point it at one in use.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from contextlib import ExitStack

import redis
from django.conf import settings

from redis_atomic.testing import embedded_server


def calls() -> dict[str, Callable[[], object]]:
    """What is measured, by its name in the table."""
    from redis_atomic import Limit, RateLimiter, redis_lock
    from redis_atomic.operations import increment, transfer

    orders = itertools.count()
    lock = redis_lock("report")
    bucket = RateLimiter(Limit("100000/h", key=None, name="bucket", algorithm="token_bucket"))
    window = RateLimiter(Limit("100000/h", key=None, name="window"))
    three = RateLimiter("100000/m", "200000/h", "300000/d", name="three")
    return {
        "increment(key, ttl=60)": lambda: increment("n", ttl=60),
        "token bucket": lambda: bucket.hit("user:7"),
        "sliding window": lambda: window.hit("user:7"),
        "three sliding windows": lambda: three.hit("user:7"),
        "transfer with a request_id": lambda: transfer(
            "a", "b", 1, minimum=-(10**9), request_id=str(next(orders))
        ),
        "a lock, acquired and released": lambda: lock.acquire().release(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--url")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(embedded_server()).url
        backend = "django_redis.cache.RedisCache"
        settings.configure(
            SECRET_KEY="a benchmark's",
            CACHES={"default": {"BACKEND": backend, "LOCATION": url}},
            REDIS_ATOMIC={"RATE_LIMIT_TIMEOUT": 5},
        )
        server = stack.enter_context(redis.Redis.from_url(url))
        for name, call in calls().items():
            print(f"{name:32}{server_time(server, call, options.calls):6.1f} us")


def server_time(server: redis.Redis, call: Callable[[], object], count: int) -> float:
    """Microseconds of EVALSHA for one call, after a tenth as many to warm up."""
    for _ in range(count // 10):
        call()
    server.config_resetstat()
    for _ in range(count):
        call()
    return float(server.info("commandstats")["cmdstat_evalsha"]["usec"]) / count


if __name__ == "__main__":
    main()
