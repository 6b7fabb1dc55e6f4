"""What was answered to each charge of a call, in microseconds. Pure: no Django, no Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .charge import Charge
from .rate import SECOND

NEVER = -1


class State(NamedTuple):
    """
    What one limit answered. Microseconds.

    ``retry_after`` is NEVER for a cost above the limit. ``end`` is when
    ``reset_after`` is over, on the clock of whoever answered.
    """

    remaining: int
    retry_after: int
    reset_after: int
    end: int = 0

    @property
    def seconds_to_retry(self) -> float | None:
        return None if self.retry_after == NEVER else self.retry_after / SECOND

    def later(self, microseconds: int) -> State:
        """The same, told so much later."""
        retry = self.retry_after
        return self._replace(
            # A refusal stays one to its end.
            retry_after=max(retry - microseconds, 1) if retry > 0 else retry,
            reset_after=max(self.reset_after - microseconds, 0),
        )


class Answer(NamedTuple):
    """What was answered to all charges of a call."""

    allowed: bool
    states: Sequence[State]

    @classmethod
    def of(cls, reply: list[Any]) -> Answer:
        """Read the script's reply: allowed, now, then three numbers of each limit."""
        now = reply[1]
        states = [
            State(reply[at], reply[at + 1], reply[at + 2], now + reply[at + 2])
            for at in range(2, len(reply), 3)
        ]
        return cls(bool(reply[0]), states)


def is_charged(charge: Charge, state: State) -> bool:
    """Was this charge made, in a call that was allowed? A shadow limit may have no room."""
    return charge.cost > 0 and state.retry_after == 0
