"""
Steps: things to do that take time, in a thread or on asyncio.

What to do next is decided in generators that yield steps: ask Redis, listen for a
wake-up, sleep, tell somebody. ``drive`` performs them in the calling thread,
``adrive`` on the running event loop; the two differ by ``await`` only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Protocol, TypeVar

from asgiref.sync import async_to_sync
from django.dispatch import Signal

from .. import generators
from ..client.connections import Client
from ..client.deadline import awaited_within, within
from ..client.execution import arun, run
from ..exceptions import NotExecuted, RedisAtomicError
from ..scripting.script import Call
from ..signals import send

T = TypeVar("T")
logger = logging.getLogger("redis_atomic.locks")

#: Waiters of this process that block on a connection at once; the others poll.
LISTENERS = 32


class Step(Protocol):
    """Something to do that takes time."""

    def perform(self) -> Any: ...
    async def aperform(self) -> Any: ...


Steps = Generator[Step, Any, T]

_perform, _aperform = methodcaller("perform"), methodcaller("aperform")


def drive(steps: Steps[T]) -> T:
    """Perform the steps in this thread; what they return or raise."""
    return generators.drive(steps, _perform, RedisAtomicError)


async def adrive(steps: Steps[T]) -> T:
    """See drive()."""
    return await generators.adrive(steps, _aperform, RedisAtomicError)


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
class Listen:
    """
    Sleep on a connection until woken, or for ``seconds`` when the server says nothing.

    NotExecuted where no connection is to be had.
    """

    client: Client
    call: Call[Any]
    seconds: float

    def perform(self) -> Any:
        with _a_seat(), within(self.seconds):
            return run(self.client, self.call)

    async def aperform(self) -> Any:
        with _a_seat():
            return await awaited_within(self.seconds, arun(self.client, self.call))


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
    """Send a signal; a receiver that raises is logged, and that is all."""

    signal: Signal
    sender: Any
    named: dict[str, Any]

    def perform(self) -> None:
        send(self.signal, self.sender, **self.named)

    async def aperform(self) -> None:
        await self.signal.asend_robust(self.sender, **self.named)


@dataclass(slots=True)
class Notify:
    """Call the user's function; what it raises is logged."""

    function: Callable[[Any], Any]
    about: Any

    def perform(self) -> None:
        try:
            result = self.function(self.about)
            if asyncio.iscoroutine(result):
                async_to_sync(_awaited)(result)
        except Exception:
            logger.exception("%r failed for %r", self.function, self.about)

    async def aperform(self) -> None:
        try:
            result = self.function(self.about)
            if asyncio.iscoroutine(result):
                await result
        except Exception:
            logger.exception("%r failed for %r", self.function, self.about)


async def _awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    return await coroutine
