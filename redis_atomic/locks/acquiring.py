"""
Acquiring a lease: by a thread, or on asyncio.

The keeper knows of it before anything is sent, so no lease is ever without one; and
whatever goes wrong, what was sent is given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import AlreadyHeld, LockBusy, LockUnavailable
from ..signals import lock_acquired, lock_busy
from . import keeper
from .context import held_here
from .ending import abandon, give_back
from .lease import Lease
from .protocol import Ticket, keys_of
from .resolving import resolve
from .returning import HOPELESS
from .steps import Announce, Steps, adrive, drive, to_the_end
from .tokens import new_token
from .transactions import Hold, in_transaction
from .waiting import Attempt

if TYPE_CHECKING:
    from .definition import Lock


def acquire(lock: Lock, name: str) -> Lease:
    """See Lock.acquire(); the name is checked, or was made of a template."""
    deferring = is_deferring(lock)  # raises, if at all, before anything is sent
    lease, attempt = prepare(lock, name)
    if attempt is not None:
        keeper.watch(lease)
        try:
            drive(_fill(lease, attempt))
        except BaseException:
            drive(abandon(lease))
            raise
    enter(lease, lock.using, deferring=deferring)
    return lease


async def aacquire(lock: Lock, name: str) -> Lease:
    """See acquire(); there are no transactions to wait for."""
    lease, attempt = prepare(lock, name)
    if attempt is not None:
        keeper.watch_in_loop(lease)
        try:
            await adrive(_fill(lease, attempt))
        except BaseException:
            await to_the_end(adrive(abandon(lease)))
            raise
    enter(lease, deferring=False)
    return lease


def prepare(lock: Lock, name: str) -> tuple[Lease, Attempt | None]:
    """A lease, and the attempt that is to fill it; none for one that a transaction keeps."""
    resolved, keys, here = resolve(lock), keys_of(name, lock.limit, lock.kind), held_here()
    client, ttl = resolved.client, resolved.ttl
    held = here.lease((client.alias, keys.base))
    if held is not None and held.awaits_transaction:
        return held, None
    if held is not None and lock.limit == 1:
        raise AlreadyHeld(
            f"The lock {name!r} is held here already: to wait for it would be to wait for "
            "oneself. Use current_lease(), or release it first."
        )
    ticket = Ticket(keys, resolved.terms, new_token())
    lease = Lease(ticket, client, here, ttl=ttl, max_hold=resolved.max_hold, on_lost=lock.on_lost)
    return lease, Attempt(ticket, client, ttl, resolved.wait, lock.fair, resolved.listening)


def is_deferring(lock: Lock) -> bool:
    """Whether what is acquired now has a transaction to wait for."""
    return lock.transaction == "defer" and in_transaction(lock.using)


def enter(lease: Lease, using: str | None = None, *, deferring: bool) -> None:
    """A section, or whoever has acquired it, begins to need it; so does the transaction."""
    if deferring:
        lease.hold = lease.hold or Hold(lambda: drive(give_back(lease)))
        lease.hold.await_commit(using)
    if lease.hold is not None:
        lease.hold.enter()


def _fill(lease: Lease, attempt: Attempt) -> Steps[None]:
    """Make the attempt, and tell who wants to know."""
    try:
        grant = yield from attempt.acquire()
    except LockBusy:
        yield from abandon(lease)
        yield Announce(lock_busy, Lease, {"name": lease.name, "waited": attempt.waited})
        raise
    except LockUnavailable as error:
        if (yield from abandon(lease, HOPELESS)):
            raise
        raise LockUnavailable(
            f"{error} What was sent may still be executed, and hold the lock for up to "
            f"{lease.ttl:g} s; it is given back in the background as soon as Redis answers."
        ) from error.__cause__
    lease.note_grant(grant, attempt.waited)
    if lock_acquired.receivers:
        told = {"name": lease.name, "lease": lease, "waited": lease.waited}
        yield Announce(lock_acquired, Lease, told)
