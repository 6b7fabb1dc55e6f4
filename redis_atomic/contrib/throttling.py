"""What the throttles of all frameworks have in common: how their limits are written."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..ratelimit.limit import NAME, Limit
from ..ratelimit.named import limits_named


def limits_of(given: Any, *, key: Any = None, scope: str | None = None) -> tuple[Limit, ...]:
    """
    The limits that a rate, a Limit, a name of RATE_LIMITS, or a list of these stand for.

    ``key`` and ``scope`` are those of the rates; by default "ip", and the view.
    Names are looked up each time, as settings may have changed. ValueError or
    TypeError for what is none of these, ImproperlyConfigured for an unknown name.
    """
    if isinstance(given, list | tuple):
        return tuple([limit for each in given for limit in limits_of(each, key=key, scope=scope)])
    if isinstance(given, Limit):
        return (given,)
    if isinstance(given, str) and given[:1].isalpha():
        return limits_named(given)
    return (_limit(given, "ip" if key is None else key, scope),)


@lru_cache(maxsize=256)
def _limit(rate: Any, key: Any, scope: str | None) -> Limit:
    """The same Limit for the same words: it is compared for each request."""
    name = scope if scope is not None and NAME.fullmatch(scope) else None
    return Limit(rate, key=key, name=name, scope=scope)
