"""
``decide``: the one way to a Decision, for decorators, middleware and ``RateLimiter``.

A decision is a generator that yields the call to make and is sent its answer, or
thrown why there is none; ``walk`` and ``awalk`` are all that knows how to wait.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache

from django.core.signals import setting_changed
from django.utils.crypto import salted_hmac

from ..exceptions import CrossSlot, RedisAtomicError, WrongType
from ..scripting.script import Call, PrefixedKey
from .deny_cache import deny_cache
from .failure import Breaker, degraded_decision, local_limiter
from .limit import Charge, Decision, Limit
from .protocol import Answer, State, ask, decision_of, is_charged, key_of, tag_of, take_back
from .rate import SECOND, Rate
from .transport import Steps, awalk, setup, walk

logger = logging.getLogger("redis_atomic.rate_limits")


def decide(charges: Sequence[Charge]) -> Decision:
    """
    Charge all of these or none, and say which it was.

    On a cluster different identities are asked one after another; what an error
    keeps from being given back stays charged, so that it errs to the strict side.

    Never raises because of Redis: while it does not answer, the Decision is
    ``degraded``. ValueError if there are no charges, or two with one count.
    """
    return walk(_decide(charges))


async def adecide(charges: Sequence[Charge]) -> Decision:
    """See decide()."""
    return await awalk(_decide(charges))


def peek(charges: Sequence[Charge]) -> Decision:
    """What decide() would say now; nothing is charged."""
    return walk(_peek(charges))


async def apeek(charges: Sequence[Charge]) -> Decision:
    """See peek()."""
    return await awalk(_peek(charges))


def refund(decision: Decision, charges: Sequence[Charge] | None = None) -> None:
    """
    Give back what an allowed decision charged, or these charges of it; once.

    A window gives back exactly its units, unless they have left it; a bucket at
    most what is left of the charge. Sent at most once: while Redis does not
    answer nothing is given back.
    """
    walk(_refund(decision, charges))


async def arefund(decision: Decision, charges: Sequence[Charge] | None = None) -> None:
    """See refund()."""
    await awalk(_refund(decision, charges))


def reset(charges: Sequence[Charge]) -> None:
    """
    Forget all that these charges' limits have counted for their identities.

    Raises NotExecuted or IndeterminateResult when Redis does not answer. Other
    processes may go on refusing for up to 5 seconds.
    """
    walk(_reset(charges))


async def areset(charges: Sequence[Charge]) -> None:
    """See reset()."""
    await awalk(_reset(charges))


def _decide(charges: Sequence[Charge]) -> Steps[Decision]:
    if not setup().enabled:
        return _unlimited(charges)
    known = deny_cache.find_any(charges)
    if known is not None:
        return known
    answer = yield from _ask(charges)
    if answer is None:
        return degraded_decision(charges)
    decision = decision_of(charges, answer)
    if not decision:
        deny_cache.remember(charges, decision)
    return decision


def _peek(charges: Sequence[Charge]) -> Steps[Decision]:
    answer = yield from _ask(charges, peek=True)
    if answer is None:
        return degraded_decision(charges, peek=True)
    return decision_of(charges, answer)


def _ask(charges: Sequence[Charge], *, peek: bool = False) -> Steps[Answer | None]:
    """What Redis answers, or None if it doesn't or is not to be asked."""
    keys = _keys(charges)
    if breaker.open:
        return None
    try:
        answer: Answer
        try:
            answer = yield ask(charges, keys, peek=peek)
        except CrossSlot:  # different identities, on a cluster
            answer = yield from _ask_each_identity(charges, keys, peek=peek)
    except RedisAtomicError as error:
        _failed(error)
        return None
    breaker.succeeded()
    return answer


def _failed(error: RedisAtomicError) -> None:
    if isinstance(error, WrongType):  # somebody else's key in our place: Redis is well
        logger.error("A rate limit can't be counted: %s", error)
    else:
        breaker.failed(error)


def _ask_each_identity(
    charges: Sequence[Charge], keys: Sequence[PrefixedKey], *, peek: bool
) -> Steps[Answer]:
    """
    Ask slot by slot, in order; when one refuses or fails, give back what the others granted.

    So it is never above a limit, but for a moment others may be refused what is
    then given back. A refusal stands, whatever fails after it: a limit that was
    not asked then is told as untouched.
    """
    states = [State(charge.capacity, 0, 0) for charge in charges]
    granted: list[int] = []
    refused = False
    try:
        for group in _groups_by_slot(keys):
            asked = [charges[i] for i in group]
            answer: Answer = yield ask(asked, [keys[i] for i in group], peek=peek or refused)
            for i, state in zip(group, answer.states, strict=True):
                states[i] = state
            refused = refused or not answer.allowed
            if not refused and not peek:
                granted += [i for i in group if is_charged(charges[i], states[i])]
    except RedisAtomicError as error:
        if not refused:
            yield from _undo(granted, charges, keys, states)
            raise
        _failed(error)
    if refused:
        yield from _undo(granted, charges, keys, states)
    return Answer(not refused, states)


def _undo(
    granted: Sequence[int],
    charges: Sequence[Charge],
    keys: Sequence[PrefixedKey],
    states: list[State],
) -> Steps[None]:
    """Give these charges back; the states tell where that succeeded."""
    owed = [(charges[i], states[i].end) for i in granted]
    for n in (yield from _give_back(owed, [keys[i] for i in granted])):
        i = granted[n]
        states[i] = states[i]._replace(remaining=states[i].remaining + charges[i].cost)


def _give_back(owed: Sequence[tuple[Charge, int]], keys: Sequence[PrefixedKey]) -> Steps[list[int]]:
    """Give charges back, slot by slot; returns the indexes of those for which it succeeded."""
    returned: list[int] = []
    for group in _groups_by_slot(keys):
        try:
            yield take_back([owed[i] for i in group], [keys[i] for i in group])
        except RedisAtomicError as error:
            _failed(error)
        else:
            returned += group
    return returned


def _groups_by_slot(keys: Sequence[PrefixedKey]) -> list[list[int]]:
    """The keys' indexes, those with one hash tag together, in the order of the first."""
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(tag_of(key), []).append(index)
    return list(groups.values())


def _refund(decision: Decision, charges: Sequence[Charge] | None) -> Steps[None]:
    receipt = decision._receipt
    owed = receipt.redeem(charges) if receipt is not None else []
    if not owed:
        return
    returned = [charge for charge, _ in owed]
    deny_cache.forget(returned)
    if receipt is not None and receipt.degraded:
        local_limiter.take_back(owed)
    elif not breaker.open:
        yield from _give_back(owed, _keys(returned))


def _reset(charges: Sequence[Charge]) -> Steps[None]:
    keys = _keys(charges)
    local_limiter.forget(charges)
    for group in _groups_by_slot(keys):
        yield Call("DEL", tuple([keys[i] for i in group]))
    deny_cache.forget(charges)


def _unlimited(charges: Sequence[Charge]) -> Decision:
    return decision_of(charges, Answer(True, [State(c.capacity, 0, 0) for c in charges]))


def _keys(charges: Sequence[Charge]) -> tuple[PrefixedKey, ...]:
    if not charges:
        raise ValueError("charges is empty: there is no limit to ask.")
    keys = tuple([key_of(charge, _secret()) for charge in charges])
    if len(set(keys)) < len(keys):
        one, other = _two_with_one_key(charges, keys)
        raise ValueError(
            f"The limits {one.rate} by {one.limit.key!r} and {other.rate} by {other.limit.key!r} "
            f"share one count in {one.scope!r}: keep the stricter one, or give one another scope."
        )
    return keys


def _two_with_one_key(
    charges: Sequence[Charge], keys: Sequence[PrefixedKey]
) -> tuple[Charge, Charge]:
    seen: dict[PrefixedKey, Charge] = {}
    for charge, key in zip(charges, keys, strict=True):
        if key in seen:
            return seen[key], charge
        seen[key] = charge
    raise AssertionError("All keys differ.")


@cache
def _secret() -> bytes:
    """The key that identities are hashed with: of SECRET_KEY, and of no other use."""
    return salted_hmac("redis_atomic.rate_limits", "identity", algorithm="sha256").digest()


def _probe() -> None:
    """Ask Redis for all that a limit needs: the script, a write, memory."""
    charge = Charge(PROBE, Rate(1, SECOND), "redis_atomic.probe", str(os.getpid()))
    walk(_probing([charge]))


def _probing(charges: Sequence[Charge]) -> Steps[Answer]:
    answer: Answer = yield ask(charges, _keys(charges))
    return answer


#: A charge that is never refused is always a write.
PROBE = Limit("1/s", algorithm="token_bucket", burst=1000)

breaker = Breaker(_probe)
os.register_at_fork(after_in_child=breaker.renew_after_fork)


def _forget_settings(*, setting: str, **kwargs: object) -> None:
    if setting == "SECRET_KEY":
        _secret.cache_clear()
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        breaker.renew()


setting_changed.connect(_forget_settings, dispatch_uid="redis_atomic.limiter")
