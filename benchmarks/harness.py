"""
Contestants in turns: in each round all of them, in another order each time.

What a machine does at a moment it does to all, so a ratio is taken inside a round;
told are the median of the rounds' ratios, and between what values the middle half lies.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: What a contestant's turn in one round has measured, by name of the figure.
Figures = dict[str, float]
Turn = Callable[[], Figures]


@dataclass
class Result:
    """
    What a scenario has measured.

    Of each contestant ``rows`` has, by name, a list with one figure a round, or a
    single value. ``left_out`` tells why others have no row.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, error: BaseException | str) -> None:
        """A contestant that fails gives its reason, and does not stop the others."""
        self.rows.pop(name, None)
        told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.left_out[name] = " ".join(told.split())[:200]


def interleave(turns: Mapping[str, Turn], rounds: int, result: Result) -> None:
    """Let all take their turns, round by round, and add what they measure to the result."""
    shuffled, running = random.Random(0), dict(turns)
    for name in running:
        result.rows.setdefault(name, {})
    for _ in range(rounds):
        for name in shuffled.sample(list(running), len(running)):
            try:
                figures = running[name]()
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is its own
                del running[name]
                result.leave_out(name, error)
                continue
            for figure, value in figures.items():
                result.rows[name].setdefault(figure, []).append(value)


class Spread(NamedTuple):
    """The median, and the quartiles: half of the rounds lie between them."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    values = sorted(values)
    if len(values) == 1:
        return Spread(*values * 3)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of two contestants' figures, round by round."""
    return spread(a / b for a, b in zip(above, below, strict=True))


def added(with_it: Sequence[float], without: Sequence[float]) -> list[float]:
    """What something costs on top of what is there without it, round by round."""
    return [a - b for a, b in zip(with_it, without, strict=True)]
