"""Where charges are counted: their keys, made with the project's secret."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from django.core.signals import setting_changed
from django.utils.crypto import salted_hmac

from ..scripting.script import PrefixedKey
from .charge import Charge
from .protocol import key_of, tag_of


def keys_of(charges: Sequence[Charge]) -> tuple[PrefixedKey, ...]:
    """A key for each charge; ValueError if there are no charges, or two with one count."""
    if not charges:
        raise ValueError("charges is empty: there is no limit to ask.")
    keys = tuple([key_for(charge) for charge in charges])
    if len(keys) > 1 and len(set(keys)) < len(keys):
        one, other = _two_with_one_key(charges, keys)
        raise ValueError(
            f"The limits {one.rate} by {one.limit.key!r} and {other.rate} by {other.limit.key!r} "
            f"share one count in {one.scope!r}: keep the stricter one, or give one another scope."
        )
    return keys


def _two_with_one_key(
    charges: Sequence[Charge], keys: Sequence[PrefixedKey]
) -> tuple[Charge, Charge]:
    seen: dict[PrefixedKey, Charge] = {}
    for charge, key in zip(charges, keys, strict=True):
        if key in seen:
            return seen[key], charge
        seen[key] = charge
    raise AssertionError("All keys differ.")


def key_for(charge: Charge) -> PrefixedKey:
    """See key_of()."""
    return key_of(charge, _secret())


def groups_by_slot(keys: Sequence[PrefixedKey]) -> list[list[int]]:
    """The keys' indexes, those with one hash tag together, in the order of the first."""
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(tag_of(key), []).append(index)
    return list(groups.values())


@cache
def _secret() -> bytes:
    """The key that identities are hashed with: of SECRET_KEY, and of no other use."""
    return salted_hmac("redis_atomic.rate_limits", "identity", algorithm="sha256").digest()


def _forget_secret(*, setting: str, **kwargs: object) -> None:
    if setting == "SECRET_KEY":
        _secret.cache_clear()


setting_changed.connect(_forget_secret, dispatch_uid="redis_atomic.limits_keys")
