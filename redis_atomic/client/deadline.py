"""
A time by which a call is over, whatever it takes: connecting, a handshake, a script to load.

A connection's own time-out is for each read, so that a slow server may be given it
many times over. Under a deadline each read gets what is left.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from math import inf
from time import monotonic
from typing import Any, TypeVar

from redis.exceptions import TimeoutError as RedisTimeoutError

from ..exceptions import IndeterminateResult

T = TypeVar("T")

#: To change a socket's time-out takes as long as to ask it for a reply: it is left as it
#: is while at least this part of it is left.
NEARLY = 0.95


class _Deadline(threading.local):
    at: float | None = None  # monotonic


_deadline = _Deadline()


def begin(seconds: float) -> float | None:
    """What this thread asks of punctual connections is over by then; returns what end() takes."""
    outer, _deadline.at = _deadline.at, monotonic() + seconds
    return outer


def end(outer: float | None) -> None:
    """The deadline that was there before begin() holds again."""
    _deadline.at = outer  # a finalizer may have interrupted another's block


class within:  # noqa: N801 - reads as a statement, as contextlib's own do
    """What this thread asks of punctual connections in the block takes so long at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._outer: float | None = None

    def __enter__(self) -> None:
        self._outer = begin(self._seconds)

    def __exit__(self, *exc_info: object) -> None:
        end(self._outer)


def within_at_most(seconds: float | None) -> AbstractContextManager[None]:
    """within(), where no deadline is set already; None: no time is too long."""
    return nullcontext() if seconds is None or _deadline.at is not None else within(seconds)


async def awaited_within(seconds: float, awaitable: Awaitable[T]) -> T:
    """What it returns; IndeterminateResult if that takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError as error:
        raise IndeterminateResult(f"Redis did not answer within {seconds:.2f} s.") from error


@cache
def punctual(connection_class: type) -> type:
    """This class of redis-py's sync connections, made to keep the thread's deadline."""
    return type(f"Punctual{connection_class.__name__}", (_Punctual, connection_class), {})


def is_pressing(connection: Any) -> bool:
    """Whether the thread's deadline leaves this connection less time than its own time-out."""
    return (
        _deadline.at is not None
        and isinstance(connection, _Punctual)
        and _deadline.at - monotonic() < NEARLY * connection.socket_timeout
    )


def time_left() -> float:
    """Seconds until the thread's deadline, infinity where it has none; TimeoutError after it."""
    left = inf if _deadline.at is None else _deadline.at - monotonic()
    if left <= 0:
        raise RedisTimeoutError("No time is left to wait for the reply.")
    return left


class _Punctual:
    _sock: Any
    socket_timeout: float
    socket_connect_timeout: float

    def _connect(self) -> Any:
        configured = self.socket_connect_timeout
        self.socket_connect_timeout = min(configured, time_left())
        try:
            return super()._connect()  # type: ignore[misc]
        finally:
            self.socket_connect_timeout = configured

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        if self._sock is None or not is_pressing(self):
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        try:
            self._sock.settimeout(min(self.socket_timeout, time_left()))
        except RedisTimeoutError:
            self.disconnect()  # type: ignore[attr-defined]
            raise
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        finally:
            if self._sock is not None:
                self._sock.settimeout(self.socket_timeout)
