"""
Throttles for Django REST framework, on exact limits.

In place of the framework's own::

    REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_CLASSES": [
            "redis_atomic.contrib.drf.AnonRateThrottle",
            "redis_atomic.contrib.drf.UserRateThrottle",
            "redis_atomic.contrib.drf.RateLimitThrottle",  # for ScopedRateThrottle
        ],
        "DEFAULT_THROTTLE_RATES": {"anon": "100/d", "user": "1000/d", "uploads": "20/h"},
    }

or with limits of one's own::

    class ExportThrottle(RateLimitThrottle):
        rate = ["export", Limit("1000/d", key=tenant_of)]

All RateLimitThrottles of a view are asked in one call: a request that one of
them refuses is charged to none. ``wait()`` is the time after which all of them
will let it pass, and the response has their header fields.

Addresses are found as everywhere in redis_atomic, by TRUSTED_PROXIES; the
framework's NUM_PROXIES is not read. Callables of limits are given the
framework's request, with its user, auth and data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http.response import HttpResponseBase
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from ..conf import conf
from ..ratelimit.charging import Rule
from ..ratelimit.decision import Decision
from ..ratelimit.gate import enter, leave
from ..ratelimit.http import with_refusal_fields
from ..ratelimit.limit import Limit
from ..ratelimit.networks import as_exempt
from .throttling import limits_of

#: Where a request of the framework keeps that its throttles have been asked.
ASKED = "_rate_limit_throttles_asked"


class RateLimitThrottle(BaseThrottle):
    """
    A throttle, to be subclassed or used as it is.

    ``rate``    a rate (``"5/m"``), a Limit, the name of one in RATE_LIMITS, or a
                list of these
    ``scope``   without a rate: the name of one in RATE_LIMITS, or else in
                DEFAULT_THROTTLE_RATES; by default the view's ``throttle_scope``.
                With a rate: what it is counted under; by default the view
    ``key``     of rates: whose requests count together, as Limit has it; a
                callable is written ``staticmethod(…)``
    ``exempt``  a callable (``staticmethod``) that takes the request, true: not limited; or
                a list of networks

    A view without a scope, and a scope whose rate is None, are not limited.
    ImproperlyConfigured for a scope that has no rate, and a rate that is none.
    """

    scope: str | None = None
    rate: Any = None
    key: Any = "user"
    exempt: Callable[[Any], Any] | Sequence[str] | None = None

    _decision: Decision | None = None

    def allow_request(self, request: Any, view: Any) -> bool:
        """Whether all limits of the view let the request pass; the first throttle asks for all."""
        if ASKED in vars(request):
            return True
        vars(request)[ASKED] = True
        rules = [throttle.rule(view) for throttle in _throttles_of(view) or [self]]
        kwargs = getattr(view, "kwargs", {})
        _, decision = enter(request, rules, view=_name_of(view), kwargs=kwargs, lasting=False)
        if decision is None:
            return True
        self._decision = decision
        vars(view)["finalize_response"] = partial(_finalize, view.finalize_response, decision)
        return decision.allowed

    def wait(self) -> float | None:
        """Seconds until the request will pass; None: never, it costs more than the limit."""
        return None if self._decision is None else self._decision.retry_after

    def rule(self, view: Any) -> Rule:
        """What this throttle asks of a request to this view."""
        return Rule(partial(self.get_limits, view), exempt=as_exempt(self.exempt), block=False)

    def get_limits(self, view: Any) -> tuple[Limit, ...]:
        """The limits for a view; to be overridden where the attributes don't suffice."""
        scope = self.scope or getattr(view, "throttle_scope", None)
        if self.rate is not None:
            return limits_of(self.rate, key=self.key, scope=self.scope)
        if not scope:
            return ()
        if scope in conf.RATE_LIMITS:
            return limits_of(scope)
        try:
            rate = api_settings.DEFAULT_THROTTLE_RATES[scope]
            return () if rate is None else limits_of(rate, key=self.key, scope=scope)
        except KeyError as error:
            raise ImproperlyConfigured(
                f"The throttle scope {scope!r} has no rate: add it to REDIS_ATOMIC['RATE_LIMITS'] "
                "or to REST_FRAMEWORK['DEFAULT_THROTTLE_RATES']."
            ) from error
        except ValueError as error:
            raise ImproperlyConfigured(
                f"REST_FRAMEWORK['DEFAULT_THROTTLE_RATES'][{scope!r}]: {error}"
            ) from error


def _is_authenticated(request: Any) -> bool:
    return bool(getattr(request.user, "is_authenticated", False))


class AnonRateThrottle(RateLimitThrottle):
    """The scope "anon", by address, for those who are not logged in."""

    scope = "anon"
    key = "ip"
    exempt = staticmethod(_is_authenticated)


class UserRateThrottle(RateLimitThrottle):
    """The scope "user", by user, and by address for those who are not logged in."""

    scope = "user"


def _throttles_of(view: Any) -> list[RateLimitThrottle]:
    return [each for each in view.get_throttles() if isinstance(each, RateLimitThrottle)]


def _name_of(view: Any) -> str:
    """The scope of rates without one. ``@api_view`` gives its class only the function's name."""
    cls = type(view)
    named = cls.__qualname__.endswith(cls.__name__)
    return f"view:{cls.__module__}.{cls.__qualname__ if named else cls.__name__}"


def _finalize(
    finalize_response: Callable[..., Any],
    decision: Decision,
    request: Any,
    *args: Any,
    **kwargs: Any,
) -> HttpResponseBase:
    """The view's finalize_response, and what is to be done with the response."""
    response: HttpResponseBase = finalize_response(request, *args, **kwargs)
    if not decision:
        with_refusal_fields(response, decision)
    leave(request, response, decision)
    return response
