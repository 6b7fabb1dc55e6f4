"""
Refusals that are remembered, so that a flood of refused requests stays away from Redis.

Until the time to retry has come nobody frees a unit of an exact window or
bucket, so what the server refused it would refuse again: the same cost or more,
at the same limits, for the same identity. The exceptions are a reset and a
refund. Those of this process forget the refusal; those of other processes are
why one is remembered for at most ``LONGEST`` seconds, and not at all where
refunds are the rule (``count_when``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any

from django.core.signals import setting_changed

from ..conf import conf
from .charge import LONGEST_IDENTITY, Charge, Identity
from .decision import Decision
from .limit import Limit, usual_cost
from .rate import Rate

LONGEST = 5.0  # seconds
#: How old the times in a Decision may get before they are told anew, in seconds: so much
#: too long somebody may be told to wait.
STALE = 0.01

#: What is asked, whoever asks.
Terms = tuple[tuple[Limit, Rate, str], ...]


class Refusal:
    """A refused call: what was asked for whom, and the Decision, until when it stands."""

    __slots__ = (
        "_charges",
        "_cost",
        "_dearest",
        "_told",
        "_until",
        "identities",
        "terms",
        "usual_cost",
        "usual_dearest",
    )

    def __init__(
        self, charge: Charge, charges: Sequence[Charge], seconds: float, decision: Decision
    ) -> None:
        self._charges = charges
        self.terms = _terms(charges)
        self.identities = _identities(charges)
        self._cost, self._dearest = charge.cost, decision.cost
        self.usual_cost = usual_cost(charge.limit)
        self.usual_dearest = max([usual_cost(each.limit) for each in charges])
        now = monotonic()
        self._told = decision, now  # one tuple, as threads replace it side by side
        self._until = now + seconds

    def is_of(self, charges: Sequence[Charge]) -> bool:
        """Were these asked, at whatever cost? Mostly they are the same ones."""
        return charges is self._charges or (
            self.terms == _terms(charges) and self.identities == _identities(charges)
        )

    def answer(self, cost: int, dearest: int) -> Decision | None:
        """
        The Decision with its times as of now; None if it says nothing of this cost: a
        smaller one may be allowed, a larger one has to wait longer.

        ``cost`` is asked of the limit that refused, ``dearest`` is the highest of all.
        """
        now = monotonic()
        if now >= self._until or cost != self._cost:
            return None
        decision, told = self._told
        if now - told > STALE:
            decision = decision.later(now - told, self._dearest)
            self._told = decision, now
        return decision if dearest == self._dearest else decision.later(0.0, dearest)


class DenyCache:
    """The refusals of this process, at most RATE_LIMIT_DENY_CACHE_SIZE of them."""

    def __init__(self) -> None:
        self._refusals: dict[tuple[str, Identity], Refusal] = {}
        self._lock = threading.Lock()

    def find(
        self, counts: Iterable[str], terms: Terms, identity: Identity, cost: int | None
    ) -> Decision | None:
        """
        What was refused to one identity at these terms, of which ``counts`` are the names.

        Without a cost, each limit's own is meant.
        """
        if not self._refusals:
            return None
        for count in counts:
            refusal = self._refusals.get((count, identity))
            if (
                refusal is not None
                and refusal.terms == terms
                and refusal.identities == identity
                and (decision := _answer(refusal, cost)) is not None
            ):
                return decision
        return None

    def find_any(self, charges: Sequence[Charge]) -> Decision | None:
        """What was refused to these charges."""
        if not self._refusals:
            return None
        for charge in charges:
            refusal = self._refusals.get(_place(charge))
            if (
                refusal is not None
                and refusal.is_of(charges)
                and (decision := refusal.answer(charge.tariff.cost, _dearest(charges))) is not None
            ):
                return decision
        return None

    def remember(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Remember a refusal under the limit that refuses longest, if it may be."""
        size = conf.RATE_LIMIT_DENY_CACHE_SIZE
        lasting = [
            (LONGEST if state.retry_after is None else state.retry_after, charge)
            for charge, state in zip(charges, decision.limits, strict=True)
            if state.refuses and not state.shadowed and charge.limit.count_when is None
        ]
        if not lasting or size < 1 or any(_is_long(charge.identity) for charge in charges):
            return
        seconds, charge = max(lasting, key=lambda each: each[0])
        refusal = Refusal(charge, charges, min(seconds, LONGEST), decision)
        with self._lock:
            place = _place(charge)
            self._refusals.pop(place, None)
            while len(self._refusals) >= size:
                del self._refusals[next(iter(self._refusals))]
            self._refusals[place] = refusal

    def forget(self, charges: Iterable[Charge]) -> None:
        """Forget what these charges' limits refused to their identities."""
        with self._lock:
            for charge in charges:
                self._refusals.pop(_place(charge), None)

    def clear(self) -> None:
        with self._lock:
            self._refusals.clear()

    def renew_after_fork(self) -> None:
        """Take a lock that no thread of the parent holds; what was refused still is."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._refusals)


def _answer(refusal: Refusal, cost: int | None) -> Decision | None:
    if cost is None:
        return refusal.answer(refusal.usual_cost, refusal.usual_dearest)
    return refusal.answer(cost, cost)


def _dearest(charges: Sequence[Charge]) -> int:
    return max([charge.tariff.cost for charge in charges])


def _place(charge: Charge) -> tuple[str, Identity]:
    return charge.tariff.count, charge.identity


def _terms(charges: Sequence[Charge]) -> Terms:
    return tuple([charge.tariff.terms for charge in charges])


def _identities(charges: Sequence[Charge]) -> object:
    """The identity that all charges have, or the list of them."""
    identities = [charge.identity for charge in charges]
    first = identities[0]
    return first if identities.count(first) == len(identities) else identities


def _is_long(identity: Identity) -> bool:
    return sum(map(len, (identity,) if isinstance(identity, str) else identity)) > LONGEST_IDENTITY


deny_cache = DenyCache()
os.register_at_fork(after_in_child=deny_cache.renew_after_fork)


def _clear(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        deny_cache.clear()


setting_changed.connect(_clear, dispatch_uid="redis_atomic.deny_cache")
