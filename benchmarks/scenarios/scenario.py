"""What a scenario is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..harness import Result
from ..servers import Server
from ..tables import Column, table


@dataclass(frozen=True)
class Run:
    """On which server, how often, and in short or in full."""

    server: Server
    rounds: int
    quick: bool = False

    @property
    def calls(self) -> int:
        """Of a slice."""
        return 100 if self.quick else 1000


@dataclass(frozen=True)
class Scenario:
    """
    One question. ``measure`` returns what it found, and ``columns`` show it.

    ``order`` is the figure by which contestants stand, the lowest first.
    """

    name: str
    title: str
    measure: Callable[[Run], Result]
    columns: Sequence[Column]
    order: str | None = None

    def table(self, result: Result) -> str:
        return table(self.title, result, self.columns, order=self.order)
