"""Several servers that make one: what each of them says, and when they agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

from .server import START_TIMEOUT, EmbeddedServer


def ask(server: EmbeddedServer, command: str, *args: Any) -> Any:
    """The reply of this very server to one command."""
    with redis.Redis.from_url(server.url, socket_timeout=5) as client:
        return client.execute_command(command, *args)


def wait_until(holds: Callable[[], bool], timeout: float = 2 * START_TIMEOUT) -> None:
    """Wait until the condition holds; TimeoutError after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while True:
        with suppress(redis.RedisError, OSError):
            if holds():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"This did not come to pass within {timeout} s.")
        time.sleep(0.02)
