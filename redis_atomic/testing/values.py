"""What a key holds, as Python: to plant it before a test and to read it after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..scripting.arguments import Seconds, Value, encoded, milliseconds

#: A redis.Redis. Its annotations mix the replies of the sync and the asyncio client.
Server = Any


class SortedSet(dict[Value, float]):
    """A sorted set, as members and scores; a plain dict is a hash."""


@dataclass(frozen=True, slots=True)
class Expiring:
    """A value that a key holds for ``ttl`` seconds: ``{"hits": Expiring(5, ttl=60)}``."""

    value: Any
    ttl: Seconds


class Entry(NamedTuple):
    """What a key holds, and when it expires: seconds of the server's clock, None for never."""

    value: Any
    expires_at: float | None

    def is_like(self, other: Entry) -> bool:
        """Equal, up to the second or so that two readings of one expiry may differ."""
        if self.value != other.value:
            return False
        if self.expires_at is None or other.expires_at is None:
            return self.expires_at is other.expires_at
        return abs(self.expires_at - other.expires_at) < 1.5


def plant(server: Server, key: bytes, value: Any) -> None:
    """
    Make a key hold a value: str, bytes, int; list; set; dict (hash); SortedSet; Expiring.

    None leaves it missing. TypeError for anything else, ValueError for an empty
    collection: Redis has none.
    """
    if isinstance(value, Expiring):
        plant(server, key, value.value)
        server.pexpire(key, milliseconds("ttl", value.ttl))
        return
    server.delete(key)
    value = comparable(value)
    if value is None:
        return
    if not value and not isinstance(value, bytes):
        raise ValueError(f"{key!r} cannot hold {value!r}: Redis has no empty collections.")
    if isinstance(value, bytes):
        server.set(key, value)
    elif isinstance(value, list):
        server.rpush(key, *value)
    elif isinstance(value, set):
        server.sadd(key, *value)
    elif isinstance(value, SortedSet):
        server.zadd(key, value)
    else:
        server.hset(key, mapping=value)


def read(server: Server, key: bytes) -> Any:
    """What a key holds, in bytes; None where it is missing, a stream as its DUMP."""
    kind = server.type(key)
    if kind == b"none":
        return None
    if kind == b"string":
        return server.get(key)
    if kind == b"list":
        return server.lrange(key, 0, -1)
    if kind == b"set":
        return set(server.smembers(key))
    if kind == b"hash":
        return server.hgetall(key)
    if kind == b"zset":
        return SortedSet(server.zrange(key, 0, -1, withscores=True))
    return server.dump(key)


def read_entry(server: Server, key: bytes) -> Entry:
    with server.pipeline(transaction=True) as pipeline:
        (seconds, microseconds), ttl = pipeline.time().pttl(key).execute()
    expires_at = seconds + microseconds / 1e6 + ttl / 1e3 if ttl >= 0 else None
    return Entry(read(server, key), expires_at)


def comparable(value: Any) -> Any:
    """A planted or expected value in the form in which ``read`` returns it."""
    if value is None:
        return None
    if isinstance(value, SortedSet):
        return SortedSet({_bytes(member): float(score) for member, score in value.items()})
    if isinstance(value, Mapping):
        return {_bytes(field): _bytes(member) for field, member in value.items()}
    if isinstance(value, (set, frozenset)):
        return {_bytes(member) for member in value}
    if isinstance(value, (list, tuple)):
        return [_bytes(member) for member in value]
    return _bytes(value)


def _bytes(value: Any) -> bytes:
    return encoded("a key's value", value)
