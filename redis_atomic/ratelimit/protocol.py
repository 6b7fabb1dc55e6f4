"""What is sent to Redis for a set of charges, and what its answer means. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import gcd
from typing import Any, NamedTuple

from ..scripting.builtin import builtin
from ..scripting.script import Call, PrefixedKey
from .limit import Charge, Decision, Limit, LimitState, Receipt
from .rate import MILLISECOND, SECOND, Rate

#: Changes with the keys' contents, so that two releases never misread each other's.
FORMAT = "rl1"
#: Records are stamps modulo 2^24: a unit has to be gone before half of that has passed.
LONGEST_LIFE = 2**23
LONGEST_SCOPE = 64
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


def key_of(charge: Charge, secret: bytes) -> PrefixedKey:
    """
    Where a charge is counted: ``rl1:{identity}:scope:w:period``.

    The identity is hashed with a key, so that nothing personal is stored, nobody
    can choose a cluster slot, and the length is fixed. It is the hash tag: all
    limits of one identity lie in one slot and can be asked at once.
    """
    tag = _hashed(_identity_parts(charge), secret)
    return PrefixedKey(f"{FORMAT}:{{{tag}}}:{count_of(charge.limit, charge.rate, charge.scope)}")


def tag_of(key: PrefixedKey) -> str:
    """The part of the key that decides its slot."""
    return key.name[len(FORMAT) :].partition("}")[0]


def count_of(limit: Limit, rate: Rate, scope: str) -> str:
    """
    What a limit counts, whoever asks: limits of one scope and window share it.

    A window's records depend on its period alone, a bucket's on its whole rate.
    """
    kind = f"w:{rate.period}" if limit.algorithm == "sliding_window" else f"b:{rate}"
    return f"{_short(scope)}:{kind}"


def _identity_parts(charge: Charge) -> list[str]:
    identity, keys = charge.identity, charge.limit.keys
    parts = [identity] if isinstance(identity, str) else list(identity)
    if len(parts) == len(keys):
        # A "user" limit that counts an anonymous visitor by IP address must not
        # share its count with an "ip" limit beside it.
        parts += [
            key if isinstance(key, str) else _name_of(key)
            for part, kind, key in zip(parts, charge.limit.kinds, keys, strict=True)
            if part.partition(":")[0] != kind
        ]
    return parts


def _name_of(function: Callable[..., Any]) -> str:
    """The same in every process; an object that can be called goes by its class."""
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _hashed(parts: Sequence[str], secret: bytes) -> str:
    text = "".join([f"{len(part)}:{part}" for part in parts])
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=secret).digest()
    return urlsafe_b64encode(digest)[:22].decode()


@lru_cache(maxsize=1024)
def _short(scope: str) -> str:
    if len(scope) <= LONGEST_SCOPE and scope.isascii() and scope.isprintable():
        return scope
    return blake2b(scope.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


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
    args = ["peek" if peek else "charge"]
    for charge in charges:
        capacity = charge.capacity
        args.append(_terms(charge, capacity, min(charge.cost, capacity + 1)))
    return Call(builtin("rate_limit"), tuple(keys), tuple(args), Answer.of)


def take_back(charges: Sequence[tuple[Charge, int]], keys: Sequence[PrefixedKey]) -> Call[Any]:
    """The call that gives charges back, each with the time (microseconds) at which it ends."""
    args = tuple([_terms(charge, end, charge.cost) for charge, end in charges])
    return Call(builtin("rate_limit_refund"), tuple(keys), args)


def _terms(charge: Charge, capacity_or_end: int, cost: int) -> str:
    """What the scripts are told of one limit; a capital letter is a limit in shadow mode."""
    rate, limit = charge.rate, charge.limit
    if limit.algorithm == "sliding_window":
        kind, third, fourth = "w", rate.window // MILLISECOND, tick_of(rate.window)
    else:
        kind, (third, fourth) = "b", unit_and_drain(rate)
    if limit.shadow:
        kind = kind.upper()
    return f"{kind} {capacity_or_end} {cost} {third} {fourth}"


def decision_of(charges: Sequence[Charge], answer: Answer, *, degraded: bool = False) -> Decision:
    """The Decision that an answer stands for."""
    limits = tuple(map(_state_of, charges, answer.states))
    enforced = [state for state in limits if not state.shadowed] or limits
    tightest = min(enforced, key=_room if answer.allowed else _hope)
    return Decision(
        answer.allowed,
        tightest.limit,
        tightest.remaining,
        0.0 if answer.allowed else tightest.retry_after,
        tightest.reset_after,
        max(charge.cost for charge in charges),
        degraded,
        any(state.shadowed and state.refuses for state in limits),
        limits,
        _receipt_for(charges, answer, degraded) if answer.allowed else None,
    )


def _receipt_for(charges: Sequence[Charge], answer: Answer, degraded: bool) -> Receipt:
    pairs = zip(charges, answer.states, strict=True)
    return Receipt([(c, state.end) for c, state in pairs if is_charged(c, state)], degraded)


def is_charged(charge: Charge, state: State) -> bool:
    """Was this charge made, in a call that was allowed? A shadow limit may have no room."""
    return charge.cost > 0 and state.retry_after == 0


def _state_of(charge: Charge, state: State) -> LimitState:
    limit, rate = charge.limit, charge.rate
    retry_after = None if state.retry_after == NEVER else state.retry_after / SECOND
    return LimitState(
        limit.label(rate),
        limit.capacity(rate),
        rate.seconds,
        state.remaining,
        retry_after,
        state.reset_after / SECOND,
        limit.shadow,
    )


def _room(state: LimitState) -> tuple[float, float]:
    return state.remaining, -state.reset_after


def _hope(state: LimitState) -> float:
    return float("-inf") if state.retry_after is None else -state.retry_after
