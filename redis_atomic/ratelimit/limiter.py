"""
``decide``: the one way to a Decision, for decorators, middleware and ``RateLimiter``.

A decision is a generator that yields the call to make and is sent its answer, or
thrown why there is none; ``walk`` and ``awalk`` are all that knows how to wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from time import monotonic

from django.core.signals import setting_changed

from ..client.execution import apacked_trip, packed_trip
from ..exceptions import CrossSlot, IndeterminateResult, RedisAtomicError, WrongType
from ..scripting.script import Call, PrefixedKey
from .charge import Charge
from .decision import Answer, Decision, State, is_charged
from .deny_cache import deny_cache
from .failure import Breaker, degraded_decision, local_limiter
from .keys import groups_by_slot, keys_of
from .limit import Limit
from .protocol import ask, take_back
from .rate import SECOND, Rate
from .requests import request_for
from .transport import Steps, awalk, limits_client, setup, walk

logger = logging.getLogger("redis_atomic.rate_limits")


def decide(charges: Sequence[Charge]) -> Decision:
    """
    Charge all of these or none, and say which it was.

    On a cluster different identities are asked one after another; what an error
    keeps from being given back stays charged, so that it errs to the strict side.

    Never raises because of Redis: while it does not answer, the Decision is
    ``degraded``. ValueError if there are no charges, or two with one count.
    """
    known = deny_cache.find_any(charges)
    return charge(charges) if known is None else known


def charge(charges: Sequence[Charge]) -> Decision:
    """decide(), where the deny cache was asked before."""
    client = limits_client()
    if client.lean is None or breaker.open or not setup().enabled:
        return walk(_charge(charges))
    request = request_for(client, charges)
    start = monotonic()
    outcome = packed_trip(client, request)
    if type(outcome) is list:
        breaker.succeeded()
        return _decision(charges, Answer.of(outcome))
    return walk(_charge(charges), outcome, monotonic() - start)


async def adecide(charges: Sequence[Charge]) -> Decision:
    """See decide()."""
    known = deny_cache.find_any(charges)
    return await acharge(charges) if known is None else known


async def acharge(charges: Sequence[Charge]) -> Decision:
    """See charge()."""
    client = limits_client()
    shared = await client.multiplexer()
    if shared is None or breaker.open or not setup().enabled:
        return await awalk(_charge(charges))
    request = request_for(client, charges)
    start = monotonic()
    try:
        async with asyncio.timeout(setup().timeout):
            outcome = await apacked_trip(shared, request)
    except TimeoutError:
        outcome = IndeterminateResult("Redis did not answer in time.")
    if type(outcome) is list:
        breaker.succeeded()
        return _decision(charges, Answer.of(outcome))
    return await awalk(_charge(charges), outcome, monotonic() - start)


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


def _charge(charges: Sequence[Charge]) -> Steps[Decision]:
    if not setup().enabled:
        return _unlimited(charges)
    answer = yield from _ask(charges)
    return degraded_decision(charges) if answer is None else _decision(charges, answer)


def _decision(charges: Sequence[Charge], answer: Answer) -> Decision:
    """The Decision of an answer by Redis, which is remembered if it is a refusal."""
    decision = Decision(charges, answer)
    if not answer.allowed:
        deny_cache.remember(charges, decision)
    return decision


def _peek(charges: Sequence[Charge]) -> Steps[Decision]:
    answer = yield from _ask(charges, peek=True)
    if answer is None:
        return degraded_decision(charges, peek=True)
    return Decision(charges, answer)


def _ask(charges: Sequence[Charge], *, peek: bool = False) -> Steps[Answer | None]:
    """What Redis answers, or None if it doesn't or is not to be asked."""
    keys = keys_of(charges)
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
        for group in groups_by_slot(keys):
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
    for group in groups_by_slot(keys):
        try:
            yield take_back([owed[i] for i in group], [keys[i] for i in group])
        except RedisAtomicError as error:
            _failed(error)
        else:
            returned += group
    return returned


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
        yield from _give_back(owed, keys_of(returned))


def _reset(charges: Sequence[Charge]) -> Steps[None]:
    keys = keys_of(charges)
    local_limiter.forget(charges)
    for group in groups_by_slot(keys):
        yield Call("DEL", tuple([keys[i] for i in group]))
    deny_cache.forget(charges)


def _unlimited(charges: Sequence[Charge]) -> Decision:
    return Decision(charges, Answer(True, [State(c.capacity, 0, 0) for c in charges]))


def _probe() -> None:
    """Ask Redis for all that a limit needs: the script, a write, memory."""
    charge = Charge(PROBE, Rate(1, SECOND), "redis_atomic.probe", str(os.getpid()))
    walk(_probing([charge]))


def _probing(charges: Sequence[Charge]) -> Steps[Answer]:
    answer: Answer = yield ask(charges, keys_of(charges))
    return answer


#: A charge that is never refused is always a write.
PROBE = Limit("1/s", algorithm="token_bucket", burst=1000)

breaker = Breaker(_probe)
os.register_at_fork(after_in_child=breaker.renew_after_fork)


def _forget_settings(*, setting: str, **kwargs: object) -> None:
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        breaker.renew()


setting_changed.connect(_forget_settings, dispatch_uid="redis_atomic.limiter")
