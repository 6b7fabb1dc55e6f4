"""
``Lease``: what an acquire returns, and all that is believed about it.

A lease is believed in until its deadline, a moment on this process's monotonic
clock; nothing prolongs it but an answer from Redis. So a process that was paused,
or cut off, knows by its own clock alone that its lock may be somebody else's by now.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ..client.connections import Client
from ..exceptions import (
    IndeterminateResult,
    LockLost,
    LockNotOwned,
    LockUnavailable,
    NotExecuted,
    RedisAtomicError,
)
from ..signals import lock_lost, lock_released
from .loss import Loss
from .options import Seconds, seconds
from .protocol import Keys, Ticket, ttl_for, valid_for
from .returning import TIME, finish
from .steps import Announce, Ask, Notify, Sleep, Steps, adrive, drive
from .transactions import Hold
from .waiting import LAST_ANSWER, Grant

logger = logging.getLogger("redis_atomic.locks")

#: An extension that nobody answers is asked again every so often, for so long (seconds).
EXTEND_PAUSE, EXTEND_TIME = 0.05, 2.0


class HasLease(Protocol):
    lease: Lease


#: The sections that run here, innermost last.
sections: contextvars.ContextVar[tuple[HasLease, ...]] = contextvars.ContextVar(
    "redis_atomic_sections", default=()
)


class Lease:
    """
    A lock that is held, until its deadline or ``release()``.

    ``name`` is the lock's name, ``fence`` a number that is larger than that of every
    earlier lease, ``token`` this lease's own name, ``ttl`` seconds, ``pid`` the process
    that acquired it, ``waited`` how long that took. ``lost`` is an event: ``is_set()``,
    ``wait(timeout)``, ``await lease.lost``.
    """

    def __init__(
        self,
        ticket: Ticket,
        client: Client,
        held_by: HeldHere,
        *,
        ttl: float,
        max_hold: float,
        on_lost: Callable[[Lease], Any] | None = None,
    ) -> None:
        self.ticket = ticket
        self.client = client
        self.held_by = held_by
        self.ttl = ttl
        self.max_hold = max_hold
        self.on_lost = on_lost
        self.pid = os.getpid()
        self.lost = Loss()
        self.fence = 0
        self.slot = 0
        self.waited = 0.0
        self.began = time.monotonic()  # before the grant: when it was first asked for
        self.renew_at = float("inf")
        self.ended = ""  # how: "released", "detached", …
        self.hold: Hold | None = None  # where it has a transaction to wait for

    @property
    def name(self) -> str:
        return self.ticket.keys.name

    @property
    def token(self) -> str:
        return self.ticket.token

    @property
    def granted(self) -> bool:
        return self.fence > 0

    @property
    def held(self) -> bool:
        """Whether it is believed to be held, here and now."""
        return (
            self.granted and not self.ended and self.pid == os.getpid() and not self.lost.is_set()
        )

    def remaining(self) -> float:
        """Seconds until the deadline, 0.0 if it is not held. Asks nobody."""
        return max(0.0, self.lost.deadline - time.monotonic()) if self.held else 0.0

    def check(self) -> None:
        """
        Raise LockLost if the lease was lost, LockNotOwned if it is not held here.

        Compares clocks, asks nobody: cheap enough for every step of a loop. What
        happens after it is guarded by the fence alone.
        """
        self.check_process()
        if self.lost.is_set():
            raise self.loss()
        if self.ended or not self.granted:
            raise LockNotOwned(f"The lock {self.name!r} is {self.ended or 'not held yet'}.")

    def check_process(self) -> None:
        """Raise LockNotOwned in a forked child: what it inherited is not its own."""
        if self.pid != os.getpid():
            raise LockNotOwned(
                f"The lock {self.name!r} belongs to process {self.pid}, not to its child "
                f"{os.getpid()}. Acquire it here, or hand it over with detach() and adopt()."
            )

    def loss(self) -> LockLost:
        """The exception that tells of the loss."""
        return LockLost(
            f"The lock {self.name!r} was lost: {self.lost.reason}. Somebody else may hold it; "
            "what was done since may have to be undone."
        )

    # Extending

    def extend(self, *, to: Seconds | None = None, by: Seconds | None = None) -> None:
        """
        Make the lease valid for at least ``to`` seconds from now, or ``by`` seconds longer.

        It never becomes shorter. Raises ValueError or TypeError unless exactly one is
        given and positive, LockLost, LockNotOwned, and LockUnavailable if nobody
        answered (it is still held until its deadline).
        """
        drive(self._extend(self._asked_for(to, by)))

    async def aextend(self, *, to: Seconds | None = None, by: Seconds | None = None) -> None:
        """See extend()."""
        await adrive(self._extend(self._asked_for(to, by)))

    def _asked_for(self, to: Seconds | None, by: Seconds | None) -> float:
        if (to is None) == (by is None):
            raise TypeError("extend() takes either to= or by=, seconds.")
        if to is not None:
            return seconds("to", to)
        assert by is not None
        return self.remaining() + seconds("by", by)

    def _extend(self, valid: float) -> Steps[None]:
        self.check()
        ttl = ttl_for(valid)
        end = min(self.lost.deadline, time.monotonic() + EXTEND_TIME)
        while True:
            sent = time.monotonic()
            try:
                extended = yield Ask(
                    self.client,
                    self.renewal(ttl),
                    self.ticket,
                    seconds=max(end - sent, LAST_ANSWER),
                )
            except (NotExecuted, IndeterminateResult) as error:
                if time.monotonic() >= end:
                    self.check()
                    raise LockUnavailable(
                        f"The lock {self.name!r} could not be extended: {error} "
                        f"It is still held for {self.remaining():.2f} s."
                    ) from error
                yield Sleep(EXTEND_PAUSE)
            else:
                break
        self.note_renewal(sent, ttl, extended)
        if self.lost.is_set():
            yield from self.tell_loss()
        self.check()

    def take_over(self, grant: Grant) -> Steps[None]:
        """Go on with a lease of another process, if it is still that: extended to our TTL."""
        self.note_grant(grant, waited=0.0)
        yield from self._extend(valid_for(self.ttl))

    def renewal(self, ttl: float) -> Any:
        """The call that makes it last so long from now."""
        return self.ticket.extend(self.fence, self.slot, ttl)

    def renewal_ttl(self, now: float) -> float:
        """What the keeper renews it to: its TTL, or what is left of ``max_hold``."""
        return max(0.001, min(self.ttl, self.began + self.max_hold - now))

    def next_renewal(self, now: float) -> float:
        """When the keeper should renew it; infinity if it need not, or may not any more."""
        if not self.granted or self.lost.reason:
            return float("inf")
        if self.lost.deadline < self.began + valid_for(self.max_hold):
            return self.renew_at
        self.lost.expiry = f"it was held for its max_hold of {self.max_hold:g} s"
        return float("inf")

    def next_event(self, now: float) -> float:
        """When the keeper should look at it; early, for one that is yet to be granted."""
        if not self.granted:
            return now + self.ttl / 3
        return min(self.next_renewal(now), self.lost.deadline)

    def note_trouble(self, error: RedisAtomicError, again: float) -> None:
        """A renewal that had no answer, or a refusal: try again soon."""
        self.ticket.doubt |= not isinstance(error, NotExecuted)
        self.renew_at = time.monotonic() + min(again, self.ttl / 10)

    def note_renewal(self, sent: float, ttl: float, extended: bool) -> None:
        """What a renewal, sent at this time, was answered."""
        if extended:
            self.renew_at = sent + self.ttl / 3
            self.lost.prolong(sent + valid_for(ttl))
        elif not self.ended:
            self.lost.set("Redis no longer knows it: it was taken away, or its time ran out")

    def note_grant(self, grant: Grant, waited: float) -> None:
        self.fence, self.slot, self.waited = grant.fence, grant.slot, waited
        self.began = grant.sent
        self.renew_at = grant.sent + self.ttl / 3
        self.lost.prolong(grant.until)
        self.held_by[self.client.alias, self.ticket.keys.base] = self

    # Giving back

    def release(self) -> None:
        """
        Give the lock back; the first who waits has it at once.

        A lock acquired in a transaction is given back when that has ended.
        Raises LockLost if it was lost before, LockNotOwned if it was given back
        already, LockUnavailable if nobody answered (it is then tried again in the
        background, and ends at the latest with its TTL).
        In a forked child it does nothing but warn: the lock is the parent's.
        """
        drive(self.leave())

    async def arelease(self) -> None:
        """See release()."""
        await adrive(self.leave())

    @property
    def awaits_transaction(self) -> bool:
        """Whether it has been given back, but for the transaction that it has to wait for."""
        return self.hold is not None and self.hold.awaits_transaction

    def leave(self) -> Steps[None]:
        """The steps of release()."""
        if self.awaits_transaction:
            raise LockNotOwned(f"The lock {self.name!r} is left to its transaction already.")
        if self.hold is None or self.pid != os.getpid() or self.hold.leave():
            yield from self.give_back()
        else:
            self.check()

    def give_back(self) -> Steps[None]:
        """Give it back now."""
        if self.pid != os.getpid():
            logger.warning("The lock %r is process %d's; not released", self.name, self.pid)
            return
        if self.ended or not self.granted:
            raise LockNotOwned(f"The lock {self.name!r} is {self.ended or 'not held yet'}.")
        lost, deadline = self.lost.is_set(), self.lost.deadline
        # No more belief and no more renewals, from before the request is sent.
        self.end("released")
        freed, repeated = yield from finish(self.ticket, self.client, self.ttl)
        if not lost and freed is False and not (repeated and time.monotonic() < deadline):
            self.lost.reason = "Redis no longer knew it when it was given back"
            lost = True
        if lost:
            yield from self.tell_loss()
            raise self.loss()
        if lock_released.receivers:
            yield Announce(lock_released, type(self), self._facts())
        if freed is None:
            raise LockUnavailable(
                f"Redis did not confirm the release of the lock {self.name!r}. "
                "It is tried again in the background; should that fail, too, the lock ends by "
                f"itself within {max(self.ttl, deadline - time.monotonic()):.1f} s."
            )

    def end(self, how: str) -> None:
        """Stop believing in it; the keeper lets go of it, too."""
        self.ended = how
        self.lost.is_set()
        self.lost.close()

    def abandon(self, patience: float = TIME) -> Steps[bool]:
        """After an acquire that came to nothing: leave no trace of it; whether that was done."""
        self.end("given up")
        if not self.ticket.trace:
            return True
        finished = yield from finish(self.ticket, self.client, self.ttl, patience)
        self.ticket.trace = False  # or else it is the background's
        return finished.freed is not None

    def tell_loss(self) -> Steps[None]:
        """Tell everybody who wants to know, once."""
        if not self.lost.first_to_tell():
            return
        logger.warning("The lock %r was lost: %s", self.name, self.lost.reason)
        yield Announce(lock_lost, type(self), self._facts())
        if self.on_lost is not None:
            yield Notify(self.on_lost, self)

    def _facts(self) -> dict[str, Any]:
        return {"name": self.name, "lease": self, "held": time.monotonic() - self.began}

    # Handing over

    def detach(self) -> str:
        """
        Let go without giving back, and return a text with which another process goes on.

        ``redis_lock(name).adopt(text)`` makes a lease of it again. It is no longer
        renewed here. Raises LockLost and LockNotOwned.
        """
        self.check()
        marks = ("d" if self.ticket.doubt else "") + ("q" if self.ticket.queued else "")
        self.end("detached")
        return f"{self.fence}:{self.slot}:{marks}:{self.token}"

    def __repr__(self) -> str:
        state = "lost" if self.lost.is_set() else self.ended or f"{self.remaining():.1f} s left"
        return f"<Lease {self.name!r} fence={self.fence} {state}>"


def current_lease() -> Lease:
    """
    The lease of the innermost section that runs here.

    LockNotOwned outside of one, and in a forked child inside its parent's. A task or
    thread that inherited the context of its starter sees the starter's lease.
    """
    for section in reversed(sections.get()):
        if not section.lease.ended:
            section.lease.check_process()
            return section.lease
    raise LockNotOwned("No lock is held here: current_lease() is for code inside a section.")


class HeldHere(weakref.WeakValueDictionary[tuple[str, str], Lease]):
    """The leases of one thread or task, by cache alias and key."""

    def lease(self, client: Client, keys: Keys) -> Lease | None:
        """The lease of this lock that is held, if it is."""
        lease = self.get((client.alias, keys.base))
        return lease if lease is not None and lease.held else None


_held: weakref.WeakKeyDictionary[Any, HeldHere] = weakref.WeakKeyDictionary()


def held_here() -> HeldHere:
    """The leases that were acquired by what runs here: a task, or else a thread."""
    try:
        me: Any = asyncio.current_task() or threading.current_thread()
    except RuntimeError:
        me = threading.current_thread()
    held = _held.get(me)
    if held is None:
        held = _held[me] = HeldHere()
    return held
