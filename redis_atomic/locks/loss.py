"""``Loss``: the event that a lease was lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
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

    def __init__(self) -> None:
        self.deadline = float("inf")
        self.reason = ""
        self.expiry = "its time ran out before it was renewed"
        self._closed = False
        self._told = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        """True once the lease is lost. It never becomes false again."""
        if not self.reason and time.monotonic() >= self.deadline:
            self.set(self.expiry)
        return bool(self.reason)

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until the lease is lost or over, at most ``timeout`` seconds."""
        changed = threading.Event()
        self.call_when_over(changed.set)
        end = float("inf") if timeout is None else time.monotonic() + timeout
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
        with self._lock:
            if not self.reason and not self._closed:
                self._callbacks.append(callback)
                return
        callback()

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock, contextlib.suppress(ValueError):  # it has been called
            self._callbacks.remove(callback)

    def set(self, reason: str) -> None:
        """Lost, and for good: no later answer brings it back."""
        with self._lock:
            if self.reason or self._closed:
                return
            self.reason = reason
            callbacks = self._take_callbacks()
        _call_all(callbacks)

    def close(self) -> None:
        """It is over and can no longer be lost."""
        with self._lock:
            self._closed = True
            self.deadline = float("inf")
            callbacks = self._take_callbacks()
        _call_all(callbacks)

    def prolong(self, until: float) -> None:
        """Believe in the lease until then; too late, if it has been lost in the meantime."""
        with self._lock:
            if not self._closed and time.monotonic() < self.deadline:
                self.deadline = (
                    until if self.deadline == float("inf") else max(self.deadline, until)
                )

    def first_to_tell(self) -> bool:
        """True for one caller only."""
        with self._lock:
            told, self._told = self._told, True
        return not told

    def _take_callbacks(self) -> list[Callable[[], object]]:
        callbacks, self._callbacks = self._callbacks, []
        return callbacks


def _call_all(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        with contextlib.suppress(RuntimeError):  # its event loop is closed
            callback()
