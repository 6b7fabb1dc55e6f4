"""
``Decision``: what people read of an answer, worked out when they do. Pure: no Django, no Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .answer import NEVER, Answer, State, is_charged
from .charge import Charge
from .rate import SECOND
from .receipt import Receipt


class LimitState(NamedTuple):
    """
    What one limit said. Times are seconds.

    ``limit`` is what may be spent at once and ``remaining`` what is left of it,
    ``window`` the rate's period. ``retry_after`` is 0.0 where this limit has
    room for the cost, None where it never will; ``reset_after`` is the time
    until nothing is counted any more. ``shadowed``: it only reports.
    """

    name: str
    limit: int
    window: float
    remaining: int
    retry_after: float | None
    reset_after: float
    shadowed: bool = False

    @property
    def refuses(self) -> bool:
        return self.retry_after != 0.0


class Decision:
    """
    The answer to all limits of a call; true when allowed. Times are seconds.

    ``limit``, ``remaining``, ``retry_after`` and ``reset_after`` are the tightest
    limit's: of a refusal the one to wait longest for, else the one with least
    left. ``retry_after`` is 0.0 when allowed, and None when the cost is above
    the limit, so that waiting is no use. ``cost`` is what was asked, of the
    dearest limit. ``degraded``: Redis was not asked. ``shadowed``: a limit in
    shadow mode would have refused. ``limits`` has one LimitState for each limit, in
    the order they were given.
    """

    _degraded = False
    _limits: tuple[LimitState, ...] | None = None
    _issued: Receipt | None = None

    def __init__(self, charges: Sequence[Charge], told: Answer | list[int]) -> None:
        """``told`` is an Answer, or the script's reply, which is read when it has to be."""
        self._charges = charges
        self._told = told

    @classmethod
    def without_redis(cls, charges: Sequence[Charge], answer: Answer) -> Decision:
        decision = cls(charges, answer)
        decision._degraded = True
        return decision

    @classmethod
    def merged(cls, decisions: Sequence[Decision]) -> Decision:
        """One decision of several: allowed if all are. It can't be refunded; they can."""
        if len(decisions) == 1:
            return decisions[0]
        charges = [charge for each in decisions for charge in each._charges]
        states = [state for each in decisions for state in each._answer.states]
        degraded = any(each.degraded for each in decisions)
        return cls.uncharged(charges, Answer(all(decisions), states), degraded=degraded)

    @classmethod
    def uncharged(
        cls, charges: Sequence[Charge], told: Answer | list[int], *, degraded: bool = False
    ) -> Decision:
        """A Decision that charged nothing, so that nothing can be given back for it."""
        decision = cls(charges, told)
        decision._degraded = degraded
        decision._issued = Receipt([], degraded)
        return decision

    def later(self, seconds: float) -> Decision:
        """The same, told so much later."""
        states = [state.later(round(seconds * SECOND)) for state in self._answer.states]
        later = Decision(self._charges, Answer(self.allowed, states))
        later._degraded = self._degraded
        return later

    def __bool__(self) -> bool:
        return bool(self._told[0])  # with that a reply begins, and an Answer

    @property
    def allowed(self) -> bool:
        return bool(self._told[0])

    @property
    def _answer(self) -> Answer:
        told = self._told
        if not isinstance(told, Answer):
            told = self._told = Answer.of(told)
        return told

    @property
    def limit(self) -> int:
        return self._charges[self._tightest].capacity

    @property
    def remaining(self) -> int:
        return self._answer.states[self._tightest].remaining

    @property
    def retry_after(self) -> float | None:
        return 0.0 if self._told[0] else self._answer.states[self._tightest].seconds_to_retry

    @property
    def reset_after(self) -> float:
        return self._answer.states[self._tightest].reset_after / SECOND

    @property
    def cost(self) -> int:
        return max([charge.cost for charge in self._charges])

    @property
    def degraded(self) -> bool:
        return self._degraded

    @property
    def shadowed(self) -> bool:
        return bool(
            [
                state
                for charge, state in zip(self._charges, self._states, strict=True)
                if charge.tariff.limit.shadow and state.retry_after != 0
            ]
        )

    @property
    def _states(self) -> Sequence[State]:
        """What each limit answered, in microseconds."""
        return self._answer.states

    @property
    def _granted(self) -> list[Charge]:
        """The charges that there was room for, none where all were refused."""
        pairs = zip(self._charges, self._states, strict=True)
        return [charge for charge, state in pairs if self.allowed and state.retry_after == 0]

    @property
    def _numbers(self) -> list[int]:
        """Of each limit remaining, retry_after and reset_after, as the script's reply has them."""
        told = self._told
        if isinstance(told, Answer):
            return [number for state in told.states for number in state[:3]]
        return told[2:]

    @property
    def limits(self) -> tuple[LimitState, ...]:
        if self._limits is None:
            self._limits = tuple(map(_state_of, self._charges, self._answer.states))
        return self._limits

    @property
    def _tightest(self) -> int:
        """Its place among the charges."""
        if len(self._charges) == 1:
            return 0
        places = range(len(self._charges))
        states = self._answer.states
        enforced = [i for i in places if not self._charges[i].limit.shadow] or places
        return min(enforced, key=lambda i: (_room if self.allowed else _hope)(states[i]))

    @property
    def _receipt(self) -> Receipt | None:
        """What a refund takes; None for a refusal. One, whichever thread asks for it first."""
        if self._issued is None and self.allowed:
            pairs = zip(self._charges, self._answer.states, strict=True)
            owed = [(c, state.end) for c, state in pairs if is_charged(c, state)]
            self.__dict__.setdefault("_issued", Receipt(owed, self._degraded))
        return self._issued

    def _figures(self) -> dict[str, Any]:
        names = ("allowed", "limit", "remaining", "retry_after", "reset_after")
        return {
            name: getattr(self, name) for name in (*names, "cost", "degraded", "shadowed", "limits")
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and self._figures() == other._figures()

    def __hash__(self) -> int:
        return hash(tuple(self._figures().values()))

    def __repr__(self) -> str:
        return f"Decision({', '.join(f'{k}={v!r}' for k, v in self._figures().items())})"


def _state_of(charge: Charge, state: State) -> LimitState:
    tariff = charge.tariff
    return LimitState(
        tariff.label,
        tariff.capacity,
        tariff.rate.seconds,
        state.remaining,
        state.seconds_to_retry,
        state.reset_after / SECOND,
        tariff.limit.shadow,
    )


def _room(state: State) -> tuple[float, float]:
    return state.remaining, -state.reset_after


def _hope(state: State) -> float:
    return float("-inf") if state.retry_after == NEVER else -state.retry_after
