"""
Rate limits side by side: redis_atomic and the packages that Django projects use.

    python benchmarks/rate_limits.py [--contestants NAME …] [--rounds 9] [--calls 1000]
                                     [--url redis://…] [--json]

One decision for one of 600 clients at 100 requests in 60 seconds, allowed, over the
network. "return 1" is a bare EVALSHA of that script through redis-py, with a key like
ours: whoever runs a script can't be below it. The contestants take turns inside each
round, and a ratio is taken inside a round: only ratios mean something.
Peers that are not installed are left out:

    pip install limits django-ratelimit django-smart-ratelimit djangorestframework
    pip install throttled-py pyrate-limiter

Then: what a refusal from the deny cache takes, how the time grows with the limit, and
the bytes of Redis's memory for a client with a full log. Without --url an embedded
server is started.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

CLIENTS, LIMIT, WINDOW = 600, 100, 60
THREE = ("100/s", "100/m", "1000/h")
BASE = "return 1"

#: Asks for one decision for this client: true if allowed.
Ask = Callable[[str], Any]
contestants: dict[str, Callable[[str], Ask]] = {}


def contestant(name: str) -> Callable[[Callable[[str], Ask]], Callable[[str], Ask]]:
    """Register what makes an Ask of a server's address."""

    def register(make: Callable[[str], Ask]) -> Callable[[str], Ask]:
        contestants[name] = make
        return make

    return register


@contestant(BASE)
def bare(url: str) -> Ask:
    client = redis.Redis.from_url(url)
    sha = client.script_load("return 1")
    keys = {f"ip:{number}": f"rl1:{{{number:022}}}:bench:w:m" for number in range(CLIENTS)}
    return lambda who: client.evalsha(sha, 1, keys[who])


def our_script(url: str, *rates: str) -> Ask:
    """Our script as redis-py calls it, with keys like ours."""
    from redis_atomic.ratelimit.limit import Charge, Limit
    from redis_atomic.ratelimit.protocol import ask, key_of

    client = redis.Redis.from_url(url)
    limits = [Limit(rate, key=None) for rate in rates]
    calls = {}
    for number in range(CLIENTS):
        charges = [Charge(limit, limit.rate, "bench", f"ip:{number}") for limit in limits]
        call = ask(charges, [key_of(charge, b"bench") for charge in charges])
        calls[f"ip:{number}"] = (*(key.name for key in call.keys), *call.args)
    sha = client.script_load(call.command.source)
    return lambda who: client.evalsha(sha, len(limits), *calls[who])[0]


@contestant("ours: window, by redis-py")
def window_by_redis_py(url: str) -> Ask:
    return our_script(url, f"{LIMIT}/m")


@contestant("ours: 3 windows, by redis-py")
def windows_by_redis_py(url: str) -> Ask:
    return our_script(url, *THREE)


@contestant("ours: RateLimiter, window")
def window(url: str) -> Ask:
    from redis_atomic import RateLimiter

    return RateLimiter(f"{LIMIT}/m", name="bench").hit


@contestant("ours: RateLimiter, bucket")
def bucket(url: str) -> Ask:
    from redis_atomic import RateLimiter

    return RateLimiter(f"{LIMIT}/m", name="bench", algorithm="token_bucket").hit


@contestant("ours: RateLimiter, 3 windows")
def windows(url: str) -> Ask:
    from redis_atomic import RateLimiter

    return RateLimiter(*THREE, name="bench").hit


@contestant("limits: moving window")
def limits_moving(url: str) -> Ask:
    from limits import parse, storage, strategies

    limiter = strategies.MovingWindowRateLimiter(storage.storage_from_string(url))
    rate = parse(f"{LIMIT}/minute")
    return lambda who: limiter.hit(rate, who)


@contestant("limits: moving window, with figures")
def limits_with_figures(url: str) -> Ask:
    from limits import parse, storage, strategies

    limiter = strategies.MovingWindowRateLimiter(storage.storage_from_string(url))
    rate = parse(f"{LIMIT}/minute")

    def ask(who: str) -> bool:
        allowed = limiter.hit(rate, who)
        limiter.get_window_stats(rate, who)
        return allowed

    return ask


@contestant("limits: 3 moving windows")
def limits_three(url: str) -> Ask:
    from limits import parse, storage, strategies

    limiter = strategies.MovingWindowRateLimiter(storage.storage_from_string(url))
    rates = [parse(rate.replace("/", "/1 ")) for rate in ("100/second", "100/minute", "1000/hour")]
    return lambda who: sum(limiter.hit(rate, who) for rate in rates) == len(rates)


@contestant("django-ratelimit: fixed window")
def django_ratelimit(url: str) -> Ask:
    from django.test import RequestFactory
    from django_ratelimit.core import is_ratelimited

    request = RequestFactory().get("/")

    def ask(who: str) -> bool:
        request.META["HTTP_X_WHO"] = who
        limit = {"group": "bench", "key": "header:x-who", "rate": f"{LIMIT}/m"}
        return not is_ratelimited(request, **limit, increment=True)

    return ask


@contestant("django-smart-ratelimit: its default")
def smart(url: str) -> Ask:
    from django_smart_ratelimit.backends.redis_backend import RedisBackend

    backend = RedisBackend()
    return lambda who: backend.incr(who, WINDOW) <= LIMIT


@contestant("DRF: SimpleRateThrottle")
def drf(url: str) -> Ask:
    from rest_framework.throttling import SimpleRateThrottle

    class Throttle(SimpleRateThrottle):
        rate = f"{LIMIT}/m"

        def get_cache_key(self, request: Any, view: Any) -> str:
            return f"throttle:{request}"

    return lambda who: Throttle().allow_request(who, None)


@contestant("throttled-py: GCRA")
def throttled(url: str) -> Ask:
    from throttled import RateLimiterType, Throttled, rate_limiter, store

    limiter = Throttled(
        using=RateLimiterType.GCRA.value,
        quota=rate_limiter.per_min(LIMIT, burst=LIMIT),
        store=store.RedisStore(server=url),
    )
    return lambda who: not limiter.limit(who).limited


@contestant("PyrateLimiter: log")
def pyrate(url: str) -> Ask:
    from pyrate_limiter import Rate, RedisBucket
    from pyrate_limiter.abstracts import RateItem

    client = redis.Redis.from_url(url)
    rates = [Rate(LIMIT, WINDOW * 1000)]
    buckets = {f"ip:{n}": RedisBucket.init(rates, client, f"pyrate:{n}") for n in range(CLIENTS)}
    return lambda who: buckets[who].put(RateItem(who, time.time_ns() // 10**6))


class Bench:
    def __init__(self, url: str) -> None:
        self.url = url
        self.server = redis.Redis.from_url(url)

    def decisions(self, names: list[str], rounds: int, calls: int) -> dict[str, dict[str, float]]:
        """Microseconds of an allowed decision, and the ratio to the bare script's time."""
        asks = dict(self._installed([BASE, *(name for name in names if name != BASE)]))
        times: dict[str, list[float]] = {name: [] for name in asks}
        who = [f"ip:{number}" for number in range(CLIENTS)]
        self.server.flushdb()
        for ask in asks.values():
            self._time(ask, who)
        for _ in range(rounds):
            for name in random.sample(list(asks), len(asks)):
                times[name].append(
                    self._time(asks[name], itertools.islice(itertools.cycle(who), calls))
                )
        return {
            name: {
                "us": statistics.median(times[name]),
                "ratio": statistics.median(map(lambda x, y: x / y, times[name], times[BASE])),
            }
            for name in asks
        }

    def _installed(self, names: list[str]) -> Iterator[tuple[str, Ask]]:
        for name in names:
            try:
                yield name, contestants[name](self.url)
            except ImportError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)

    def _time(self, ask: Ask, who: Any) -> float:
        """Microseconds of a call; none may be refused, as that would be another benchmark."""
        who = list(who)
        start = time.perf_counter()
        answers = [ask(each) for each in who]
        taken = (time.perf_counter() - start) / len(who) * 1e6
        assert all(answers)
        return taken

    def refusals(self, calls: int) -> dict[str, float]:
        """Nanoseconds of a refusal that the deny cache answers."""
        from redis_atomic import RateLimiter

        limiter = RateLimiter("1/h", name="bench")
        while limiter.hit("ip:0"):
            pass
        times = []
        for _ in range(calls):
            start = time.perf_counter_ns()
            limiter.hit("ip:0")
            times.append(time.perf_counter_ns() - start)
        return {"p50": statistics.median(times), "p99": statistics.quantiles(times, n=100)[98]}

    def growth(self, rounds: int, calls: int) -> dict[int, dict[str, float]]:
        """Time of a decision, and memory, by the limit; its log is full, and full it stays."""
        full = {limit: self._full(limit) for limit in (10, 100, 1000, 10_000)}
        times: dict[int, list[float]] = {limit: [] for limit in full}
        for _ in range(rounds):
            for limit, (hit, _) in full.items():
                start = time.perf_counter()
                for _ in range(calls):
                    hit()
                times[limit].append((time.perf_counter() - start) / calls * 1e6)
        return {
            limit: {
                "us": statistics.median(times[limit]),
                "ratio": statistics.median(map(lambda x, y: x / y, times[limit], times[10])),
                "bytes": full[limit][1],
            }
            for limit in full
        }

    def _full(self, limit: int) -> tuple[Callable[[], Any], int]:
        """A call that finds its log full and one unit just gone; and the log's bytes."""
        from redis_atomic.ratelimit.limit import Charge, Limit
        from redis_atomic.ratelimit.protocol import ask, key_of

        rule = Limit(f"{limit}/h", key=None)
        charge = Charge(rule, rule.rate, "full", f"ip:{limit}")
        call = ask([charge], [key_of(charge, b"bench")])
        key = call.keys[0].name
        sha = self.server.script_load(call.command.source)
        now, gap = 10**15, rule.rate.window / limit

        def hit(pause: float = gap + 1100) -> None:
            nonlocal now
            now += int(pause)
            assert self.server.evalsha(sha, 1, key, *call.args, now, 3_600_000)[0]

        rng = random.Random(limit)
        moments = sorted(rng.uniform(0, rule.rate.window) for _ in range(limit))
        for earlier, later in itertools.pairwise([0.0, *moments]):
            hit(later - earlier)
        size = self.server.memory_usage(key, samples=0)
        now += rule.rate.window  # from here on evenly, so that each call frees one
        for _ in range(limit):
            hit()
        return hit, size


def configure(url: str) -> None:
    import django
    from django.conf import settings

    parts = urlsplit(url)
    settings.configure(
        SECRET_KEY="bench",
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
        INSTALLED_APPS=["redis_atomic"],
        RATELIMIT_BACKEND="redis",
        RATELIMIT_REDIS={"host": parts.hostname, "port": parts.port, "db": 0},
        REDIS_ATOMIC={"RATE_LIMIT_TIMEOUT": 5},
    )
    django.setup()


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from redis_atomic.testing import embedded_server

    with embedded_server(tcp=True) as embedded:
        yield embedded.tcp_url


def show(result: dict[str, Any]) -> None:
    print(f"{'one decision, allowed':42}{'us':>8}{'x return 1':>12}")
    for name, figures in result["decisions"].items():
        print(f"{name:42}{figures['us']:8.1f}{figures['ratio']:12.2f}")
    refusals = result["refusals"]
    print(
        f"\nrefused by the deny cache: p50 {refusals['p50']:.0f} ns, p99 {refusals['p99']:.0f} ns"
    )
    print(f"\n{'limit, log full':42}{'us':>8}{'x limit 10':>12}{'bytes':>10}")
    for limit, figures in result["growth"].items():
        print(f"{limit:<42}{figures['us']:8.1f}{figures['ratio']:12.2f}{figures['bytes']:10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--contestants", nargs="+", default=list(contestants), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--url")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rounds * options.calls > (LIMIT - 5) * CLIENTS:
        parser.error(f"rounds x calls is at most {(LIMIT - 5) * CLIENTS}: nobody is to be refused.")
    names = [n for n in contestants if any(word in n for word in options.contestants)]
    with server(options.url) as url:
        configure(url)
        bench = Bench(url)
        result = {
            "decisions": bench.decisions(names, options.rounds, options.calls),
            "refusals": bench.refusals(20_000),
            "growth": bench.growth(options.rounds, options.calls),
        }
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
