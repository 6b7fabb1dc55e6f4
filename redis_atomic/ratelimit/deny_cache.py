"""
Refusals that are remembered, so that a flood of refused requests stays away from Redis.

Until the time to retry has come nobody frees a unit of an exact window or
bucket, so what the server refused it would refuse again: the same cost, at the
same limits, for the same identity. The exceptions are a reset and a
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
from .charge import LONGEST_IDENTITY, Charge, Identity, Tariff, Terms, shared_identity
from .decision import Decision
from .requests import Request

LONGEST = 5.0  # seconds
#: How old the times in a Decision may get before they are told anew, in seconds: so much
#: too long somebody may be told to wait.
STALE = 0.01


class Refusal:
    """A refused call: what was asked for whom, and the Decision, until when it stands."""

    __slots__ = ("_identity", "_tariffs", "_told", "_until")

    def __init__(self, charges: Sequence[Charge], decision: Decision, seconds: float) -> None:
        self._tariffs = tuple([charge.tariff for charge in charges])
        self._identity = shared_identity([charge.identity for charge in charges])
        now = monotonic()
        self._until = now + seconds
        self._tell(decision, now)

    def _tell(self, decision: Decision, now: float) -> Decision:
        """Let this be the Decision for a moment; one tuple, as threads replace it side by side."""
        self._told = decision, now, min(now + STALE, self._until)
        return decision

    def answer(self, tariffs: Sequence[Tariff], identity: object) -> Decision | None:
        """The Decision with its times as of now, if it is to this call, and still stands."""
        # Mostly the tariffs are the same ones; limits that are equal have some of their own.
        if identity != self._identity or (
            tariffs != self._tariffs and _terms(tariffs) != _terms(self._tariffs)
        ):
            return None
        decision, told, stale = self._told
        now = monotonic()
        if now < stale:
            return decision
        return self._tell(decision.later(now - told), now) if now < self._until else None


class DenyCache:
    """The refusals of this process, at most RATE_LIMIT_DENY_CACHE_SIZE of them."""

    def __init__(self) -> None:
        self._refusals: dict[tuple[str, Identity], Refusal] = {}
        self._lock = threading.Lock()

    def find(self, tariffs: Sequence[Tariff], identity: Identity) -> Decision | None:
        """What was refused to one identity at these tariffs."""
        refusals = self._refusals
        if not refusals:
            return None
        for tariff in tariffs:
            refusal = refusals.get((tariff.count, identity))
            if refusal is not None:
                decision = refusal.answer(tariffs, identity)
                if decision is not None:
                    return decision
        return None

    def find_any(self, request: Request) -> Decision | None:
        """What was refused to these charges."""
        refusals = self._refusals
        if not refusals:
            return None
        for place in request.places:
            refusal = refusals.get(place)
            if refusal is not None:
                decision = refusal.answer(request.tariffs, request.identity)
                if decision is not None:
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
        refusal = Refusal(charges, decision, min(seconds, LONGEST))
        with self._lock:
            place = charge.place
            self._refusals.pop(place, None)
            while len(self._refusals) >= size:
                del self._refusals[next(iter(self._refusals))]
            self._refusals[place] = refusal

    def forget(self, charges: Iterable[Charge]) -> None:
        """Forget what these charges' limits refused to their identities."""
        with self._lock:
            for charge in charges:
                self._refusals.pop(charge.place, None)

    def clear(self) -> None:
        with self._lock:
            self._refusals.clear()

    def renew_after_fork(self) -> None:
        """Take a lock that no thread of the parent holds; what was refused still is."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._refusals)


def _terms(tariffs: Sequence[Tariff]) -> list[Terms]:
    return [tariff.terms for tariff in tariffs]


def _is_long(identity: Identity) -> bool:
    return sum(map(len, (identity,) if isinstance(identity, str) else identity)) > LONGEST_IDENTITY


deny_cache = DenyCache()
os.register_at_fork(after_in_child=deny_cache.renew_after_fork)


def _clear(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        deny_cache.clear()


setting_changed.connect(_clear, dispatch_uid="redis_atomic.deny_cache")
