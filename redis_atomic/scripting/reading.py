"""What the rules look at: how a script uses KEYS and ARGV, and what it calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Uses:
    """How a script uses KEYS or ARGV: each number with its line, and lines of other uses."""

    numbers: dict[int, int] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key of a call that is not ``KEYS[n]`` itself.

    ``text`` is what the call says, ``value`` what the text stands for, ``value_line``
    where that is written. ``literal``: a text of the script. ``computed``: put together by it,
    or an argument, or read from Redis. ``local``: a name, of a declared key as far as is known.
    """

    kind: Literal["literal", "computed", "local"]
    text: str
    value: str
    value_line: int


@dataclass(frozen=True, slots=True)
class RedisCall:
    """A call of Redis by this command, in capitals."""

    line: int
    command: str
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A script's text as far as it was understood."""

    keys: Uses
    args: Uses
    calls: list[RedisCall]
    texts: list[str]  # what its strings say
