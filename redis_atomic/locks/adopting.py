"""Making a lease again of what ``Lease.detach()`` returned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import keeper
from .acquiring import enter, is_deferring
from .context import held_here
from .keys import Keys, keys_of
from .lease import Lease
from .protocol import MAX_LIMIT, Ticket, valid_for
from .resolving import resolve
from .steps import adrive, drive
from .waiting import Grant

if TYPE_CHECKING:
    from .definition import Lock

#: What Lease.detach() returns.
DETACHED = re.compile(r"(\d+):(\d+):(d?)(q?):(.+)")


def adopt(lock: Lock, keys: Keys, text: str) -> Lease:
    """See Lock.adopt()."""
    deferring = is_deferring(lock)
    lease, grant = _read(lock, keys, text)
    keeper.watch(lease)
    try:
        drive(lease.take_over(grant))
    except BaseException:
        lease.end("not ours")
        raise
    enter(lease, lock.using, deferring=deferring)
    return lease


async def aadopt(lock: Lock, keys: Keys, text: str) -> Lease:
    """See adopt()."""
    lease, grant = _read(lock, keys, text)
    keeper.watch_in_loop(lease)
    try:
        await adrive(lease.take_over(grant))
    except BaseException:
        lease.end("not ours")
        raise
    return lease


def _read(lock: Lock, keys: Keys, text: str) -> tuple[Lease, Grant]:
    match = DETACHED.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= MAX_LIMIT:
        raise ValueError(f"adopt() takes what lease.detach() returned, not {text!r}.")
    fence, slot, doubt, queued, token = match.groups()
    resolved = resolve(lock)
    if int(slot) > keys.limit:  # where it was acquired, the semaphore has more
        keys = keys_of(keys.name, int(slot), keys.kind)
    ticket = Ticket(keys, resolved.terms, token, bool(doubt), bool(queued), trace=True)
    lease = Lease(
        ticket,
        resolved.client,
        held_here(),
        resolved.ttl,
        resolved.max_hold,
        lock.on_lost,
    )
    until = lease.began + valid_for(lease.ttl)
    return lease, Grant(int(fence), int(slot), lease.began, until)
