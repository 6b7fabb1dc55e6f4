"""
Calls of one event loop that share a connection: what is asked in one turn is two writes.

The server works on the first half while the callers of the second are still asking.
Only what goes well is done here, as in ``lean``; any other outcome goes on along the
ordinary path. And nothing that blocks goes here: a server answers the calls of one connection
one after another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from redis.credentials import StreamingCredentialProvider
from redis.exceptions import RedisError

from ..exceptions import NotExecuted
from ..scripting.packing import pack_words
from .shared_connection import PATIENCE, Asked, SharedConnection, fail
from .travel import unreachable

if TYPE_CHECKING:
    from .server import Server
    from .trips import Command

#: What one turn of the loop writes at most: calls and bytes.
MAX_CALLS, MAX_BYTES = 128, 65_536

#: Calls that are worth a write of their own.
MIN_CALLS = 4


def is_possible(pool: Any) -> bool:
    """Whether connections as of this pool may be shared."""
    # With such credentials a pool authenticates each connection anew as it comes back.
    provider = pool.connection_kwargs.get("credential_provider")
    return not isinstance(provider, StreamingCredentialProvider)


class Multiplexer:
    """
    The calls of the running event loop to one server, and the connection they share.

    It connects as the pool does, but its connection is not one of the pool.
    """

    def __init__(self, server: Server, pool: Any) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self._pool = pool
        self._context = Context()  # what is done for all is done in no caller's
        self._waiting: deque[Asked] = deque()
        self._is_scheduled = False
        self._asked = 0  # in this turn
        self._half = MIN_CALLS  # of what was asked in the last turn
        self._connecting: asyncio.Task[None] | None = None
        self._connection: SharedConnection | None = None
        self._open: set[SharedConnection] = set()

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """
        The reply to a packed call, an error reply too.

        It raises NotExecuted while nothing has been sent, IndeterminateResult after.
        What is cancelled before it was sent never is.
        """
        reply = self.loop.create_future()
        self._waiting.append((packed, reply))
        self._asked += 1
        self.schedule()
        if self._asked == self._half:
            self._context.run(self._write)
        return reply

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """ask() all of these, which must not block; the replies."""
        return await asyncio.gather(*[self.ask(pack_words(command)) for command in commands])

    def schedule(self) -> None:
        """Write what waits, when all who are ready now have asked."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._end_turn, context=self._context)

    def _end_turn(self) -> None:
        self._is_scheduled = False
        self._half, self._asked = max(MIN_CALLS, self._asked // 2), 0
        if self._waiting:
            self._write()

    def _write(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_usable():
            self._start_connecting()
        elif connection.has_news():
            self.schedule()  # when the loop has read it: the server may have closed
        elif not connection.is_full:
            if batch := self._take():
                connection.write(batch)
            if self._waiting:
                self.schedule()

    def _take(self) -> list[Asked]:
        """The next calls that somebody waits for, as many as go into one write."""
        batch: list[Asked] = []
        size = 0
        while self._waiting and len(batch) < MAX_CALLS and size < MAX_BYTES:
            packed, reply = self._waiting.popleft()
            if not reply.done():
                batch.append((packed, reply))
                size += len(packed)
        return batch

    def _start_connecting(self) -> None:
        is_connecting = self._connecting is not None and not self._connecting.done()
        if not is_connecting and not all(reply.done() for _, reply in self._waiting):
            self._connecting = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._use(await self._connected())
        except BaseException as error:
            self.refuse(error)
            if not isinstance(error, Exception):
                raise
        self.schedule()

    async def _connected(self) -> SharedConnection:
        connection = self._pool.make_connection()
        patience = max(PATIENCE, connection.socket_connect_timeout or 0)
        try:
            async with asyncio.timeout(None if connection.socket_timeout else patience):
                await connection.connect()
            shared = SharedConnection(connection, self)
            shared.take_over()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return shared

    def _use(self, connection: SharedConnection) -> None:
        former, self._connection = self._connection, connection
        self._open.add(connection)
        if former is not None:
            former.retire()

    def refuse(self, error: BaseException) -> None:
        """Tell all who wait that Redis can't be reached."""
        while self._waiting:
            _, reply = self._waiting.popleft()
            fail(reply, NotExecuted(unreachable(self.server, error)), error)

    def forget(self, connection: SharedConnection) -> None:
        """It is closed; who still waits has to have another."""
        self._open.discard(connection)
        if self._waiting:
            self.schedule()

    async def aclose(self) -> None:
        """Close what is open, as the loop is about to end."""
        for each in list(self._open):
            with suppress(RedisError, OSError):
                await each.connection.disconnect()
