"""
``decide``: the one way to a Decision, for decorators, middleware and ``RateLimiter``.

A decision is a generator that yields the call to make and is sent its answer, or
thrown why there is none; ``walk`` and ``awalk`` are all that knows how to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from ..client.execution import apacked_trip, packed_trip
from ..exceptions import CrossSlot, IndeterminateResult, RedisAtomicError
from ..scripting.script import Call
from .answer import Answer, State
from .breaker import breaker, failed
from .charge import Charge
from .decision import Decision
from .deny_cache import deny_cache
from .failure import degraded_decision, local_limiter
from .keys import groups_by_slot, keys_of
from .protocol import ask
from .requests import Request
from .slots import ask_each_identity, give_back
from .transport import Steps, awalk, limits_client, setup, walk


def decide(request: Request) -> Decision:
    """
    Charge all that is asked for or none, and say which it was.

    On a cluster different identities are asked one after another; what an error
    keeps from being given back stays charged, so that it errs to the strict side.

    Never raises because of Redis: while it does not answer, the Decision is
    ``degraded``. ValueError if there are no charges, or two with one count.
    """
    known = deny_cache.find_any(request)
    return charge(request) if known is None else known


def charge(request: Request) -> Decision:
    """decide(), where the deny cache was asked before."""
    charges, client = request.charges, limits_client()
    if client.lean is None or breaker.open or not setup().enabled:
        return walk(_charge(charges))
    packed = request.packed(client)
    start = monotonic()
    outcome = packed_trip(client, packed)
    if type(outcome) is list:
        return _decision(charges, outcome)
    return walk(_charge(charges), outcome, monotonic() - start)


async def adecide(request: Request) -> Decision:
    """See decide()."""
    known = deny_cache.find_any(request)
    return await acharge(request) if known is None else known


async def acharge(request: Request) -> Decision:
    """See charge()."""
    charges, client = request.charges, limits_client()
    shared = await client.multiplexer()
    if shared is None or breaker.open or not setup().enabled:
        return await awalk(_charge(charges))
    packed = request.packed(client)
    start = monotonic()
    try:
        async with asyncio.timeout(setup().timeout):
            outcome = await apacked_trip(shared, packed)
    except TimeoutError:
        outcome = IndeterminateResult("Redis did not answer in time.")
    if type(outcome) is list:
        return _decision(charges, outcome)
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


def _decision(charges: Sequence[Charge], told: Answer | list[int]) -> Decision:
    """The Decision of what Redis told, which is remembered if it is a refusal."""
    breaker.succeeded()
    decision = Decision(charges, told)
    if not told[0]:
        deny_cache.remember(charges, decision)
    return decision


def _peek(charges: Sequence[Charge]) -> Steps[Decision]:
    answer = yield from _ask(charges, peek=True)
    if answer is None:
        return degraded_decision(charges, peek=True)
    breaker.succeeded()
    return Decision.uncharged(charges, answer)


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
            answer = yield from ask_each_identity(charges, keys, peek=peek)
    except RedisAtomicError as error:
        failed(error)
        return None
    return answer


def _refund(decision: Decision, charges: Sequence[Charge] | None) -> Steps[None]:
    receipt = decision._receipt
    owed = receipt.redeem(charges) if receipt is not None else []
    if not owed:
        return
    returned = [charge for charge, _ in owed]
    if receipt is not None and receipt.degraded:
        local_limiter.take_back(owed)
    elif not breaker.open:
        yield from give_back(owed, keys_of(returned))
    deny_cache.forget(returned)  # after that: what others are refused until then is remembered


def _reset(charges: Sequence[Charge]) -> Steps[None]:
    keys = keys_of(charges)
    local_limiter.forget(charges)
    for group in groups_by_slot(keys):
        yield Call("DEL", tuple([keys[i] for i in group]))
    deny_cache.forget(charges)


def _unlimited(charges: Sequence[Charge]) -> Decision:
    return Decision.uncharged(charges, Answer(True, [State(c.capacity, 0, 0) for c in charges]))
