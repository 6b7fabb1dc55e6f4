"""``Lease``: what an acquire returns."""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ..client.connections import Client
from ..exceptions import LockLost, LockNotOwned
from .context import HeldHere
from .ending import give_back, give_back_here
from .loss import Loss
from .options import Seconds, seconds
from .protocol import Ticket, valid_for
from .renewal import extending
from .steps import Steps, adrive, drive
from .transactions import Hold
from .waiting import Grant


class LooksAfter(Protocol):
    """Who knows of a lease as long as it lasts."""

    def discard(self, lease: Lease) -> None: ...


class Lease:
    """
    A lock that is held, until its deadline or ``release()``.

    ``name`` is the lock's name, ``fence`` a number that is larger than that of every
    earlier lease, ``token`` this lease's own name, ``ttl`` seconds, ``pid`` the process
    that acquired it, ``waited`` how long that took. ``lost`` is an event: ``is_set()``,
    ``wait(timeout)``, ``await lease.lost``.
    """

    fence = 0
    slot = 0
    waited = 0.0
    renew_at = math.inf
    ended = ""  # how: "released", "detached", …
    hold: Hold | None = None  # where it has a transaction to wait for
    keeper: LooksAfter | None = None
    _here: weakref.ref[Lease] | None = None

    def __init__(
        self,
        ticket: Ticket,
        client: Client,
        held_by: HeldHere,
        ttl: float,
        max_hold: float,
        on_lost: Callable[[Lease], Any] | None = None,
    ) -> None:
        self.ticket = ticket
        self.client = client
        self.held_by = held_by
        self.place = (client.alias, ticket.keys.base)
        self.ttl = ttl
        self.max_hold = max_hold
        self.on_lost = on_lost
        self.pid = os.getpid()
        self.lost = Loss()
        self.began = time.monotonic()  # before the grant: when it was first asked for

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
            raise self.not_held()

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

    def not_held(self) -> LockNotOwned:
        """The exception for a lease that has ended, or not begun."""
        return LockNotOwned(f"The lock {self.name!r} is {self.ended or 'not held yet'}.")

    # Being granted

    def note_grant(self, grant: Grant, asked: float) -> None:
        """From now on it is believed in; it was first asked for at this time."""
        self._believe(grant, asked)
        self._be_known_here()

    def take_over(self, grant: Grant) -> Steps[None]:
        """Go on with a lease of another process, if it is still that: extended to our TTL."""
        self._believe(grant, self.began)
        yield from extending(self, valid_for(self.ttl))
        self._be_known_here()

    def _believe(self, grant: Grant, asked: float) -> None:
        self.fence, self.slot, self.began, until = grant
        self.waited = time.monotonic() - asked
        self.renew_at = self.began + self.ttl / 3
        self.lost.deadline = until

    def _be_known_here(self) -> None:
        """To who asks for the same lock here; until nobody refers to the lease any more."""
        forget = partial(_forget, self.held_by, self.place)
        self.held_by[self.place] = self._here = weakref.ref(self, forget)

    # Extending

    def extend(self, *, to: Seconds | None = None, by: Seconds | None = None) -> None:
        """
        Make the lease valid for at least ``to`` seconds from now, or ``by`` seconds longer.

        It never becomes shorter. Raises ValueError or TypeError unless exactly one is
        given and positive, LockLost, LockNotOwned, and LockUnavailable if nobody
        answered (it is still held until its deadline).
        """
        drive(extending(self, self._asked_for(to, by)))

    async def aextend(self, *, to: Seconds | None = None, by: Seconds | None = None) -> None:
        """See extend()."""
        await adrive(extending(self, self._asked_for(to, by)))

    def _asked_for(self, to: Seconds | None, by: Seconds | None) -> float:
        if (to is None) == (by is None):
            raise TypeError("extend() takes either to= or by=, seconds.")
        if to is not None:
            return seconds("to", to)
        assert by is not None
        return self.remaining() + seconds("by", by)

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
        if self.hold is None:
            give_back_here(self)
        else:
            drive(self._leave_to(self.hold))

    async def arelease(self) -> None:
        """See release()."""
        await adrive(self.leave())

    @property
    def awaits_transaction(self) -> bool:
        """Whether it has been given back, but for the transaction that it has to wait for."""
        return self.hold is not None and self.hold.awaits_transaction

    def leave(self) -> Steps[None]:
        """The steps of release()."""
        return give_back(self) if self.hold is None else self._leave_to(self.hold)

    def _leave_to(self, hold: Hold) -> Steps[None]:
        if hold.awaits_transaction:
            raise LockNotOwned(f"The lock {self.name!r} is left to its transaction already.")
        if self.pid != os.getpid() or hold.leave():
            yield from give_back(self)
        else:
            self.check()

    def end(self, how: str) -> None:
        """Stop believing in it; who looks after it lets go of it, too."""
        self.ended = how
        self.lost.close()
        if self._here is not None:
            _forget(self.held_by, self.place, self._here)
        if self.keeper is not None:
            self.keeper.discard(self)

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


def _forget(held_by: HeldHere, place: tuple[str, str], lease: weakref.ref[Lease]) -> None:
    """Forget this lease, and not a later one of the same place."""
    if held_by.get(place) is lease:
        held_by.pop(place, None)
