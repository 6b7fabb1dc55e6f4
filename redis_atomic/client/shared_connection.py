"""
A connection that many calls of an event loop have under way.

redis-py connects and authenticates; then what comes is handed to an asyncio protocol.
So no task waits for replies: each goes to its caller as it comes, and that of a caller
who has gone is dropped.
"""

from __future__ import annotations

import asyncio
import math
import select
import sys
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..exceptions import IndeterminateResult
from ..scripting.packing import command_of
from .replies import ERROR_REPLIES
from .reply_readers import NOT_ENOUGH_DATA, PushNotification, reader_of
from .travel import is_demoted, lost

if TYPE_CHECKING:
    from .coalescing import Multiplexer

#: Replies that one turn of the loop hands out at most.
MAX_REPLIES = 128

#: Seconds, where the alias sets no time-out: how long to try to connect, and how long a
#: reply may be owed before no more calls join those that wait.
PATIENCE = 5.0

#: Seconds: nobody joins those who wait, once one gave up who had waited for longer.
GRACE = 0.2

#: A packed call, and its reply.
Asked = tuple[bytes, asyncio.Future[Any]]


class SharedConnection(asyncio.Protocol):
    """
    A connection, connected, that hands its replies to those who asked, in order.

    If it is lost or a reply is overdue, all who were sent get IndeterminateResult.
    Where the alias has no time-out they may go on waiting, but nobody joins them.
    """

    def __init__(self, connection: Any, multiplexer: Multiplexer) -> None:
        self.connection = connection
        self.is_full = False
        self._multiplexer = multiplexer
        self._loop = multiplexer.loop
        self._sent: deque[tuple[float, bytes, asyncio.Future[Any]]] = deque()
        self._last_write = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._is_retired = self._is_closed = False
        self._replies = reader_of(connection)
        self._transport = connection._writer.transport
        self._stream = self._transport.get_protocol()
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._readable = poll.poll

    def take_over(self) -> None:
        """From now on what comes is ours; ConnectionError if nothing will."""
        stream = self.connection._reader
        rest = bytes(stream._buffer)
        stream._buffer.clear()
        if stream.at_eof() or self._transport.is_closing():
            raise RedisConnectionError(f"The server closed the connection: {rest!r:.100}.")
        self._transport.set_protocol(self)
        if rest:
            self.data_received(rest)

    def is_usable(self) -> bool:
        """Whether more calls may be written."""
        return not (self._is_retired or self._transport.is_closing() or self._is_doubtful())

    def _is_doubtful(self) -> bool:
        """
        Whether a new connection is the better one.

        Somebody waited for long and gave up; or it was idle for so long that redis-py
        would send a PING.
        """
        now = self._loop.time()
        if self._sent:
            old = takewhile(lambda sent: sent[0] + GRACE < now, self._sent)
            return any(reply.done() for _, _, reply in old)
        interval: float = self.connection.health_check_interval
        return bool(interval) and now >= self._last_write + interval

    def has_news(self) -> bool:
        """Whether there is something to read though nothing was asked: as a rule its end."""
        return not self._sent and bool(self._readable(0))

    def write(self, batch: list[Asked]) -> None:
        """Send these calls, at once."""
        self._last_write = now = self._loop.time()
        self._sent.extend([(now, *asked) for asked in batch])
        if self._timer is None:
            self._watch()
        self._transport.write(b"".join([packed for packed, _ in batch]))

    def _watch(self) -> None:
        """See to it that no reply is overdue; again when the next one would be."""
        self._timer = None
        if not self._sent:
            return
        now, timeout = self._loop.time(), self.connection.socket_timeout
        due = self._sent[0][0] + (timeout or PATIENCE)
        if now >= due and timeout:
            self._close(RedisTimeoutError("No reply came in time."))
        elif now >= due:
            self.retire()
            self._multiplexer.schedule()  # those who wait to be sent go over another connection
            due = now + PATIENCE
        if not self._is_closed:
            self._timer = self._loop.call_at(due, self._watch)

    def retire(self) -> None:
        """Take no more calls, and close when nobody waits for a reply."""
        self._is_retired = True
        if all(reply.done() for _, _, reply in self._sent):
            self._close(RedisConnectionError("The connection is not used any more."))

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        self._read(MAX_REPLIES)

    def _read(self, count: int) -> None:
        """Hand out so many replies at most; the next ones when others have had their turn."""
        for _ in range(count):
            try:
                reply = NOT_ENOUGH_DATA if self._is_closed else self._replies.gets()
            except Exception as error:  # noqa: BLE001 - whatever a parser makes of what came
                self._close(error)
                return
            if reply is NOT_ENOUGH_DATA:
                return
            if not isinstance(reply, PushNotification):
                self._answer(reply)
        self._loop.call_soon(self._read, count)

    def _answer(self, reply: Any) -> None:
        if isinstance(reply, RedisError) and not isinstance(reply, ERROR_REPLIES):
            self._close(reply)  # the server won't talk to us: too many clients
            return
        if not self._sent:
            self._close(RedisConnectionError(f"A reply that nobody asked for: {reply!r:.100}"))
            return
        _, _, future = self._sent.popleft()
        if not future.done():
            future.set_result(reply)
        if self._is_retired or is_demoted(reply):
            self.retire()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._multiplexer.schedule()

    def eof_received(self) -> None:
        self._lose(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(error)
        self._stream.connection_lost(error)

    def _lose(self, error: Exception | None) -> None:
        self._read(sys.maxsize)  # what has come before the end
        self._close(error or RedisConnectionError("The server closed the connection."))

    def _close(self, error: Exception) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for _, packed, reply in self._sent:
            failure = lost(self._multiplexer.server, command_of(packed), error)
            fail(reply, IndeterminateResult(failure), error)
        self._transport.abort()
        self.connection._close()
        if self._last_write == math.inf:
            self._multiplexer.refuse(error)  # else we might connect for ever
        self._multiplexer.forget(self)


def fail(reply: asyncio.Future[Any], failure: Exception, cause: BaseException) -> None:
    """Let whoever waits for this reply have an exception instead."""
    if not reply.done():
        failure.__cause__ = cause
        reply.set_exception(failure)
