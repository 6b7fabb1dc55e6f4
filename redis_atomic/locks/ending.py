"""Ending a lease: given back, given up, or lost, and telling so."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from ..exceptions import LockUnavailable
from ..signals import lock_lost, lock_released
from .asking import Ask
from .returning import TIME, finish, first_try
from .steps import Announce, Notify, Steps, drive

if TYPE_CHECKING:
    from .lease import Lease

logger = logging.getLogger("redis_atomic.locks")


def give_back(lease: Lease) -> Steps[None]:
    """Give it back now. Raises what Lease.release() does."""
    if _let_go(lease):
        yield from _give_back(lease)


def give_back_here(lease: Lease) -> None:
    """give_back() in this thread, in no more steps than it takes: mostly it is one trip."""
    if _let_go(lease):
        first = first_try(lease.ticket, lease.client, lease.ttl)
        freed = first.begin() == 1
        if not freed or lease.lost.reason or lock_released.receivers:
            drive(_give_back(lease, first))
        else:
            lease.ticket.trace = False


def _let_go(lease: Lease) -> bool:
    """No more belief and no more renewals, from before the request is sent; not for a child."""
    if lease.pid != os.getpid():
        logger.warning("The lock %r is process %d's; not released", lease.name, lease.pid)
        return False
    if lease.ended or not lease.fence:
        raise lease.not_held()
    lease.end("released")
    return True


def _give_back(lease: Lease, begun: Ask | None = None) -> Steps[None]:
    deadline = lease.lost.deadline
    freed, repeated = yield from finish(lease.ticket, lease.client, lease.ttl, begun=begun)
    in_time = repeated and time.monotonic() < deadline
    if freed is False and not in_time and not lease.lost.reason:
        lease.lost.reason = "Redis no longer knew it when it was given back"
    if lease.lost.reason:
        yield from tell_loss(lease)
        raise lease.loss()
    if lock_released.receivers:
        yield Announce(lock_released, type(lease), _facts(lease))
    if freed is None:
        raise LockUnavailable(
            f"Redis did not confirm the release of the lock {lease.name!r}. "
            "It is tried again in the background; should that fail, too, the lock ends by "
            f"itself within {max(lease.ttl, deadline - time.monotonic()):.1f} s."
        )


def abandon(lease: Lease, patience: float = TIME) -> Steps[bool]:
    """After an acquire that came to nothing: leave no trace of it; whether that was done."""
    lease.end("given up")
    if not lease.ticket.trace:
        return True
    finished = yield from finish(lease.ticket, lease.client, lease.ttl, patience)
    lease.ticket.trace = False  # or else it is the background's
    return finished.freed is not None


def tell_loss(lease: Lease) -> Steps[None]:
    """Tell everybody who wants to know, once."""
    if not lease.lost.first_to_tell():
        return
    logger.warning("The lock %r was lost: %s", lease.name, lease.lost.reason)
    yield Announce(lock_lost, type(lease), _facts(lease))
    if lease.on_lost is not None:
        yield Notify(lease.on_lost, lease)


def _facts(lease: Lease) -> dict[str, Any]:
    return {"name": lease.name, "lease": lease, "held": time.monotonic() - lease.began}
