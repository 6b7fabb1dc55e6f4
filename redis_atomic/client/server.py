"""
One server, and our connections to it.

A pool serves all threads of the process; each event loop has one of its own, and a
connection that its script calls share.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from .coalescing import Multiplexer, is_possible
from .pools import async_pool, close_async_pool
from .trips import Command, Trips


def netloc(host: str, port: int) -> str:
    """The address as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Server:
    """
    One server, and our connections to it: a pool for threads, one for each event loop.

    ``make_pool`` makes the threads' pool, at its first use; ``where`` is how errors
    name the server.
    """

    def __init__(self, where: str, make_pool: Callable[[], Any]) -> None:
        self.where = where
        self._make_pool = make_pool
        self._lock = threading.RLock()
        _servers.add(self)
        self._pool: Any = None
        self._apools: dict[asyncio.AbstractEventLoop, _OnLoop] = {}

    @property
    def pool(self) -> Any:  # redis-py's pools are not annotated
        """The pool of the threads of this process; it survives a fork."""
        if self._pool is None:
            with self._lock:
                if self._pool is None:
                    self._pool = self._make_pool()
        return self._pool

    async def apool(self) -> Any:
        """The pool of the running event loop; it closes when the loop shuts down."""
        return (await self._on_loop()).pool

    async def multiplexer(self) -> Multiplexer | None:
        """What the script calls of the running event loop share; None where they can't."""
        return (await self._on_loop()).multiplexer

    async def _on_loop(self) -> _OnLoop:
        loop = asyncio.get_running_loop()
        entry = self._apools.get(loop)
        if entry is None:
            with self._lock:
                for other in [known for known in self._apools if known.is_closed()]:
                    del self._apools[other]
                entry = self._apools[loop] = _OnLoop(self)
            await entry.close_with_loop()
        return entry

    async def aclose(self) -> None:
        """Close the connections of the running event loop, before its end."""
        await (await self._on_loop()).aclose()

    def send(self, commands: Sequence[Command]) -> Trips[list[Any]]:
        """The one trip to a server that is alone."""
        return (yield self, commands, 0.0)

    def renew_after_fork(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """Disconnect the threads' pool. Pools of event loops end with their loops."""
        if self._pool is not None:
            self._pool.disconnect()


class _OnLoop:
    """
    The connections of an event loop to a server, closed when the loop shuts down.

    ``asyncio.run`` and ``async_to_sync`` close all asynchronous generators
    before they close the loop: the one natural end there is, so we hold one.
    """

    def __init__(self, server: Server) -> None:
        self.pool = async_pool(server.pool)
        self.multiplexer = Multiplexer(server, self.pool) if is_possible(self.pool) else None
        self._generator = self._hold()

    async def _hold(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.aclose()

    async def close_with_loop(self) -> None:
        await anext(self._generator)

    async def aclose(self) -> None:
        if self.multiplexer is not None:
            await self.multiplexer.aclose()
        await close_async_pool(self.pool)


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for server in list(_servers):
        server.renew_after_fork()


os.register_at_fork(after_in_child=_renew_after_fork)
