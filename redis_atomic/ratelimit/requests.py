"""
What is sent to charge limits, as bytes: remembered, as who asked once asks again.

To hash identities, make keys and pack them takes longer than all else that is done here
for a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from django.core.signals import setting_changed

from ..client.connections import Client
from ..scripting.builtin import builtin
from ..scripting.packing import pack
from .charge import LONGEST_IDENTITY, Charge, Identity, Tariff, shared_identity
from .keys import keys_of
from .protocol import question_of

#: Requests remembered.
SIZE = 4096


class Request:
    """
    Charges that are asked for together, and the call that asks for them.

    ``identity`` is the one that they share, or a list of them; ``places`` are what is
    counted for whom.
    """

    __slots__ = ("_packed", "charges", "identity", "places", "tariffs")

    def __init__(self, tariffs: tuple[Tariff, ...], identities: tuple[Identity, ...]) -> None:
        self.tariffs = tariffs
        self.identity = shared_identity(identities)
        self.charges = list(map(Charge.at, tariffs, identities))
        self.places = [charge.place for charge in self.charges]
        self._packed: tuple[Client | None, bytes] = None, b""

    def packed(self, client: Client) -> bytes:
        """The call as this client sends it. ValueError as keys_of() has it."""
        known, packed = self._packed
        if known is not client:
            keys = [client.make_key(key) for key in keys_of(self.charges)]
            packed = pack("EVALSHA", builtin("rate_limit").sha, keys, question_of(self.charges))
            self._packed = client, packed  # one tuple, as threads replace it side by side
        return packed


def request_of(charges: Sequence[Charge]) -> Request:
    """A request for charges like these."""
    tariffs = tuple([charge.tariff for charge in charges])
    return request_at(tariffs, tuple([charge.identity for charge in charges]))


def request_at(tariffs: tuple[Tariff, ...], identities: tuple[Identity, ...]) -> Request:
    """The request for a charge at each of these tariffs, of the identity in the same place."""
    for identity in identities:
        if type(identity) is not str or len(identity) > LONGEST_IDENTITY:
            return Request(tariffs, identities)
    return _remembered(tariffs, identities)


_remembered = lru_cache(SIZE)(Request)


def forget(*, setting: str = "SECRET_KEY", **kwargs: object) -> None:
    """Forget all: what keys are made of has changed."""
    if setting in {"SECRET_KEY", "CACHES", "REDIS_ATOMIC"}:
        _remembered.cache_clear()


setting_changed.connect(forget, dispatch_uid="redis_atomic.limits_requests")
