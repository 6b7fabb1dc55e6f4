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
from .charge import LONGEST_IDENTITY, Charge, Identity, Tariff
from .keys import keys_of
from .protocol import question_of

#: Requests remembered.
SIZE = 4096


def request_for(client: Client, charges: Sequence[Charge]) -> bytes:
    """The call that charges these, as this client sends it. ValueError as keys_of() has it."""
    tariffs = tuple([charge.tariff for charge in charges])
    identities = tuple([charge.identity for charge in charges])
    for identity in identities:
        if type(identity) is not str or len(identity) > LONGEST_IDENTITY:
            return _request.__wrapped__(tariffs, identities, client)
    return _request(tariffs, identities, client)


@lru_cache(SIZE)
def _request(
    tariffs: tuple[Tariff, ...], identities: tuple[Identity, ...], client: Client
) -> bytes:
    charges = list(map(Charge.at, tariffs, identities))
    keys = [client.make_key(key) for key in keys_of(charges)]
    return pack("EVALSHA", builtin("rate_limit").sha, keys, question_of(charges))


def forget(*, setting: str = "SECRET_KEY", **kwargs: object) -> None:
    """Forget all: what keys are made of has changed."""
    if setting in {"SECRET_KEY", "CACHES", "REDIS_ATOMIC"}:
        _request.cache_clear()


setting_changed.connect(forget, dispatch_uid="redis_atomic.limits_requests")
