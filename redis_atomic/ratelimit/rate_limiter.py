"""``RateLimiter``: limits for anything that is not a request."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from .charge import Charge, Identity, Tariff, tariff_of
from .decision import Decision
from .deny_cache import deny_cache
from .limit import Limit, check_apart, check_name, usual_cost
from .limiter import (
    acharge,
    apeek,
    arefund,
    areset,
    charge,
    peek,
    refund,
    reset,
)
from .named import limits_named
from .rate import Rate
from .requests import Request, request_at

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

    ValueError or TypeError for a bad rate, name or option, TypeError for a rate that takes
    a request. A named limit that is missing raises ImproperlyConfigured when it is used.
    """

    def __init__(
        self,
        *limits: str | Rate | Limit,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if not limits:
            raise TypeError("RateLimiter needs a rate such as '100/m', a name, or a Limit.")
        self._name = None if name is None else check_name(name)
        self._parts = [self._part(given, options) for given in limits]
        check_apart(limit for part in self._parts if not isinstance(part, str) for limit in part)
        #: What a call without a cost is charged by; nothing where names are to be looked up.
        self._usual: tuple[Tariff, ...] = ()
        if not any(isinstance(part, str) for part in self._parts):
            self._usual = self._tariffs(None)

    def _part(self, given: str | Rate | Limit, options: Mapping[str, Any]) -> str | list[Limit]:
        """A name of RATE_LIMITS as it stands, anything else as limits."""
        if isinstance(given, str) and given[:1].isalpha():
            if options:
                raise TypeError(f"The options of {given!r} are those of RATE_LIMITS.")
            return check_name(given)
        if isinstance(given, Limit):
            if options:
                raise TypeError("A Limit has its own options: give them to Limit().")
            return [given]
        return [Limit(given, key=None, name=self._name, **options)]

    def hit(self, identity: Identity, *, cost: int | None = None) -> Decision:
        """
        Charge ``cost`` units, by default the limit's own cost, and return the Decision.

        Cost 0 looks without charging. A cost above the limit is refused, with
        ``retry_after`` None. Never raises because of Redis: see ``degraded``.
        TypeError or ValueError for a bad identity or cost.
        """
        tariffs = (self._usual if cost is None else ()) or self._tariffs(cost)
        known = deny_cache.find(tariffs, identity)
        if known is not None:
            return known
        return charge(self._request(tariffs, identity))

    async def ahit(self, identity: Identity, *, cost: int | None = None) -> Decision:
        """See hit()."""
        tariffs = (self._usual if cost is None else ()) or self._tariffs(cost)
        known = deny_cache.find(tariffs, identity)
        if known is not None:
            return known
        return await acharge(self._request(tariffs, identity))

    def peek(self, identity: Identity, *, cost: int | None = None) -> Decision:
        """What hit() would say now. Nothing is charged."""
        return peek(self._charges(identity, cost))

    async def apeek(self, identity: Identity, *, cost: int | None = None) -> Decision:
        """See peek()."""
        return await apeek(self._charges(identity, cost))

    def reset(self, identity: Identity) -> None:
        """
        Forget what was counted for an identity.

        NotExecuted or IndeterminateResult when Redis does not answer. Processes
        that have just refused it may go on doing so for up to 5 seconds.
        """
        reset(self._charges(identity, None))

    async def areset(self, identity: Identity) -> None:
        """See reset()."""
        await areset(self._charges(identity, None))

    def refund(self, decision: Decision) -> None:
        """
        Give back what an allowed decision charged. A second time changes nothing.

        A window takes back exactly its units, or none once they have left it; a
        bucket at most what is left of the charge. Never raises because of Redis.
        """
        refund(decision)

    async def arefund(self, decision: Decision) -> None:
        """See refund()."""
        await arefund(decision)

    def wait(self, identity: Identity, timeout: float, *, cost: int | None = None) -> Decision:
        """
        hit(), again each time its ``retry_after`` is over, for up to ``timeout`` seconds.

        Returns the first Decision that allows; or the last refusal, as soon as
        the time that is left is too short, or waiting is no use. Waiters are not
        queued. ValueError unless the timeout is a number of 0 or more.
        """
        end = time.monotonic() + check_timeout(timeout)
        while True:
            decision = self.hit(identity, cost=cost)
            pause = _pause(decision, end)
            if pause is None:
                return decision
            time.sleep(pause)

    async def await_(
        self, identity: Identity, timeout: float, *, cost: int | None = None
    ) -> Decision:
        """See wait()."""
        end = time.monotonic() + check_timeout(timeout)
        while True:
            decision = await self.ahit(identity, cost=cost)
            pause = _pause(decision, end)
            if pause is None:
                return decision
            await asyncio.sleep(pause)

    def _charges(self, identity: Identity, cost: int | None) -> list[Charge]:
        return self._request(self._tariffs(cost), identity).charges

    def _request(self, tariffs: tuple[Tariff, ...], identity: Identity) -> Request:
        check_identity(identity)
        return request_at(tariffs, (identity,) * len(tariffs))

    def _tariffs(self, cost: int | None) -> tuple[Tariff, ...]:
        """What a call is charged by. Names are looked up each time, as settings may change."""
        return tuple([self._tariff(limit, cost) for limit in self._limits()])

    def _limits(self) -> Iterator[Limit]:
        for part in self._parts:
            yield from limits_named(part) if isinstance(part, str) else part

    def _tariff(self, limit: Limit, cost: int | None) -> Tariff:
        if not isinstance(limit.rate, Rate):
            raise TypeError(
                f"The rate of {limit.name or 'this limit'} is {limit.rate!r}, which takes a "
                "request: RateLimiter has none."
            )
        scope = limit.scope or limit.name or self._name or SCOPE
        return tariff_of(limit, limit.rate, scope, usual_cost(limit) if cost is None else cost)

    def __repr__(self) -> str:
        parts = [
            p if isinstance(p, str) else ", ".join(str(x.rate) for x in p) for p in self._parts
        ]
        return f"<RateLimiter {', '.join(parts)}{f' {self._name!r}' if self._name else ''}>"


def check_identity(identity: object) -> None:
    """TypeError unless this is text that is not empty, or a tuple of such texts."""
    if type(identity) is str and identity:
        return
    parts = identity if isinstance(identity, tuple) else (identity,)
    if not parts or not all(isinstance(part, str) and part for part in parts):
        raise TypeError(
            f"An identity is text such as 'user:7', or a tuple of texts, not {identity!r}."
        )


def check_timeout(timeout: Any) -> float:
    """Return the seconds; ValueError unless they are a finite number of 0 or more."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if number and math.isfinite(timeout) and timeout >= 0:
        return float(timeout)
    raise ValueError(f"timeout is a number of seconds, 0 or more, not {timeout!r}.")


def _pause(decision: Decision, end: float) -> float | None:
    """How long to sleep before the next hit; None if there is none."""
    retry_after = decision.retry_after
    if decision.allowed or retry_after is None or time.monotonic() + retry_after > end:
        return None
    return retry_after
