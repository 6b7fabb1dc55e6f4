"""
Who makes decisions: redis_atomic, its peers, and the least that a call can cost.

Each is a generator function of the server's address and the rates: it sets up, and
yields what asks for one decision for a client, true if allowed. Several rates are asked
one after another where a peer has nothing better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import redis

from redis_atomic.testing import override

from .slices import Contestant


class Rate(NamedTuple):
    amount: int
    seconds: int


Ask = Callable[[str], Any]
Make = Callable[..., Iterator[Ask]]

BASE = "redis-py: EVALSHA 'return 1'"
FLOOR = "the floor: our script by a bare socket"
OFF = ", LEAN_CALLS off"
OURS = "redis_atomic: sliding window"
ORDINARY = OURS + OFF
LIMITS, LIMITS_FIGURES = "limits: moving window", "limits: moving window, with figures"
RATELIMIT, SMART, DRF = (
    "django-ratelimit: fixed window",
    "django-smart-ratelimit: sliding window",
    "DRF: SimpleRateThrottle",
)


@dataclass(frozen=True)
class Peer:
    """``figures``: does its answer tell what is left, and when to come again?"""

    make: Make
    kind: str
    figures: bool
    unix: bool


peers: dict[str, Peer] = {}


def peer(name: str, kind: str, *, figures: bool = False, unix: bool = True) -> Any:
    def register(make: Make) -> Make:
        peers[name] = Peer(make, kind, figures, unix)
        return make

    return register


def settings_of(name: str, alias: str = "default") -> Callable[[], AbstractContextManager[Any]]:
    """What is entered around a contestant's slices: its settings, if it is one of ours."""
    if not name.startswith("redis_atomic"):
        return nullcontext
    return partial(override, CACHE_ALIAS=alias, LEAN_CALLS=not name.endswith(OFF))


def contestant(name: str, url: str, *rates: Rate, alias: str = "default") -> Contestant:
    """One of these peers, as a contestant."""
    what = peers[name]
    facts = {"kind": what.kind, "figures": what.figures}
    return Contestant(name, partial(what.make, url, *rates), settings_of(name, alias), facts)


def all_of(asks: Sequence[Ask]) -> Ask:
    """Ask one after another, whatever the one before has said."""
    if len(asks) == 1:
        return asks[0]
    return lambda who: all([ask(who) for ask in asks])  # noqa: C419 - a list asks all of them


@peer(BASE, "none")
def bare(url: str, *rates: Rate) -> Iterator[Ask]:
    with redis.Redis.from_url(url) as client:
        sha = client.script_load("return 1")
        yield lambda who: client.evalsha(sha, 1, who)


def floor(url: str, rate: Rate, name: str = "floor") -> Ask:
    """
    The least that Python can take for our answer: a blocking socket and hiredis's parser.

    What is sent is made once for each client. Nobody looks whether the connection is
    still there, or waits for no longer than so long; no error is handled.
    """
    import hiredis

    from redis_atomic import RateLimiter
    from redis_atomic.ratelimit.transport import limits_client

    limiter, server, calls = RateLimiter(text_of(rate), name=name), limits_client(), {}
    limiter.hit("somebody")  # loads the script
    connection = redis.ConnectionPool.from_url(url).get_connection()
    sock, reader = connection._sock, hiredis.Reader()
    sock.settimeout(None)

    def ask(who: str, open_while_asked: Any = connection) -> list[int]:
        call = calls.get(who)
        if call is None:
            call = calls[who] = limiter._request(limiter._tariffs(None), who).packed(server)
        sock.send(call)
        reader.feed(sock.recv(65_536))
        return reader.gets()

    return ask


def floor_contestant(url: str, rate: Rate) -> Contestant:
    def make() -> Iterator[Ask]:
        yield floor(url, rate)

    return Contestant(FLOOR, make, facts={"kind": "log", "figures": True})


def text_of(rate: Rate) -> str:
    unit = {1: "s", 60: "m", 3600: "h"}.get(rate.seconds, f"{rate.seconds}s")
    return f"{rate.amount}/{unit}"


def ours(url: str, *rates: Rate, name: str, algorithm: str = "sliding_window") -> Iterator[Ask]:
    from redis_atomic import RateLimiter

    yield RateLimiter(*map(text_of, rates), name=name, algorithm=algorithm).hit


peer(OURS, "log", figures=True)(partial(ours, name="lean"))
peer(ORDINARY, "log", figures=True)(partial(ours, name="ordinary"))
peer("redis_atomic: token bucket", "bucket", figures=True)(
    partial(ours, name="bucket", algorithm="token_bucket")
)


def of_limits(url: str, rates: Sequence[Rate], strategy: str, name: str) -> tuple[Any, list[Any]]:
    """The limiter, and its rates; strategies would share their keys but for the name."""
    from limits import RateLimitItemPerSecond, storage, strategies

    store = storage.storage_from_string(url.replace("unix:", "redis+unix:"))
    items = [RateLimitItemPerSecond(*rate, namespace=name) for rate in rates]
    return getattr(strategies, strategy)(store), items


def limits(url: str, *rates: Rate, strategy: str) -> Iterator[Ask]:
    limiter, items = of_limits(url, rates, strategy, strategy)
    yield all_of([partial(limiter.hit, item) for item in items])


peer(LIMITS, "log")(partial(limits, strategy="MovingWindowRateLimiter"))
peer("limits: fixed window", "fixed")(partial(limits, strategy="FixedWindowRateLimiter"))


@peer(LIMITS_FIGURES, "log", figures=True)
def limits_with_figures(url: str, *rates: Rate) -> Iterator[Ask]:
    def ask(item: Any, who: str) -> bool:
        allowed = limiter.hit(item, who)
        limiter.get_window_stats(item, who)
        return allowed

    limiter, items = of_limits(url, rates, "MovingWindowRateLimiter", "figures")
    yield all_of([partial(ask, item) for item in items])


def throttled(url: str, *rates: Rate, using: str) -> Iterator[Ask]:
    from throttled import Throttled, rate_limiter, store

    redis_store = store.RedisStore(server=url)

    def ask_of(rate: Rate) -> Ask:
        quota = rate_limiter.per_duration(
            timedelta(seconds=rate.seconds), rate.amount, burst=rate.amount
        )
        limiter = Throttled(using=using, quota=quota, store=redis_store)
        # Its keys do not tell one rate from another.
        return lambda who: not limiter.limit(f"{who}:{rate.seconds}").limited

    yield all_of([ask_of(rate) for rate in rates])


peer("throttled-py: GCRA", "bucket", figures=True)(partial(throttled, using="gcra"))
peer("throttled-py: sliding window", "counter", figures=True)(
    partial(throttled, using="sliding_window")
)
peer("throttled-py: fixed window", "fixed", figures=True)(partial(throttled, using="fixed_window"))


@peer("PyrateLimiter: RedisBucket", "log")
def pyrate(url: str, *rates: Rate) -> Iterator[Ask]:
    from pyrate_limiter import Rate as TheirRate
    from pyrate_limiter import RedisBucket
    from pyrate_limiter.abstracts import RateItem

    theirs = [TheirRate(rate.amount, rate.seconds * 1000) for rate in rates]
    buckets: dict[str, RedisBucket] = {}

    def ask(who: str) -> bool:
        bucket = buckets.get(who)
        if bucket is None:
            bucket = buckets[who] = RedisBucket(theirs, client, f"pyrate:{who}", sha)
        return bucket.put(RateItem(who, time.time_ns() // 10**6))

    with redis.Redis.from_url(url) as client:
        sha = RedisBucket.init(theirs, client, "pyrate").script_hash
        yield ask


@peer(RATELIMIT, "fixed", figures=True, unix=False)
def django_ratelimit(url: str, *rates: Rate) -> Iterator[Ask]:
    from django.test import RequestFactory
    from django_ratelimit.core import get_usage

    request = RequestFactory().get("/")

    def ask(rate: Rate, who: str) -> bool:
        request.META["HTTP_X_WHO"] = who
        limit = {"group": "bench", "key": "header:x-who", "rate": tuple(rate)}
        return not get_usage(request, **limit, increment=True)["should_limit"]

    yield all_of([partial(ask, rate) for rate in rates])


# Its Redis backend hands host and port to a connection of a unix socket, and fails.
@peer(SMART, "log", figures=True, unix=False)
def smart_window(url: str, *rates: Rate) -> Iterator[Ask]:
    from django.test import RequestFactory
    from django_smart_ratelimit.backends.redis_backend import RedisBackend
    from django_smart_ratelimit.context import RateLimitContext
    from django_smart_ratelimit.decorator import check_rate_limit

    backend, request = RedisBackend(), RequestFactory().get("/")

    def ask(rate: Rate, who: str) -> bool:
        context = RateLimitContext(request, f"{who}:{rate.seconds}", *rate)
        return check_rate_limit(context, backend).allowed

    yield all_of([partial(ask, rate) for rate in rates])


@peer("django-smart-ratelimit: token bucket", "bucket", figures=True, unix=False)
def smart_bucket(url: str, *rates: Rate) -> Iterator[Ask]:
    from django_smart_ratelimit.backends.redis_backend import RedisBackend

    backend = RedisBackend()

    def ask(rate: Rate, who: str) -> bool:
        refill = rate.amount / rate.seconds
        key = f"{who}:{rate.seconds}"
        return backend.token_bucket_check(key, rate.amount, refill, rate.amount, 1)[0]

    yield all_of([partial(ask, rate) for rate in rates])


@peer(DRF, "log", figures=True, unix=False)
def drf(url: str, *rates: Rate) -> Iterator[Ask]:
    from rest_framework.throttling import SimpleRateThrottle

    def ask_of(rate_: Rate) -> Ask:
        class Throttle(SimpleRateThrottle):
            rate = "100/m"

            def parse_rate(self, rate: str) -> Rate:
                return rate_

            def get_cache_key(self, request: str, view: None) -> str:
                return f"throttle:{request}:{rate_.seconds}"

        return lambda who: Throttle().allow_request(who, None)

    yield all_of([ask_of(rate) for rate in rates])


def walrus(url: str, *rates: Rate, lua: bool) -> Iterator[Ask]:
    from walrus import Database
    from walrus.rate_limit import RateLimit, RateLimitLua

    def ask_of(rate: Rate) -> Ask:
        kind = RateLimitLua if lua else RateLimit
        name = f"{kind.__name__}:{rate.seconds}"
        limiter = kind(database, name, limit=rate.amount, per=rate.seconds)
        return lambda who: not limiter.limit(who)

    with Database.from_url(url) as database:
        yield all_of([ask_of(rate) for rate in rates])


peer("walrus: RateLimitLua", "log")(partial(walrus, lua=True))
peer("walrus: RateLimit", "log")(partial(walrus, lua=False))
