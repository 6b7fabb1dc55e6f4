"""
Charges of several identities on a cluster, where each may lie in another slot.

They are asked slot by slot; all or nothing is kept by giving back.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..exceptions import RedisAtomicError
from ..scripting.script import PrefixedKey
from .answer import Answer, State, is_charged
from .breaker import failed
from .charge import Charge
from .deny_cache import deny_cache
from .keys import groups_by_slot
from .protocol import ask, take_back
from .transport import Steps


def ask_each_identity(
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
        failed(error)
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
    for n in (yield from give_back(owed, [keys[i] for i in granted])):
        i = granted[n]
        states[i] = states[i]._replace(remaining=states[i].remaining + charges[i].cost)
    deny_cache.forget([charges[i] for i in granted])


def give_back(owed: Sequence[tuple[Charge, int]], keys: Sequence[PrefixedKey]) -> Steps[list[int]]:
    """Give charges back, slot by slot; returns the indexes of those for which it succeeded."""
    returned: list[int] = []
    for group in groups_by_slot(keys):
        try:
            yield take_back([owed[i] for i in group], [keys[i] for i in group])
        except RedisAtomicError as error:
            failed(error)
        else:
            returned += group
    return returned
