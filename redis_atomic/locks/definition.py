"""``Lock``: what is to be locked and how, and all that can be done with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from ..client.connections import Client, client_for
from ..client.execution import arun, run
from ..exceptions import AlreadyHeld, LockBusy, LockUnavailable
from ..signals import lock_acquired, lock_busy
from . import keeper, protocol
from .decorating import decorate
from .lease import HeldHere, Lease, held_here
from .naming import lock_name
from .options import (
    FromSettings,
    lock_settings,
)
from .policies import OnBusy, OnError
from .protocol import Holder, Keys, LockInfo, Terms, Ticket, keys_of, terms_of
from .returning import HOPELESS
from .section import Section, section_of
from .steps import Announce, Steps, adrive, drive, to_the_end
from .transactions import Hold, in_transaction
from .waiting import TIMEOUT, Attempt, Grant

P = ParamSpec("P")
R = TypeVar("R")


#: How many TTLs a lease is renewed for at most, unless ``max_hold`` says otherwise.
MAX_HOLD_TTLS = 20


#: What Lease.detach() returns.
ADOPTED = re.compile(r"(\d+):(\d+):(d?)(q?):(.+)")


@dataclass(frozen=True, eq=False, kw_only=True)
class Lock:
    """
    What is to be locked, and how: made by redis_lock() and redis_semaphore().

    It holds nothing itself, so threads and tasks may share it: every acquire makes
    a Lease. Use it as a decorator of functions and coroutine functions, in ``with``
    and ``async with``, or by its methods.
    """

    name: str
    ttl: float | FromSettings
    wait: float | FromSettings
    fair: bool
    waiting: Literal["block", "poll"] | FromSettings
    max_hold: float | None
    on_busy: OnBusy
    on_error: OnError
    on_lost: Callable[[Lease], Any] | None
    cancel_on_lost: bool
    transaction: Literal["defer", "ignore"]
    using: str | None
    cache: str | None
    kind: str = "lock"
    limit: int = 1

    # A lease

    def acquire(self) -> Lease:
        """
        Wait for the lock and return the Lease, which is yours to release.

        Raises LockBusy when it was not to be had within ``wait``, LockUnavailable
        when Redis could not tell, AlreadyHeld when this thread or task holds it.
        A lease that is neither released nor referred to ends with its TTL.
        """
        return self.acquire_named(self._written_name())

    async def aacquire(self) -> Lease:
        """See acquire()."""
        return await self.aacquire_named(self._written_name())

    def acquire_named(self, name: str) -> Lease:
        """See acquire(); for a name that was made of a template."""
        deferring = self._deferring()  # raises, if at all, before anything is sent
        lease, attempt = self._prepare(name)
        if attempt is not None:
            self._acquire(lease, attempt)
        self._enter(lease, deferring)
        return lease

    async def aacquire_named(self, name: str) -> Lease:
        """See acquire_named(); there are no transactions to wait for."""
        lease, attempt = self._prepare(name)
        if attempt is not None:
            await self._aacquire(lease, attempt)
        self._enter(lease, deferring=False)
        return lease

    def _deferring(self) -> bool:
        return self.transaction == "defer" and in_transaction(self.using)

    def _enter(self, lease: Lease, deferring: bool) -> None:
        if deferring:
            lease.hold = lease.hold or Hold(lambda: drive(lease.give_back()))
            lease.hold.await_commit(self.using)
        if lease.hold is not None:
            lease.hold.enter()

    def _prepare(self, name: str) -> tuple[Lease, Attempt | None]:
        """A lease, and the attempt that is to fill it; none for one that a transaction keeps."""
        client = self._client()
        keys = keys_of(name, self.limit, self.kind)
        here = held_here()
        held = here.lease(client, keys)
        if held is not None and held.awaits_transaction:
            return held, None
        if held is not None and self.limit == 1:
            raise AlreadyHeld(
                f"The lock {name!r} is held here already: to wait for it would be to wait for "
                "oneself. Use current_lease(), or release it first."
            )
        lease = self._lease(Ticket(keys, terms(client), protocol.new_token()), client, here)
        attempt = Attempt(
            lease.ticket, client, lease.ttl, self._wait(), self.fair, self._waiting() == "block"
        )
        return lease, attempt

    def _acquire(self, lease: Lease, attempt: Attempt) -> None:
        keeper.watch(lease)  # before anything is sent: no lease is ever without a keeper
        try:
            drive(_acquire(lease, attempt))
        except BaseException:
            drive(lease.abandon())
            raise

    async def _aacquire(self, lease: Lease, attempt: Attempt) -> None:
        keeper.watch_in_loop(lease)
        try:
            await adrive(_acquire(lease, attempt))
        except BaseException:
            await to_the_end(adrive(lease.abandon()))
            raise

    def _lease(self, ticket: Ticket, client: Client, here: HeldHere) -> Lease:
        ttl = self._ttl()
        max_hold = MAX_HOLD_TTLS * ttl if self.max_hold is None else self.max_hold
        return Lease(ticket, client, here, ttl=ttl, max_hold=max_hold, on_lost=self.on_lost)

    # A lease from elsewhere

    def adopt(self, text: str) -> Lease:
        """
        Make a lease again of what ``lease.detach()`` returned, perhaps in another process.

        It is extended to this definition's TTL. Raises ValueError for a text that
        is none, LockLost if the lock is somebody else's by now, LockUnavailable.
        """
        deferring = self._deferring()
        lease, grant = self._adopted(text)
        keeper.watch(lease)
        try:
            drive(lease.take_over(grant))
        except BaseException:
            lease.end("not ours")
            raise
        self._enter(lease, deferring)
        return lease

    async def aadopt(self, text: str) -> Lease:
        """See adopt()."""
        lease, grant = self._adopted(text)
        keeper.watch_in_loop(lease)
        try:
            await adrive(lease.take_over(grant))
        except BaseException:
            lease.end("not ours")
            raise
        return lease

    def _adopted(self, text: str) -> tuple[Lease, Grant]:
        match = ADOPTED.fullmatch(text)
        if match is None:
            raise ValueError(f"adopt() takes what lease.detach() returned, not {text!r}.")
        client = self._client()
        fence, slot, doubt, queued, token = match.groups()
        ticket = Ticket(self._keys(), terms(client), token, bool(doubt), bool(queued), trace=True)
        lease = self._lease(ticket, client, held_here())
        return lease, Grant(
            int(fence), int(slot), lease.began, lease.began + protocol.valid_for(lease.ttl)
        )

    # A section

    def __enter__(self) -> Lease:
        section = Section(self, self._written_name())
        if self.cancel_on_lost:
            raise TypeError("cancel_on_lost=True is for async code: a thread cannot be cancelled.")
        return section.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        section_of(self).__exit__(kind, error, tb)

    async def __aenter__(self) -> Lease:
        section = Section(self, self._written_name())
        return await section.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await section_of(self).__aexit__(kind, error, tb)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Run each call of the function, or coroutine function, under the lock."""
        return decorate(self, function)

    # Operations

    def info(self) -> LockInfo:
        """Who holds the lock, for how long, and who waits. Changes nothing."""
        return run(self._client(), protocol.inspect(self._keys()))

    async def ainfo(self) -> LockInfo:
        """See info()."""
        return await arun(self._client(), protocol.inspect(self._keys()))

    def force_release(self) -> tuple[Holder, ...]:
        """
        Take the lock from whoever holds it now, and return those it was taken from.

        The holder learns of it at its next renewal, and until then works on: only
        its fence keeps it from doing harm. Who waits is next.
        """
        client, taken = self._client(), []
        for holder in self.info().holders:
            if run(client, protocol.force(self._keys(), holder.token, terms(client))):
                taken.append(holder)
        return tuple(taken)

    async def aforce_release(self) -> tuple[Holder, ...]:
        """See force_release()."""
        client, taken = self._client(), []
        for holder in (await self.ainfo()).holders:
            if await arun(client, protocol.force(self._keys(), holder.token, terms(client))):
                taken.append(holder)
        return tuple(taken)

    # What the settings say, when it is needed

    def _written_name(self) -> str:
        """The name where no function gives it, nor could be skipped or replaced."""
        if (self.on_busy, self.on_error) != ("raise", "raise"):
            raise TypeError(
                "on_busy and on_error are for decorated functions. Around a `with` block, or an "
                "acquire(), catch LockBusy and LockUnavailable."
            )
        return lock_name(self.name)

    def _keys(self) -> Keys:
        return keys_of(lock_name(self.name), self.limit, self.kind)

    def _client(self) -> Client:
        return client_for(self.cache or lock_settings().alias, "locks", timeout=TIMEOUT)

    def _ttl(self) -> float:
        return lock_settings().ttl if isinstance(self.ttl, FromSettings) else self.ttl

    def _wait(self) -> float:
        return lock_settings().wait if isinstance(self.wait, FromSettings) else self.wait

    def _waiting(self) -> str:
        return lock_settings().waiting if isinstance(self.waiting, FromSettings) else self.waiting


def _acquire(lease: Lease, attempt: Attempt) -> Steps[None]:
    """Fill the lease, and tell who wants to know."""
    try:
        grant = yield from attempt.acquire()
    except LockBusy:
        yield from lease.abandon()
        yield Announce(lock_busy, Lease, {"name": lease.name, "waited": attempt.waited})
        raise
    except LockUnavailable as error:
        if (yield from lease.abandon(HOPELESS)):
            raise
        raise LockUnavailable(
            f"{error} What was sent may still be executed, and hold the lock for up to "
            f"{lease.ttl:g} s; it is given back in the background as soon as Redis answers."
        ) from error.__cause__
    lease.note_grant(grant, attempt.waited)
    if lock_acquired.receivers:
        told = {"name": lease.name, "lease": lease, "waited": lease.waited}
        yield Announce(lock_acquired, Lease, told)


def terms(client: Client) -> Terms:
    """What the calls to this server have in common."""
    settings = lock_settings()
    # A waiter has to hear the end of its slice before its connection gives up.
    timeout = client.pool.connection_kwargs["socket_timeout"]
    nap = min(protocol.SLICE, timeout / 2)
    return terms_of(nap, settings.fence_memory, settings.waiting == "block")
