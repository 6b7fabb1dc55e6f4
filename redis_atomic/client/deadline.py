"""
A time by which a call is over, whatever it takes: connecting, a handshake, a script to load.

A connection's own time-out is for each read, so that a slow server may be given it
many times over. Under a deadline each read gets what is left.
"""

from __future__ import annotations

import threading
from functools import cache
from time import monotonic
from typing import Any

from redis.exceptions import TimeoutError as RedisTimeoutError


class _Deadline(threading.local):
    at: float | None = None  # monotonic


_deadline = _Deadline()


class within:  # noqa: N801 - reads as a statement, as contextlib's own do
    """What this thread asks of punctual connections in the block takes so long at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        _deadline.at = monotonic() + self._seconds

    def __exit__(self, *exc_info: object) -> None:
        _deadline.at = None


@cache
def punctual(connection_class: type) -> type:
    """This class of redis-py's sync connections, made to keep the thread's deadline."""
    return type(f"Punctual{connection_class.__name__}", (_Punctual, connection_class), {})


class _Punctual:
    _sock: Any

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        if _deadline.at is not None and self._sock is not None:
            left = _deadline.at - monotonic()
            if left <= 0:
                self.disconnect()  # type: ignore[attr-defined]
                raise RedisTimeoutError("No time is left to wait for the reply.")
            self._sock.settimeout(left)
        return super().read_response(*args, **kwargs)  # type: ignore[misc]
