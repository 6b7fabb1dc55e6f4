"""``Loss``: the event that a lease was lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Generator
from typing import Any


class Loss:
    """
    Whether a lease was lost: an event that threads wait for and tasks await.

    ``is_set()`` looks at the clock by itself, so it is right even where nothing runs
    in the background. ``reason`` says what happened.
    """

    # There is one for each lease, and nearly all are over unseen: what is not asked for is
    # not made. No lock either: who listens is put down first and looks after, what ends it
    # says so first and calls after.
    deadline = math.inf
    reason = ""
    expiry = "its time ran out before it was renewed"
    _closed = False
    _callbacks: list[Callable[[], object]] = []  # noqa: RUF012 - empty, until there is one

    def is_set(self) -> bool:
        """True once the lease is lost. It never becomes false again."""
        if not self.reason and time.monotonic() >= self.deadline:
            self.set(self.expiry)
        return bool(self.reason)

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until the lease is lost or over, at most ``timeout`` seconds."""
        changed = threading.Event()
        self.call_when_over(changed.set)
        end = math.inf if timeout is None else time.monotonic() + timeout
        try:
            while not self.is_set() and not self._closed:
                now = time.monotonic()
                if now >= end:
                    break
                # In pieces: a wait may not be longer than the platform's largest number.
                changed.wait(min(end - now, max(self.deadline - now, 0.0), 3600.0))
        finally:
            self._forget(changed.set)
        return self.is_set()

    def __await__(self) -> Generator[Any, None, bool]:
        return self._until_over().__await__()

    async def _until_over(self) -> bool:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        wake = functools.partial(loop.call_soon_threadsafe, changed.set)
        self.call_when_over(wake)
        try:
            while not self.is_set() and not self._closed:
                left = min(max(self.deadline - time.monotonic(), 0.0), 3600.0)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), left)
        finally:
            self._forget(wake)
        return self.is_set()

    def call_when_over(self, callback: Callable[[], object]) -> None:
        """Call it when the lease is lost or has ended; at once, if that is so already."""
        self.__dict__.setdefault("_callbacks", []).append(callback)
        if self.reason or self._closed:
            self._call_all()

    def _forget(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(ValueError):  # it has been called
            self._callbacks.remove(callback)

    def set(self, reason: str) -> None:
        """Lost, and for good: no later answer brings it back."""
        if not self.reason and not self._closed:
            self.reason = reason
            self._call_all()

    def close(self) -> None:
        """It is over, well unless it was lost by now, and can no longer be lost."""
        self.is_set()
        self._closed = True
        if self._callbacks:
            self._call_all()

    def prolong(self, until: float) -> None:
        """Believe in the lease until then; too late, if it has been lost in the meantime."""
        if not self._closed and time.monotonic() < self.deadline:
            self.deadline = until if self.deadline == math.inf else max(self.deadline, until)

    def first_to_tell(self) -> bool:
        """True for one caller only."""
        me = object()
        return self.__dict__.setdefault("_teller", me) is me

    def _call_all(self) -> None:
        callbacks = self._callbacks
        while callbacks:
            with contextlib.suppress(IndexError):  # another thread was quicker
                _call(callbacks.pop())


def _call(callback: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # its event loop is closed
        callback()
