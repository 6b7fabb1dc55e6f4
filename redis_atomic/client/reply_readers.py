"""
Replies out of bytes as they come, by redis-py's own parsers.

``feed`` takes bytes, ``gets`` returns the next reply, or NOT_ENOUGH_DATA. An error
reply is an exception that is returned. This is what hiredis's reader is like.
"""

from __future__ import annotations

from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser, _HiredisParser
from redis.exceptions import ConnectionError as RedisConnectionError

from .replies import ERROR_REPLIES

try:
    from hiredis import PushNotification
except ImportError:  # no hiredis, or one that makes them plain lists
    PushNotification = ()  # type: ignore[assignment, misc]

__all__ = ["NOT_ENOUGH_DATA", "PushNotification", "hiredis_of", "reader_of"]


def reader_of(connection: Any) -> Any:
    """The reader of this asyncio connection, which nobody else reads from any more."""
    parser = connection._parser
    if isinstance(parser, _AsyncHiredisParser):
        return parser._reader
    return PythonReader(parser, connection._reader)


def hiredis_of(connection: Any) -> Any:
    """The reader of this connection of a thread's, or None if it is not hiredis's."""
    parser = connection._parser
    return parser._reader if isinstance(parser, _HiredisParser) else None


class PythonReader:
    """redis-py's parser in Python, which is a coroutine that reads from a stream."""

    def __init__(self, parser: Any, stream: Any) -> None:
        self._parser = parser
        self._is_broken = False
        self.feed = stream.feed_data

    def gets(self) -> Any:
        if self._is_broken:
            raise RedisConnectionError("What follows an error reply of this kind can't be told.")
        reading = self._parser.read_response()
        try:
            reading.send(None)
        except StopIteration as stop:
            return stop.value
        except ERROR_REPLIES as error:  # raised, wherever in the reply it stands
            self._is_broken = True
            return error
        reading.close()  # it waits for more; it keeps what it has read, as when cancelled
        return NOT_ENOUGH_DATA
