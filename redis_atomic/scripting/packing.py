"""
Calls as bytes, as RESP has them: https://redis.io/docs/latest/develop/reference/protocol-spec/

What never changes of a call, the name and hash of its script and the number of its
words, is packed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import TypeAlias

Arg: TypeAlias = str | bytes | int


class Packed(tuple[Arg, ...]):
    """Arguments that many calls have in common, packed once."""

    @cached_property
    def data(self) -> bytes:
        return words(self)


@lru_cache(maxsize=4096)
def head(command: str, sha: str, keys: int, args: int) -> bytes:
    """The beginning of a call with so many keys and arguments: up to its first key."""
    return b"*%d\r\n%b" % (3 + keys + args, words((command, sha, keys)))


def words(args: Iterable[Arg]) -> bytes:
    """Each of these with its length before it."""
    return b"".join([word(arg) for arg in args])


def word(arg: Arg) -> bytes:
    """One argument, a str as UTF-8 and an int in digits."""
    if not isinstance(arg, bytes):  # and not by str(): of an Enum that is its name
        arg = arg.encode() if isinstance(arg, str) else b"%d" % arg
    return b"$%d\r\n%b\r\n" % (len(arg), arg)


def pack(command: str, sha: str, keys: Sequence[bytes], args: Sequence[Arg]) -> bytes:
    """EVALSHA or EVALSHA_RO of a script with these keys and arguments."""
    tail = args.data if type(args) is Packed else words(args)
    named = b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys])
    return head(command, sha, len(keys), len(args)) + named + tail


def pack_words(command: Sequence[Arg]) -> bytes:
    """Any command, of these words."""
    return b"*%d\r\n%b" % (len(command), words(command))


def pack_all(commands: Iterable[Sequence[Arg]]) -> bytes:
    """Commands that are sent in one write."""
    return b"".join(map(pack_words, commands))


def command_of(packed: bytes) -> str:
    """The first word of what was packed."""
    return packed.split(b"\r\n", 3)[2].decode()
