"""
How to wait for a lock: one generator, driven by threads and by asyncio.

What to do next is decided in generators that yield *steps*: ask Redis, listen for a
wake-up, sleep, tell somebody. ``drive`` performs the steps in the calling thread,
``adrive`` on the running event loop; they differ by ``await`` only.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.dispatch import Signal

from ..client.connections import Client
from ..client.execution import arun, run
from ..exceptions import (
    IndeterminateResult,
    LockBusy,
    LockUnavailable,
    NotExecuted,
    RedisAtomicError,
)
from ..scripting.script import Call
from .protocol import BUSY, GRANT, HELD, Answer, Ticket, valid_for

T = TypeVar("T")
logger = logging.getLogger("redis_atomic.locks")

#: Waiters of this process that block on a connection at once; the others poll.
LISTENERS = 32

#: A free-for-all poll, and a pause after trouble: "full jitter", so that nobody marches in step.
POLL = (0.002, 0.050)
TROUBLE = (0.010, 0.100)

#: A lost token is given back so often, and not later than this (seconds); then its TTLs do it.
FINISH_TRIES, FINISH_TIME = 4, 2.0


class Step(Protocol):
    """Something to do that takes time."""

    def perform(self) -> Any: ...
    async def aperform(self) -> Any: ...


Steps = Generator[Step, Any, T]


def drive(steps: Steps[T]) -> T:
    """Perform the steps in this thread; what they return or raise."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = step.perform()
            except RedisAtomicError as error:
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def adrive(steps: Steps[T]) -> T:
    """See drive()."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = await step.aperform()
            except RedisAtomicError as error:
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Await it even while being cancelled, and only then be cancelled.

    A request that is under way brings its answer in any case; to drop the answer
    would be to doubt where there is no need.
    """
    task = asyncio.ensure_future(coroutine)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: asyncio need not complain that nobody looked
        raise cancelled
    return task.result()


@dataclass(slots=True)
class Ask:
    """Send a call about a ticket, and note on the ticket what became of it."""

    client: Client
    call: Call[Any]
    ticket: Ticket

    def perform(self) -> Any:
        with _noted(self.ticket):
            return run(self.client, self.call)

    async def aperform(self) -> Any:
        return await to_the_end(self._ask())

    async def _ask(self) -> Any:
        with _noted(self.ticket):
            return await arun(self.client, self.call)


@contextmanager
def _noted(ticket: Ticket) -> Iterator[None]:
    before = ticket.trace
    ticket.trace = True
    try:
        yield
    except NotExecuted:
        ticket.trace = before
        raise
    except BaseException:  # an interrupted request may arrive as well as a lost one
        ticket.doubt = True
        raise


@dataclass(slots=True)
class Listen:
    """Sleep on a connection until woken; NotExecuted where no connection is to be had."""

    client: Client
    call: Call[Any]

    def perform(self) -> Any:
        with _a_seat():
            return run(self.client, self.call)

    async def aperform(self) -> Any:
        with _a_seat():
            return await arun(self.client, self.call)


_seats = threading.BoundedSemaphore(LISTENERS)


def _new_seats() -> None:
    global _seats
    _seats = threading.BoundedSemaphore(LISTENERS)


os.register_at_fork(after_in_child=_new_seats)  # the parent's waiters did not come along


@contextmanager
def _a_seat() -> Iterator[None]:
    seats = _seats
    if not seats.acquire(blocking=False):
        raise NotExecuted("All connections for waiting are taken.")
    try:
        yield
    finally:
        seats.release()


@dataclass(slots=True)
class Sleep:
    seconds: float

    def perform(self) -> None:
        time.sleep(self.seconds)

    async def aperform(self) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(slots=True)
class Announce:
    """Send a signal; a receiver that raises is logged by Django."""

    signal: Signal
    sender: Any
    named: dict[str, Any]

    def perform(self) -> None:
        self.signal.send_robust(self.sender, **self.named)

    async def aperform(self) -> None:
        await self.signal.asend_robust(self.sender, **self.named)


@dataclass(slots=True)
class Notify:
    """Call the user's function; what it raises is logged."""

    function: Callable[[Any], Any]
    about: Any

    def perform(self) -> None:
        function = self.function
        if iscoroutinefunction(function):
            function = async_to_sync(function)
        try:
            function(self.about)
        except Exception:
            logger.exception("%r failed for %r", self.function, self.about)

    async def aperform(self) -> None:
        try:
            result = self.function(self.about)
            if asyncio.iscoroutine(result):
                await result
        except Exception:
            logger.exception("%r failed for %r", self.function, self.about)


class Grant(NamedTuple):
    """A slot that is ours: its fence and number, when it was asked for and how long it counts."""

    fence: int
    slot: int
    sent: float
    until: float


@dataclass(slots=True)
class Attempt:
    """
    One attempt to acquire. Times are seconds on the monotonic clock.

    ``wait`` is how long to try: 0 for once, ``inf`` for ever. ``fair``: stand in
    the queue; else take what happens to be free. ``listening``: sleep until woken;
    else ask now and then.
    """

    ticket: Ticket
    client: Client
    waits: Client
    ttl: float
    wait: float
    fair: bool = True
    listening: bool = True
    began: float = field(default_factory=time.monotonic)
    troubled: float | None = field(default=None, init=False)  # since when nobody answers
    deaf: bool = field(default=False, init=False)  # the last listening failed

    @property
    def waited(self) -> float:
        return time.monotonic() - self.began

    @property
    def queueing(self) -> bool:
        return self.fair and self.wait > 0

    def acquire(self) -> Steps[Grant]:
        """
        Ask until there is a slot or no time.

        Raises LockBusy or LockUnavailable. Whatever it ends with but a grant, or if
        it is interrupted, ``finish`` has to follow.
        """
        stood = False
        while True:
            sent = time.monotonic()
            self.ticket.queued |= self.queueing  # so much may be true, should we be interrupted
            try:
                # The same token each time: a slot granted by a lost reply is found again.
                call = self.ticket.acquire(self.ttl, queueing=self.queueing)
                answer = yield Ask(self.client, call, self.ticket)
            except (NotExecuted, IndeterminateResult) as error:
                yield self._after(error)
                continue
            except RedisAtomicError as error:
                raise self._unavailable(error) from error
            self.troubled = None
            if answer.state == HELD:
                self.ticket.queued = stood
                return self._grant(answer, sent)
            stood = self.queueing
            if answer.state != BUSY:
                raise AssertionError(f"The finished token {self.ticket.token} was used again.")
            yield from self._pause(answer)

    def _grant(self, answer: Answer, sent: float) -> Grant:
        until = sent + valid_for(self.ttl)
        if time.monotonic() >= until:
            raise LockUnavailable(
                f"The lock {self._name!r} was granted, but the answer took longer than its "
                f"TTL of {self.ttl:g} s. Choose a TTL well above the time of a round trip."
            )
        return Grant(answer.number, answer.place, sent, until)

    def _pause(self, answer: Answer) -> Steps[None]:
        """Sleep until it makes sense to ask again; LockBusy when the time is over."""
        if not self.queueing and not self.ticket.doubt:
            self.ticket.trace = False  # asked, refused, and not even queued
        left = self.began + self.wait - time.monotonic()
        if left <= 0:
            raise LockBusy(
                f"The lock {self._name!r} is held by somebody else; waited {self.waited:.2f} s."
            )
        # When a holder's time ends all waiters know: the head of the queue shall be first.
        told = answer.number / 1000 + 0.001 + 0.005 * min(max(answer.place, 0), 20)
        seconds = min(told, self.ticket.terms.slice, left)
        if not self.queueing or not self.listening or self.deaf:
            self.deaf = False
            yield Sleep(min(seconds, self._poll(answer)))
            return
        try:
            # Only saves time: woken or not, even after an error, it is the answer that counts.
            yield Listen(self.waits, self.ticket.listen(seconds))
        except RedisAtomicError as error:
            self.deaf = True
            if not isinstance(error, IndeterminateResult):
                yield Sleep(min(seconds, self._poll(answer)))

    def _poll(self, answer: Answer) -> float:
        """Seconds: well below a grant, and the sooner the nearer to the head of the queue."""
        shortest, longest = POLL
        return random.uniform(shortest, min(longest * max(answer.place + 1, 1), 0.45 * GRANT))

    def _after(self, error: RedisAtomicError) -> Step:
        """A short sleep, or LockUnavailable when Redis has been silent for too long."""
        now = time.monotonic()
        self.troubled = now if self.troubled is None else self.troubled
        if now >= self._patience():
            raise self._unavailable(error) from error
        return Sleep(random.uniform(*TROUBLE))

    def _patience(self) -> float:
        if math.isinf(self.wait):  # waiting for ever is for a busy lock, not for a dead server
            return (self.troubled or 0) + max(self.ttl, 1.0)
        if self.wait == 0 and self.ticket.doubt:  # one try, but an answer to it would be good
            return self.began + min(1.0, self.ttl / 2)
        return self.began + self.wait

    def _unavailable(self, error: RedisAtomicError) -> LockUnavailable:
        return LockUnavailable(
            f"Whether the lock {self._name!r} is free could not be found out within "
            f"{self.waited:.2f} s; it was not acquired. {error}"
        )

    @property
    def _name(self) -> str:
        return self.ticket.keys.name


def finish(ticket: Ticket, client: Client, ttl: float) -> Steps[bool | None]:
    """
    Give back what the ticket has: true if that was a slot, None if nobody answered.

    From here on the token is dead; nothing else may ever be sent with it.
    """
    end = time.monotonic() + FINISH_TIME
    for _ in range(FINISH_TRIES):
        try:
            freed: bool = yield Ask(client, ticket.finish(ttl), ticket)
            ticket.trace = False
            return freed
        except (NotExecuted, IndeterminateResult):
            if time.monotonic() >= end:
                break
            yield Sleep(random.uniform(*TROUBLE))
        except RedisAtomicError:
            logger.exception("The lock %r could not be given back", ticket.keys.name)
            break
    return None
