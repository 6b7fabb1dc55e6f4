"""``"100/2m"`` made a Rate. Pure: knows neither Django nor Redis."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

SECOND = 1_000_000  # everything inside is whole microseconds
MILLISECOND = 1_000

#: A unit is told by its first letter; the pattern admits no others.
RATE = re.compile(
    r"(?P<amount>[0-9]{1,18})/(?P<count>[0-9]{1,9})?"
    r"(?P<unit>[smhdw]|(?:sec|second|min|minute|hour|day|week)s?)"
)
UNITS = {
    "w": 604_800 * SECOND,
    "d": 86_400 * SECOND,
    "h": 3_600 * SECOND,
    "m": 60 * SECOND,
    "s": SECOND,
}

MAX_AMOUNT = 999_999_999
#: Longer quotas outlive servers and deployments: they belong in the database.
MAX_WINDOW = 366 * 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Rate:
    """
    ``amount`` units of cost in any span of ``window`` microseconds.

    ``Rate.parse("100/m")`` reads one; ``str(rate)`` writes it again. ValueError
    for an amount below 1 or above 999,999,999, and for a window that is not
    whole milliseconds between 1 ms and 366 days; TypeError for other than ints.
    """

    amount: int
    window: int

    def __post_init__(self) -> None:
        for name, value in (("amount", self.amount), ("window", self.window)):
            if type(value) is not int:
                raise TypeError(f"Rate: {name} must be an int, not {value!r}.")
        if not 1 <= self.amount <= MAX_AMOUNT:
            raise ValueError(
                f"Rate: the amount is {self.amount}, and must be 1 to {MAX_AMOUNT:,}. "
                "To refuse everybody, do so in the view."
            )
        if not MILLISECOND <= self.window <= MAX_WINDOW or self.window % MILLISECOND:
            raise ValueError(
                f"Rate: the window is {self.window} microseconds, and must be whole "
                "milliseconds, 1 ms to 366 days."
            )

    @classmethod
    def parse(cls, text: str) -> Rate:
        """
        Read ``"N/[k]unit"``: ``"5/m"``, ``"100/2hours"``.

        Units are s, sec, second, m, min, minute, h, hour, d, day, w, week and
        their plurals. The whole text must match; ValueError otherwise.
        """
        if not isinstance(text, str):
            raise TypeError(f"A rate is a text such as '100/m', not {text!r}.")
        match = RATE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a rate. Write amount/unit or amount/count unit, such as "
                "'5/m' or '100/2h'; units are s, m, h, d, w (or second … week)."
            )
        unit = UNITS[match["unit"][0]]
        return cls(int(match["amount"]), int(match["count"] or 1) * unit)

    @property
    def seconds(self) -> float:
        """The window in seconds."""
        return self.window / SECOND

    @property
    def period(self) -> str:
        """The window as text: ``"m"``, ``"2h"``, ``"1500ms"``."""
        return _period(self.window)

    def __str__(self) -> str:
        return f"{self.amount}/{self.period}"


@lru_cache(maxsize=1024)
def _period(window: int) -> str:
    for letter, unit in UNITS.items():
        count, rest = divmod(window, unit)
        if count and not rest:
            return letter if count == 1 else f"{count}{letter}"
    return f"{window // MILLISECOND}ms"
