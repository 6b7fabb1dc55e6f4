"""
The same view behind each package, twice: "allowed/…" at 100 a minute, "denied/…" at 5 an hour.

A package that is not there has no view. Clients tell who they are in a header field.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from ..peers import Rate, floor

View = Callable[..., Any]

RATES = {"allowed": (100, 60, "100/m"), "denied": (5, 3600, "5/h")}
variants: dict[str, View] = {}
URL = settings.CACHES["default"]["LOCATION"]


def cpu(request: HttpRequest) -> HttpResponse:
    """Seconds that this process has worked."""
    return HttpResponse(f"{time.process_time():.6f}")


def freeze(request: HttpRequest) -> HttpResponse:
    """What all packages have imported is not to be gone through while one is asked."""
    gc.collect()
    gc.freeze()
    return HttpResponse("done")


async def acpu(request: HttpRequest) -> HttpResponse:
    return cpu(request)


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


async def aplain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def variant(add: Callable[[str, tuple[int, int, str]], None]) -> None:
    """Add this package's views for each rate, unless it can't be imported."""
    for name, rate in RATES.items():
        with contextlib.suppress(ImportError):
            add(name, rate)


variants["plain"], variants["async/plain"] = plain, aplain


@variant
def redis_atomic(name: str, rate: tuple[int, int, str]) -> None:
    from redis_atomic import rate_limit

    limited = rate_limit(rate[2], key="header:X-Client", scope=name)
    variants[f"{name}/redis_atomic"] = limited(plain)
    variants[f"async/{name}/redis_atomic"] = limited(aplain)


@variant
def bare_socket(name: str, rate: tuple[int, int, str]) -> None:
    """The least that Python can take for the same answer: see peers.floor()."""
    ask = floor(URL, Rate(*rate[:2]), name)
    policy = f'"default";q={rate[0]};w={rate[1]}'

    @wraps(plain)
    def limited(request: HttpRequest) -> HttpResponse:
        _, _, remaining, _, reset_after = ask(request.META["HTTP_X_CLIENT"])
        response = plain(request)
        response.headers["RateLimit-Policy"] = policy
        left = -(-reset_after // 1_000_000)
        response.headers["RateLimit"] = f'"default";r={remaining};t={left}'
        return response

    variants[f"{name}/bare-socket"] = limited


@variant
def limits(name: str, rate: tuple[int, int, str]) -> None:
    """It has no decorator for Django: the shortest that can be."""
    from limits import RateLimitItemPerSecond, aio, storage, strategies

    item = RateLimitItemPerSecond(*rate[:2])
    limiter = strategies.MovingWindowRateLimiter(storage.storage_from_string(URL))
    astore = aio.storage.RedisStorage(f"async+{URL}", implementation="redispy")
    alimiter = aio.strategies.MovingWindowRateLimiter(astore)

    @wraps(plain)
    def limited(request: HttpRequest) -> HttpResponse:
        if not limiter.hit(item, request.headers["X-Client"]):
            return HttpResponse(status=429)
        return plain(request)

    @wraps(aplain)
    async def alimited(request: HttpRequest) -> HttpResponse:
        if not await alimiter.hit(item, request.headers["X-Client"]):
            return HttpResponse(status=429)
        return await aplain(request)

    @wraps(plain)
    def with_fields(request: HttpRequest) -> HttpResponse:
        """As redis_atomic answers: what is left, and for how long, costs a second call."""
        response = limited(request)
        reset, remaining = limiter.get_window_stats(item, request.headers["X-Client"])
        response.headers["RateLimit-Policy"] = f'"default";q={rate[0]};w={rate[1]}'
        left = max(0, math.ceil(reset - time.time()))
        response.headers["RateLimit"] = f'"default";r={remaining};t={left}'
        return response

    variants[f"{name}/limits"], variants[f"async/{name}/limits"] = limited, alimited
    variants[f"{name}/limits-with-fields"] = with_fields


@variant
def django_ratelimit(name: str, rate: tuple[int, int, str]) -> None:
    from django_ratelimit.decorators import ratelimit

    variants[f"{name}/django-ratelimit"] = ratelimit(
        group=name, key="header:x-client", rate=rate[2], block=True
    )(plain)


@variant
def django_smart_ratelimit(name: str, rate: tuple[int, int, str]) -> None:
    from django_smart_ratelimit import rate_limit

    def client(request: HttpRequest, *args: Any, **kwargs: Any) -> str:
        return f"{name}:{request.headers['X-Client']}"

    for algorithm in ("sliding_window", "token_bucket"):
        limited = rate_limit(key=client, rate=rate[2], algorithm=algorithm)
        variants[f"{name}/django-smart-ratelimit-{algorithm}"] = limited(plain)


@variant
def rest_framework(name: str, rate_: tuple[int, int, str]) -> None:
    from rest_framework.throttling import SimpleRateThrottle
    from rest_framework.views import APIView

    class Throttle(SimpleRateThrottle):
        rate = rate_[2]

        def get_cache_key(self, request: Any, view: Any) -> str:
            return f"{name}:{request.headers['X-Client']}"

    class Unlimited(APIView):
        def get(self, request: Any) -> HttpResponse:
            return HttpResponse("hello")

    class Limited(Unlimited):
        throttle_classes = (Throttle,)

    variants["rest_framework-plain"] = Unlimited.as_view()
    variants[f"{name}/rest_framework"] = Limited.as_view()
