"""``Lock``: what is to be locked and how, and all that can be done with it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from ..client.execution import arun, run
from ..scripting.script import Call
from . import protocol
from .acquiring import aacquire, acquire
from .adopting import aadopt, adopt
from .decorating import decorate
from .keys import Keys, keys_of
from .lease import Lease
from .naming import lock_name
from .options import FromSettings
from .policies import OnBusy, OnError
from .protocol import Holder, LockInfo, Terms
from .resolving import resolve, written_name
from .section import Section, section_of

P = ParamSpec("P")
R = TypeVar("R")


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
        return acquire(self, written_name(self))

    async def aacquire(self) -> Lease:
        """See acquire()."""
        return await aacquire(self, written_name(self))

    # A lease from elsewhere

    def adopt(self, text: str) -> Lease:
        """
        Make a lease again of what ``lease.detach()`` returned, perhaps in another process.

        It is extended to this definition's TTL. Raises ValueError for a text that
        is none, LockLost if the lock is somebody else's by now, LockUnavailable.
        """
        return adopt(self, self._keys(), text)

    async def aadopt(self, text: str) -> Lease:
        """See adopt()."""
        return await aadopt(self, self._keys(), text)

    # A section

    def __enter__(self) -> Lease:
        section = Section(self, written_name(self), sys._getframe(1))
        if self.cancel_on_lost:
            raise TypeError("cancel_on_lost=True is for async code: a thread cannot be cancelled.")
        return section.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        section_of(self, sys._getframe(1)).__exit__(kind, error, tb)

    def __aenter__(self) -> Awaitable[Lease]:
        return Section(self, written_name(self), sys._getframe(1)).__aenter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> Awaitable[None]:
        return section_of(self, sys._getframe(1)).__aexit__(kind, error, tb)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Run each call of the function, or coroutine function, under the lock."""
        return decorate(self, function)

    # Operations

    def info(self) -> LockInfo:
        """Who holds the lock, for how long, and who waits. Changes nothing."""
        return run(resolve(self).client, protocol.inspect(self._keys()))

    async def ainfo(self) -> LockInfo:
        """See info()."""
        return await arun(resolve(self).client, protocol.inspect(self._keys()))

    def force_release(self) -> tuple[Holder, ...]:
        """
        Take the lock from whoever holds it now, and return those it was taken from.

        The holder learns of it at its next renewal, and until then works on: only
        its fence keeps it from doing harm. Who waits is next.
        """
        server, taken = resolve(self), []
        for holder in self.info().holders:
            if run(server.client, self._force(holder, server.terms)):
                taken.append(holder)
        return tuple(taken)

    async def aforce_release(self) -> tuple[Holder, ...]:
        """See force_release()."""
        server, taken = resolve(self), []
        for holder in (await self.ainfo()).holders:
            if await arun(server.client, self._force(holder, server.terms)):
                taken.append(holder)
        return tuple(taken)

    def _force(self, holder: Holder, terms: Terms) -> Call[bool]:
        return protocol.force(self._keys(), holder.token, terms)

    def _keys(self) -> Keys:
        return keys_of(lock_name(self.name), self.limit, self.kind)
