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
from .keys import keys_of
from .lease import Lease
from .protocol import Ticket
from .resolving import resolve
from .returning import HOPELESS
from .steps import Announce, Steps, adrive, drive, to_the_end
from .tokens import new_token
from .transactions import Hold, in_transaction
from .waiting import Attempt

if TYPE_CHECKING:
    from .definition import Lock


def acquire(lock: Lock, name: str) -> Lease:
    """See Lock.acquire()."""
    deferring = is_deferring(lock)  # raises, if at all, before anything is sent
    lease, attempt = prepare(lock, name)
    if attempt is not None:
        keeper.watch(lease)
        try:
            lease.note_grant(attempt.at_once() or drive(attempt.acquire()), attempt.began)
            if lock_acquired.receivers:
                drive(_tell(lease))
        except BaseException as error:
            drive(_give_up(lease, error))
            drive(_tell_busy(lease, attempt, error))
            raise
    if deferring or lease.hold is not None:
        enter(lease, lock.using, deferring=deferring)
    return lease


async def aacquire(lock: Lock, name: str) -> Lease:
    """See acquire(); there are no transactions to wait for."""
    lease, attempt = prepare(lock, name)
    if attempt is not None:
        keeper.watch_in_loop(lease)
        try:
            lease.note_grant(await adrive(attempt.acquire()), attempt.began)
            if lock_acquired.receivers:
                await adrive(_tell(lease))
        except BaseException as error:
            await to_the_end(adrive(_give_up(lease, error)))
            await adrive(_tell_busy(lease, attempt, error))
            raise
    if lease.hold is not None:
        enter(lease, deferring=False)
    return lease


def prepare(lock: Lock, name: str) -> tuple[Lease, Attempt | None]:
    """A lease, and the attempt that is to fill it; none for one that a transaction keeps."""
    resolved, here = resolve(lock), held_here()
    client, ttl = resolved.client, resolved.ttl
    keys = keys_of(name, lock.limit, lock.kind)
    known = here.get((client.alias, keys.base))
    held = known() if known is not None else None
    if held is not None and held.held:
        if held.awaits_transaction:
            return held, None
        if lock.limit == 1:
            raise AlreadyHeld(
                f"The lock {name!r} is held here already: to wait for it would be to wait "
                "for oneself. Use current_lease(), or release it first."
            )
    ticket = Ticket(keys, resolved.terms, new_token())
    lease = Lease(ticket, client, here, ttl, resolved.max_hold, lock.on_lost)
    return lease, Attempt(ticket, client, ttl, resolved.wait, lock.fair, resolved.listening)


def is_deferring(lock: Lock) -> bool:
    """Whether what is acquired now has a transaction to wait for."""
    return lock.transaction == "defer" and in_transaction(lock.using)


def enter(lease: Lease, using: str | None = None, *, deferring: bool) -> None:
    """A section, or whoever has acquired it, begins to need it; so does the transaction."""
    if deferring:
        lease.hold = lease.hold or Hold()
        # The transaction refers to the lease, which so lasts as long; the hold does not, or
        # a lease that nobody refers to after it would only end when garbage is collected.
        lease.hold.await_commit(lambda: drive(give_back(lease)), using)
    if lease.hold is not None:
        lease.hold.enter()


def _give_up(lease: Lease, error: BaseException) -> Steps[None]:
    """Leave no trace of it; where that cannot be told, the error says so."""
    if not isinstance(error, LockUnavailable):
        yield from abandon(lease)
    elif not (yield from abandon(lease, HOPELESS)):
        raise LockUnavailable(
            f"{error} What was sent may still be executed, and hold the lock for up to "
            f"{lease.ttl:g} s; it is given back in the background as soon as Redis answers."
        ) from error.__cause__


def _tell_busy(lease: Lease, attempt: Attempt, error: BaseException) -> Steps[None]:
    if isinstance(error, LockBusy):
        yield Announce(lock_busy, Lease, {"name": lease.name, "waited": attempt.waited})


def _tell(lease: Lease) -> Steps[None]:
    told = {"name": lease.name, "lease": lease, "waited": lease.waited}
    yield Announce(lock_acquired, Lease, told)
