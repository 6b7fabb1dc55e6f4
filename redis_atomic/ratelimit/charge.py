"""
What is asked of limits. Pure: no Django, no Redis.

A ``Tariff`` is a limit at one rate, in one scope, for one cost: all that stays the
same from request to request, worked out once. A ``Charge`` is a tariff for somebody.
"""

from __future__ import annotations

from .limit import Limit, check_cost
from .rate import Rate

Identity = str | tuple[str, ...]

#: Raw identities are remembered: long ones would make a bounded memory a large one.
LONGEST_IDENTITY = 256

#: A limit whose rate or cost is computed has many; a limit keeps so many at hand.
MOST_TARIFFS = 256


class Tariff:
    """A limit at one rate, in one scope, for one cost. ``capacity`` and ``label`` are Limit's."""

    def __init__(self, limit: Limit, rate: Rate, scope: str, cost: int) -> None:
        if rate is not limit.rate:
            limit.check_rate(rate)
        self.limit = limit
        self.rate = rate
        self.scope = scope
        self.cost = cost
        self.capacity = limit.capacity(rate)
        self.label = limit.label(rate)


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

    def __repr__(self) -> str:
        return f"<Charge {self.cost} at {self.rate} in {self.scope!r} for {self.identity!r}>"
