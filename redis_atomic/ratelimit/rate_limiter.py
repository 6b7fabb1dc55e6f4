"""``RateLimiter``: limits for anything that is not a request."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from .deny_cache import Terms, deny_cache
from .limit import Charge, Decision, Limit, check_apart, check_cost
from .limiter import adecide, apeek, arefund, areset, decide, peek, refund, reset
from .named import limits_named
from .protocol import count_of
from .rate import Rate

Identity = str | tuple[str, ...]

#: What limiters without a name count under: those of one window share their counts.
SCOPE = "limiter"


class RateLimiter:
    """
    Limits that are asked by hand: ``RateLimiter("100/m", name="export").hit("user:7")``.

    It takes rates, names of ``RATE_LIMITS`` (read when they are used), or Limits,
    which are asked together, all or nothing. ``name`` is what is counted: limiters,
    decorators and settings with one name and window share their counts for one
    identity. ``algorithm``, ``burst`` and ``scope`` are those of Limit, for rates.

    An identity is text as decorators make it, ``"user:7"``, ``"ip:192.0.2.1"``, or
    whatever else you count by; a tuple of texts for a tuple key.

    ValueError or TypeError for a bad rate, name or option. A named limit that is
    missing raises ImproperlyConfigured when it is used.
    """

    def __init__(
        self,
        *limits: str | Rate | Limit,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if not limits:
            raise TypeError("RateLimiter needs a rate such as '100/m', a name, or a Limit.")
        self._given = limits
        self._name = name
        self._options = options
        # What the deny cache goes by. Set at the first call: settings may change.
        self._terms: Terms = ()
        self._counts: tuple[str, ...] = ()
        for given in limits:
            if not _is_name(given):
                self._limits_of(given)

    def hit(self, identity: Identity, *, cost: int | None = None) -> Decision:
        """
        Charge ``cost`` units, by default the limit's own cost, and return the Decision.

        Cost 0 looks without charging. A cost above the limit is refused, with
        ``retry_after`` None. Never raises because of Redis: see ``degraded``.
        TypeError or ValueError for a bad identity or cost.
        """
        known = deny_cache.find(self._counts, self._terms, identity, cost)
        if known is not None:
            return known
        return decide(self._charges(identity, cost))

    async def ahit(self, identity: Identity, *, cost: int | None = None) -> Decision:
        """See hit()."""
        known = deny_cache.find(self._counts, self._terms, identity, cost)
        if known is not None:
            return known
        return await adecide(self._charges(identity, cost))
