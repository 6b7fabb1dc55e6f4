"""
What is asked of limits. Pure: no Django, no Redis.

A ``Tariff`` is a limit at one rate, in one scope, for one cost: all that stays the
same from request to request, worked out once. A ``Charge`` is a tariff for somebody.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from .limit import Limit, check_cost
from .rate import Rate

Identity = str | tuple[str, ...]
#: What is asked, whoever asks.
Terms = tuple[Limit, Rate, str, int]

#: Raw identities are remembered: long ones would make a bounded memory a large one.
LONGEST_IDENTITY = 256

LONGEST_SCOPE = 64

#: A limit whose rate or cost is computed has many; a limit keeps so many at hand.
MOST_TARIFFS = 256


class Tariff:
    """
    A limit at one rate, in one scope, for one cost.

    ``capacity`` and ``label`` are Limit's; ``count`` is what it counts as; ``public``:
    other clients may hear what it says.
    """

    def __init__(self, limit: Limit, rate: Rate, scope: str, cost: int) -> None:
        if rate is not limit.rate:
            limit.check_rate(rate)
        self.limit = limit
        self.rate = rate
        self.scope = scope
        self.cost = cost
        self.capacity = limit.capacity(rate)
        self.label = limit.label(rate)
        self.count = count_of(limit, rate, scope)
        self.public = "post" not in limit.kinds

    @property
    def terms(self) -> Terms:
        return self.limit, self.rate, self.scope, self.cost


def tariff_of(limit: Limit, rate: Rate, scope: str, cost: int = 1) -> Tariff:
    """
    The limit's tariff, always the same one while it is in use.

    TypeError or ValueError for a cost that is not a whole number of 0 or more.
    """
    check_cost(cost)
    tariffs: dict[tuple[Rate, str, int], Tariff] = limit.__dict__.setdefault("_tariffs", {})
    tariff = tariffs.get((rate, scope, cost))
    if tariff is None:
        if len(tariffs) >= MOST_TARIFFS:
            tariffs.clear()
        tariff = tariffs[rate, scope, cost] = Tariff(limit, rate, scope, cost)
    return tariff


def standing_tariff(limit: Limit, scope: str) -> Tariff:
    """tariff_of() where rate and cost are the limit's own, whatever the request."""
    tariffs: dict[str, Tariff] = limit.__dict__.setdefault("_standing_tariffs", {})
    tariff = tariffs.get(scope)
    if tariff is None:
        rate, cost = limit.rate, limit.cost
        assert isinstance(rate, Rate)
        assert isinstance(cost, int)
        tariff = tariffs[scope] = tariff_of(limit, rate, scope, cost)
    return tariff


def count_of(limit: Limit, rate: Rate, scope: str) -> str:
    """
    What a limit counts, whoever asks: limits of one scope and window share it.

    A window's records depend on its period alone, a bucket's on its whole rate.
    """
    kind = f"w:{rate.period}" if limit.algorithm == "sliding_window" else f"b:{rate}"
    return f"{_short(scope)}:{kind}"


@lru_cache(maxsize=1024)
def _short(scope: str) -> str:
    if len(scope) <= LONGEST_SCOPE and scope.isascii() and scope.isprintable():
        return scope
    return blake2b(scope.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Charge:
    """
    A limit for one request: at this rate, for this identity, this cost.

    ``identity`` is text such as ``"user:7"``, or a tuple of such texts.
    TypeError or ValueError for a cost that is not a whole number of 0 or more.
    """

    __slots__ = ("identity", "tariff")

    def __init__(
        self, limit: Limit, rate: Rate, scope: str, identity: Identity, cost: int = 1
    ) -> None:
        self.tariff = tariff_of(limit, rate, scope, cost)
        self.identity = identity

    @classmethod
    def at(cls, tariff: Tariff, identity: Identity) -> Charge:
        """The charge at a tariff that is at hand."""
        charge = cls.__new__(cls)
        charge.tariff = tariff
        charge.identity = identity
        return charge

    @property
    def limit(self) -> Limit:
        return self.tariff.limit

    @property
    def rate(self) -> Rate:
        return self.tariff.rate

    @property
    def scope(self) -> str:
        return self.tariff.scope

    @property
    def cost(self) -> int:
        return self.tariff.cost

    @property
    def capacity(self) -> int:
        return self.tariff.capacity

    @property
    def place(self) -> tuple[str, Identity]:
        """What is counted for whom."""
        return self.tariff.count, self.identity

    def __repr__(self) -> str:
        return f"<Charge {self.cost} at {self.rate} in {self.scope!r} for {self.identity!r}>"


def shared_identity(identities: Sequence[Identity]) -> object:
    """The identity that all charges of a call have, or the list of them."""
    one = bool(identities) and all(each == identities[0] for each in identities)
    return identities[0] if one else list(identities)
