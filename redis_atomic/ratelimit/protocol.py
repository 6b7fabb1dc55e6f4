"""What is sent to Redis for a set of charges, and what its answer means. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import gcd
from typing import Any

from ..scripting.builtin import builtin
from ..scripting.packing import Packed
from ..scripting.script import Call, PrefixedKey
from .answer import Answer
from .charge import Charge, Tariff
from .rate import MILLISECOND, Rate

#: Changes with the keys' contents, so that two releases never misread each other's.
FORMAT = "rl1"
#: Records are stamps modulo 2^24: a unit has to be gone before half of that has passed.
LONGEST_LIFE = 2**23


def key_of(charge: Charge, secret: bytes) -> PrefixedKey:
    """
    Where a charge is counted: ``rl1:{identity}:scope:w:period``.

    The identity is hashed with a key, so that nothing personal is stored, nobody
    can choose a cluster slot, and the length is fixed. It is the hash tag: all
    limits of one identity lie in one slot and can be asked at once.
    """
    tag = _hashed(_identity_parts(charge), secret)
    return PrefixedKey(f"{FORMAT}:{{{tag}}}:{charge.tariff.count}")


def tag_of(key: PrefixedKey) -> str:
    """The part of the key that decides its slot."""
    return key.name[len(FORMAT) :].partition("}")[0]


def _identity_parts(charge: Charge) -> list[str]:
    identity, keys = charge.identity, charge.limit.keys
    parts = [identity] if isinstance(identity, str) else list(identity)
    if len(parts) == len(keys):
        # A "user" limit that counts an anonymous visitor by IP address must not share its
        # count with an "ip" limit beside it, nor two callables that return the same text.
        parts += [
            name
            for part, kind, key, name in zip(
                parts, charge.limit.kinds, keys, charge.limit.key_names, strict=True
            )
            if callable(key) or part.partition(":")[0] != kind
        ]
    return parts


def _hashed(parts: Sequence[str], secret: bytes) -> str:
    text = "".join([f"{len(part)}:{part}" for part in parts])
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=secret).digest()
    return urlsafe_b64encode(digest)[:22].decode()


@lru_cache(maxsize=1024)
def tick_of(window: int) -> int:
    """Microseconds of a tick: the least power of two that keeps a unit's life short enough."""
    tick = 1
    while life_of(window, tick) >= LONGEST_LIFE:
        tick *= 2
    return tick


def life_of(window: int, tick: int) -> int:
    """Ticks for which a unit counts: a window, and the tick that had begun when it came."""
    return -(-window // tick) + (tick > 1)


@lru_cache(maxsize=1024)
def unit_and_drain(rate: Rate) -> tuple[int, int]:
    """A bucket's whole numbers: ``unit`` for one token, of which ``drain`` leave a microsecond."""
    common = gcd(rate.window, rate.amount)
    return rate.window // common, rate.amount // common


def ask(
    charges: Sequence[Charge], keys: Sequence[PrefixedKey], *, peek: bool = False
) -> Call[Answer]:
    """The call that charges all of them or none; ``peek``: that only looks."""
    return Call(builtin("rate_limit"), tuple(keys), question_of(charges, peek), Answer.of)


def question_of(charges: Sequence[Charge], peek: bool = False) -> Packed:
    """What the script is told of the limits, whoever asks."""
    return _question(tuple([charge.tariff for charge in charges]), peek)


@lru_cache(maxsize=4096)
def _question(tariffs: tuple[Tariff, ...], peek: bool) -> Packed:
    costs = [min(tariff.cost, tariff.capacity + 1) for tariff in tariffs]
    terms = [_terms(each, each.capacity, cost) for each, cost in zip(tariffs, costs, strict=True)]
    return Packed(("peek" if peek else "charge", *terms))


def take_back(charges: Sequence[tuple[Charge, int]], keys: Sequence[PrefixedKey]) -> Call[Any]:
    """The call that gives charges back, each with the time (microseconds) at which it ends."""
    args = tuple([_terms(charge.tariff, end, charge.cost) for charge, end in charges])
    return Call(builtin("rate_limit_refund"), tuple(keys), args)


def _terms(tariff: Tariff, capacity_or_end: int, cost: int) -> bytes:
    """What the scripts are told of one limit; a capital letter is a limit in shadow mode."""
    rate, limit = tariff.rate, tariff.limit
    if limit.algorithm == "sliding_window":
        tick = tick_of(rate.window)
        kind, numbers, ttl = b"w", (life_of(rate.window, tick), tick), rate.window // MILLISECOND
    else:
        kind, numbers, ttl = b"b", unit_and_drain(rate), 0  # it is for as long as it is not empty
    packed = [number.to_bytes(7, "big") for number in (capacity_or_end, cost, *numbers)]
    return b"%b%b%d\0" % (kind.upper() if limit.shadow else kind, b"".join(packed), ttl)
