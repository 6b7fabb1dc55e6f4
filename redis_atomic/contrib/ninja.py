"""
Limits for django-ninja: a throttle, and ``rate_limit`` for an operation.

    @api.get("/items", throttle=RateLimitThrottle("20/s", Limit("5000/d", key=auth)))
    def items(request): ...

    @api.post("/login")
    @rate_limit("login", count_when=lambda response: response.status_code >= 400)
    async def login(request, form: Form[Login]): ...

Which of the two:

* A throttle is asked after authentication, so it can count by ``auth``. It never
  sees the response: its header fields are added by RateLimitMiddleware, where the
  project has it, and ``count_when`` is not for it.

* ``rate_limit`` is the decorator of redis_atomic, before authentication. The
  response has the header fields, ``count_when`` works, and an async operation
  awaits Redis. django-ninja calls throttles without awaiting them, so in an async
  operation a throttle holds the event loop until Redis answers: as a rule a tenth
  of a millisecond, and never longer than RATE_LIMIT_TIMEOUT for each of the first
  calls that fail.

The limits of one throttle are one call, all or nothing. Where a later throttle of
an operation refuses, what the ones before it charged is given back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.http import HttpRequest
from ninja.decorators import decorate_view
from ninja.throttling import BaseThrottle

from .. import decorators
from ..ratelimit.charging import Rule
from ..ratelimit.decision import Decision
from ..ratelimit.gate import enter
from ..ratelimit.limit import Limit, check_apart
from ..ratelimit.limiter import refund
from ..ratelimit.networks import as_exempt
from .throttling import limits_of

View = TypeVar("View", bound=Callable[..., Any])

#: Where a request keeps what its throttles have decided so far.
DECISIONS = "_rate_limit_throttle_decisions"

#: A throttle is shared by all requests, and wait() is not told which one it is about.
_retry_after: ContextVar[float | None] = ContextVar("retry_after", default=None)


class RateLimitThrottle(BaseThrottle):
    """
    A throttle for an operation, a router or an API.

    ``limits`` are rates (``"5/m"``), names from RATE_LIMITS, or Limits; they are
    asked in one call, all or nothing.

    ``key``     of the rates: whose requests count together; "ip" by default
    ``scope``   of the rates: what they count under; by default each operation
                for itself, also where a router or an API has the throttle
    ``exempt``  a callable that takes the request, or a list of networks

    TypeError or ValueError for arguments that can't be, and ImproperlyConfigured,
    when a request comes, for an unknown name.
    """

    def __init__(
        self, *limits: str | Limit, key: Any = None, scope: str | None = None, exempt: Any = None
    ) -> None:
        if not limits:
            raise TypeError("RateLimitThrottle needs a limit: write RateLimitThrottle('5/m').")
        self._given = limits
        self._key = key
        self._scope = scope
        unnamed = [each for each in limits if not (isinstance(each, str) and each[:1].isalpha())]
        check_apart(_without_count_when(limits_of(unnamed, key=key, scope=scope)))
        self._rule = Rule(self._limits, exempt=as_exempt(exempt), block=False)

    def allow_request(self, request: HttpRequest) -> bool:
        """Whether all limits of this throttle let the request pass."""
        before: list[Decision] = vars(request).setdefault(DECISIONS, [])
        if not all(before):
            return True  # it is refused already: nothing more is to be charged
        decision = self._decide(request)
        if decision is None:
            return True
        if not decision:
            for charged in before:
                refund(charged)
        before.append(decision)
        _retry_after.set(decision.retry_after)
        return decision.allowed

    def wait(self) -> float | None:
        """Seconds until the request that was just refused will pass; None: never."""
        return _retry_after.get()

    def _decide(self, request: HttpRequest) -> Decision | None:
        match = request.resolver_match
        view = f"view:{request.method} {match.route if match else ''}"
        kwargs = match.kwargs if match else {}
        try:
            _, decision = enter(request, [self._rule], view=view, kwargs=kwargs)
            return decision
        except SynchronousOnlyOperation as error:
            raise ImproperlyConfigured(
                "A throttle can't load request.user in an async operation: decorate it with "
                "redis_atomic.contrib.ninja.rate_limit, or count by key=auth."
            ) from error

    def _limits(self) -> tuple[Limit, ...]:
        return _without_count_when(limits_of(self._given, key=self._key, scope=self._scope))


def _without_count_when(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    for limit in limits:
        if limit.count_when is not None:
            raise ImproperlyConfigured(
                f"The limit {limit.name or limit.rate!s} has count_when, and a throttle does not "
                "see the response: decorate the operation with "
                "redis_atomic.contrib.ninja.rate_limit."
            )
    return limits


def auth(request: HttpRequest) -> str | None:
    """A key for throttles: who django-ninja has found the request to come from."""
    found = getattr(request, "auth", None)
    return None if found is None else str(getattr(found, "pk", found))


def rate_limit(*limits: Any, **options: Any) -> Callable[[View], View]:
    """
    Limit how often an operation is called (decorator, above or beneath ``@api.get``).

    Takes what ``redis_atomic.rate_limit`` takes. A rate counts under the
    operation's function. It is asked before django-ninja authenticates, so
    ``key="user"`` is the user of Django's session.
    """
    limited = decorators.rate_limit(*limits, **options)

    def decorate(view: View) -> View:
        return decorate_view(lambda run: limited(_in_the_name_of(view, run)))(view)

    return decorate


def _in_the_name_of(view: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """An operation's ``run`` under the name of its function: rates count by that name."""
    if iscoroutinefunction(run):

        @wraps(view)
        async def arunning(request: HttpRequest, **kwargs: Any) -> Any:
            return await run(request, **kwargs)

        return arunning

    @wraps(view)
    def running(request: HttpRequest, **kwargs: Any) -> Any:
        return run(request, **kwargs)

    return running
