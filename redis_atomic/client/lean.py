"""
The lean call: one write and one read on a connection that the thread has at hand.

To check a connection out of redis-py's pool and in again takes as long as all else
that a client does for a call. So a thread keeps the one it used, for ``TENURE``
seconds at a time: then the pool gets it back and does with it what it does at each
check-out, such as authenticating anew.

Only what goes well is done here. Any other outcome is handed to the ordinary path,
which takes it for that of its own first trip (``execution.run``).
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from os import getpid
from ssl import SSLSocket
from time import monotonic
from typing import Any

import redis.connection
import redis.sentinel
from django_redis.client import DefaultClient, SentinelClient
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..conf import conf
from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.packing import command_of
from .deadline import is_pressing, time_left, within_at_most
from .kernel import let_kernel_wait, notices_closing, was_received
from .replies import ERROR_REPLIES
from .reply_readers import NOT_ENOUGH_DATA, hiredis_of
from .server import Server
from .travel import LOSSES, check_out, is_demoted, lost, unreachable

#: Seconds for which a thread keeps a connection before the pool sees it again.
TENURE = 1.0

READ_SIZE = 65_536  # bytes

#: A reply that takes longer (microseconds) is waited for by poll(), however long it may take.
MOMENT = 5_000

#: What a reply is made of; anything else is an error, a push message, or not all of it.
PLAIN = frozenset({bool, bytes, dict, float, int, list, set, str, type(None)})

#: What is known to have connections that may stay with a thread.
CLIENTS = frozenset({DefaultClient, SentinelClient})
POOLS = frozenset(
    {
        redis.connection.ConnectionPool,
        redis.connection.BlockingConnectionPool,
        redis.sentinel.SentinelConnectionPool,
    }
)


def is_possible(cache_client: Any, pool: Any) -> bool:
    """Whether the pool's connections may stay with threads: not where anything is custom-made."""
    return (
        conf.LEAN_CALLS
        and type(cache_client) in CLIENTS
        and type(pool) in POOLS
        and getattr(pool, "cache", None) is None
        and hasattr(select, "poll")
        and hasattr(socket, "MSG_DONTWAIT")
    )


class Lean:
    """
    The connections that threads keep to one server.

    Half of the pool's connections are kept at most: other threads take one from the
    pool for each call. ``budget`` (seconds) is for connecting and asking together.
    """

    def __init__(self, server: Server, budget: float | None = None) -> None:
        self._server = server
        self._budget = budget
        self._thread = _Thread()
        self._kept: set[int] = set()

    def ask(self, packed: bytes) -> Any:
        """
        The reply to a packed call, an error reply too.

        Raises NotExecuted while nothing has been sent, IndeterminateResult after.
        """
        thread = self._thread
        # None while it is in use: a signal handler's call that comes between takes another.
        kept, thread.kept = thread.kept, None
        if kept is not None:
            if kept.is_usable():
                try:
                    return self._exchange(kept, packed)
                except NotExecuted:
                    pass  # closed since its last call: as the pool does, go on with another
            kept.give_back()
        with within_at_most(self._budget):
            fresh = _Kept(self._server.pool, check_out(self._server), self._kept)
            return self._exchange(fresh, packed)

    def _exchange(self, kept: _Kept, packed: bytes) -> Any:
        try:
            reply = kept.exchange(packed)
        except ERROR_REPLIES as error:
            reply = error.with_traceback(None)  # which would keep this frame, and so the connection
            if is_demoted(error):
                kept.connection.disconnect()  # look for the new one
        except BaseException as error:
            kept.connection.disconnect()  # it may hold a reply that nobody will read
            kept.give_back()
            if isinstance(error, Unreceived):
                raise NotExecuted(unreachable(self._server, error)) from error
            if isinstance(error, LOSSES):
                raise IndeterminateResult(lost(self._server, command_of(packed), error)) from error
            raise
        if kept.stays and self._thread.kept is None:
            self._thread.kept = kept
        else:
            kept.give_back()
        return reply


class Unreceived(ConnectionError):
    """The server had closed the connection before anything of the call reached it."""


class _Thread(threading.local):
    kept: _Kept | None = None


class _Kept:
    """A connection out of the pool, which gets it back when the thread ends at the latest."""

    def __init__(self, pool: Any, connection: Any, others: set[int]) -> None:
        self.connection = connection
        self._pool = pool
        self._process = getpid()
        self._until = monotonic() + TENURE
        self._socket = connection._sock
        # Readable before anything was asked: closed by the server.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        self._readable = poll.poll
        self._timeout = self._socket.gettimeout()
        self._reader = None if isinstance(self._socket, SSLSocket) else hiredis_of(connection)
        self._notices_closing = self._reader is not None and notices_closing(self._socket)
        if self._reader is not None:
            self._leave_to_kernel()
        self._others = others
        others.add(id(self))
        self.stays = len(others) <= pool.max_connections // 2
        if not self.stays:
            others.discard(id(self))

    def is_usable(self) -> bool:
        return (
            monotonic() < self._until
            and self.connection._sock is self._socket  # nobody has closed it
            and self._process == getpid()  # servers in C fork without telling Python
            and (self._notices_closing or not self._readable(0))
        )

    def exchange(self, packed: bytes) -> Any:
        """One write and one read; whatever is not a whole reply then is left to redis-py."""
        reader = self._reader
        if reader is None:
            self.connection.send_packed_command((packed,), check_health=False)
            return self.connection.read_response()
        try:
            sent = self._socket.send(packed, socket.MSG_DONTWAIT)
        except ConnectionError as error:
            raise Unreceived(str(error)) from error
        if sent < len(packed):
            with self._waiting():
                self._socket.sendall(packed[sent:])
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            data = self._awaited()
        reader.feed(data)
        reply = reader.gets()
        if type(reply) in PLAIN:
            return reply
        if isinstance(reply, Exception):
            raise reply
        ended = not data and self.connection._sock is self._socket  # and not by another thread
        if ended and not was_received(self._socket, len(packed)):
            raise Unreceived("Connection closed by server.")
        with self._waiting():
            if reply is not NOT_ENOUGH_DATA:
                self.connection._parser.handle_push_response(reply)
            return self.connection.read_response()

    def _awaited(self) -> Any:
        """What comes later than in a moment: until the time-out, or the thread's deadline."""
        patience = time_left() if is_pressing(self.connection) else self._timeout
        if not self._readable(None if patience is None else ceil(1000 * patience)):
            raise RedisTimeoutError("timed out")
        return self._socket.recv(READ_SIZE)

    def _leave_to_kernel(self) -> None:
        """
        Let the kernel wait for what is read.

        Python would poll before each read and write of a socket that has a time-out,
        which takes longer. But each signal begins the kernel's time-out anew, so it waits
        for a moment only. Where it does not wait at all, nor does the socket.
        """
        waits = let_kernel_wait(self._socket, MOMENT)
        self._socket.settimeout(None if waits else 0)

    def _leave_to_python(self) -> None:
        """Let the socket wait as redis-py wants it to."""
        self._socket.settimeout(self._timeout)
        let_kernel_wait(self._socket, 0)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """In this block the socket waits by itself, as redis-py's do."""
        self._leave_to_python()
        try:
            yield
        finally:
            if self.connection._sock is self._socket:
                self._leave_to_kernel()

    def give_back(self) -> None:
        """Let the pool have the connection; in a fork it is the parent's, and only closed."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._others.discard(id(self))
            if self._process == getpid():
                if self.connection._sock is self._socket and self._reader is not None:
                    self._leave_to_python()
                pool.release(self.connection)
            else:
                self.connection.disconnect()

    def __del__(self) -> None:
        self.give_back()
