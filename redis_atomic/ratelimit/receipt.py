"""What a refund needs. Pure: no Django, no Redis."""

from __future__ import annotations

from collections.abc import Sequence

from .charge import Charge


class Receipt:
    """
    What a refund needs: of each charge made, the moment its effect ends.

    That moment (microseconds of the server's clock, or of the process's where
    ``degraded``) is when the limit would be idle had nothing come after: it says
    which records are the charge's own, or how much of it is left in a bucket.
    """

    __slots__ = ("_owed", "degraded")

    def __init__(self, owed: list[tuple[Charge, int]], degraded: bool) -> None:
        self._owed = owed
        self.degraded = degraded

    def redeem(self, charges: Sequence[Charge] | None = None) -> list[tuple[Charge, int]]:
        """Take out these charges, or all: what was taken once is not taken again."""
        taken = []
        for owed in list(self._owed):
            if charges is None or any(owed[0] is charge for charge in charges):
                try:
                    self._owed.remove(owed)
                except ValueError:  # another thread was quicker
                    continue
                taken.append(owed)
        return taken
