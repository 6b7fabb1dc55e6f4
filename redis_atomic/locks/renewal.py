"""
Renewing a lease: when it is due, what to ask for, and what the answer means.

A lease is believed in until its deadline, a moment on this process's monotonic
clock; nothing prolongs it but an answer from Redis. The keeper renews it by itself,
``extend()`` by request.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from ..client.connections import client_for
from ..exceptions import (
    IndeterminateResult,
    LockUnavailable,
    NotExecuted,
    RedisAtomicError,
)
from ..scripting.script import Call
from .asking import Ask, AskMany
from .ending import tell_loss
from .protocol import ttl_for, valid_for
from .steps import Sleep, Steps
from .waiting import LAST_ANSWER

if TYPE_CHECKING:
    from .lease import Lease

logger = logging.getLogger("redis_atomic.locks")

#: An extension that nobody answers is asked again every so often, for so long (seconds).
EXTEND_PAUSE, EXTEND_TIME = 0.05, 2.0

#: An answer that takes longer is asked for again (seconds): all leases of the process
#: wait for it, so the keeper is less patient than a caller may be.
TIMEOUT = 1.0

#: How soon after trouble to ask again (seconds), where a third of the TTL is longer.
AGAIN = 0.5


def extending(lease: Lease, valid: float) -> Steps[None]:
    """Make it valid for at least so many seconds from now."""
    lease.check()
    ttl = ttl_for(valid)
    end = min(lease.lost.deadline, time.monotonic() + EXTEND_TIME)
    while True:
        sent = time.monotonic()
        left = max(end - sent, LAST_ANSWER)
        try:
            extended = yield Ask(lease.client, renewal(lease, ttl), lease.ticket, left)
        except (NotExecuted, IndeterminateResult) as error:
            if time.monotonic() >= end:
                lease.check()
                raise LockUnavailable(
                    f"The lock {lease.name!r} could not be extended: {error} "
                    f"It is still held for {lease.remaining():.2f} s."
                ) from error
            yield Sleep(EXTEND_PAUSE)
        else:
            break
    note_renewal(lease, sent, ttl, extended)
    if lease.lost.is_set():
        yield from tell_loss(lease)
    lease.check()


def renew(leases: list[Lease]) -> Steps[None]:
    """Extend the leases that are due, all of one cache alias, in one trip."""
    if not leases:
        return
    client = client_for(leases[0].client.alias, "lock keeper", timeout=TIMEOUT)
    sent = time.monotonic()
    ttls = [renewal_ttl(lease, sent) for lease in leases]
    calls = [renewal(lease, ttl) for lease, ttl in zip(leases, ttls, strict=True)]
    try:
        answers = yield AskMany(client, calls)
    except (NotExecuted, IndeterminateResult) as error:
        answers = [error] * len(leases)
    for lease, ttl, answer in zip(leases, ttls, answers, strict=True):
        if isinstance(answer, RedisAtomicError):
            # The deadline decides: until then there is hope, and then the loss is told.
            logger.warning("The lock %r could not be renewed: %s", lease.name, answer)
            note_trouble(lease, answer, AGAIN)
        else:
            note_renewal(lease, sent, ttl, answer)


def renewal(lease: Lease, ttl: float) -> Call[bool]:
    """The call that makes it last so long from now."""
    return lease.ticket.extend(lease.fence, lease.slot, ttl)


def renewal_ttl(lease: Lease, now: float) -> float:
    """What the keeper renews it to: its TTL, or what is left of ``max_hold``."""
    return max(0.001, min(lease.ttl, lease.began + lease.max_hold - now))


def next_renewal(lease: Lease) -> float:
    """When the keeper should renew it; infinity if it need not, or may not any more."""
    if not lease.granted or lease.lost.reason:
        return math.inf
    if lease.lost.deadline < lease.began + valid_for(lease.max_hold):
        return lease.renew_at
    lease.lost.expiry = f"it was held for its max_hold of {lease.max_hold:g} s"
    return math.inf


def next_event(lease: Lease, now: float) -> float:
    """When the keeper should look at it; early, for one that is yet to be granted."""
    if not lease.granted:
        return now + lease.ttl / 3
    return min(next_renewal(lease), lease.lost.deadline)


def note_trouble(lease: Lease, error: RedisAtomicError, again: float) -> None:
    """A renewal that had no answer, or a refusal: try again soon."""
    lease.ticket.doubt |= not isinstance(error, NotExecuted)
    lease.renew_at = time.monotonic() + min(again, lease.ttl / 10)


def note_renewal(lease: Lease, sent: float, ttl: float, extended: bool) -> None:
    """What a renewal, sent at this time, was answered."""
    if extended:
        lease.renew_at = sent + lease.ttl / 3
        lease.lost.prolong(sent + valid_for(ttl))
    elif not lease.ended:
        lease.lost.set("Redis no longer knows it: it was taken away, or its time ran out")
