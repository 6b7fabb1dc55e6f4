"""Operations on the integer at a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..dispatch import operation
from ..scripting import arguments
from ..scripting.arguments import Key, Seconds
from ..scripting.builtin import builtin
from ..scripting.packing import Arg
from ..scripting.script import Call

T = TypeVar("T")


class Increment(NamedTuple):
    """``value`` is the new value, or where it was not applied the unchanged one."""

    applied: bool
    value: int

    def __bool__(self) -> bool:
        return self.applied


class Stored(NamedTuple):
    """``value`` is what the key holds after the call."""

    stored: bool
    value: int

    def __bool__(self) -> bool:
        return self.stored


@operation
def increment(key: Key, amount: int = 1, *, ttl: Seconds | None = None) -> Call[int]:
    """
    Add to the integer at a key (a missing one is 0), and return the new value.

    ``ttl`` is given to the key only where it then has none: a counter that is
    increased again does not live longer. Without it this is a plain INCRBY.
    O(1). IntegerOverflow where the value would leave 64 bits.
    """
    return _add(key, amount, ttl, int)


def _add(key: Key, amount: int, ttl: Seconds | None, parse: Callable[[Any], T]) -> Call[T]:
    keys = (arguments.key("key", key),)
    args = (arguments.integer("amount", amount), *arguments.optional_milliseconds("ttl", ttl))
    return Call(builtin("increment") if ttl is not None else "INCRBY", keys, args, parse)


@operation
def increment_with_max(
    key: Key, amount: int = 1, *, maximum: int, ttl: Seconds | None = None
) -> Call[Increment]:
    """
    Add to the integer at a key, unless that takes it above a maximum.

    Returns ``Increment(applied, value)``; a refused call writes nothing. The
    maximum limits growth only: a value above it can still be decreased. ``ttl``
    as in ``increment``. O(1). IntegerOverflow where it would fall below 64 bits.
    """
    maximum = arguments.integer("maximum", maximum)
    if arguments.integer("amount", amount) <= 0:
        return _add(key, amount, ttl, lambda reply: Increment(True, int(reply)))
    args: tuple[Arg, ...] = (
        amount,
        maximum - amount,
        "",
        *arguments.optional_milliseconds("ttl", ttl),
    )
    return Call(
        builtin("increment_with_max"),
        (arguments.key("key", key),),
        args,
        lambda reply: Increment(bool(reply[0]), int(reply[1])),
    )


@operation
def validated_increment(key: Key, amount: int, *, maximum: int) -> Call[int]:
    """
    Add a positive amount to the integer at a key, and return the new value.

    MaximumExceeded where that would take it above the maximum: nothing is
    written then. ValueError where the amount is not positive. O(1).
    """
    amount = arguments.integer("amount", amount, lowest=1)
    maximum = arguments.integer("maximum", maximum)
    return Call(
        builtin("increment_with_max"),
        (arguments.key("key", key),),
        (amount, maximum - amount, maximum),
        lambda reply: int(reply[1]),
    )


@operation
def set_if_greater(key: Key, value: int, *, ttl: Seconds | None = None) -> Call[Stored]:
    """
    Store an integer if it is greater than the stored one; a missing one is less than any.

    Returns ``Stored(stored, value)``. The key keeps its TTL, or gets ``ttl``
    when the value is stored. O(1).
    """
    value = arguments.integer("value", value)
    return Call(
        builtin("set_if_greater"),
        (arguments.key("key", key),),
        (value, *arguments.optional_milliseconds("ttl", ttl)),
        lambda reply: Stored(True, value) if reply[0] else Stored(False, int(reply[1])),
    )


aincrement = increment.acall
aincrement_with_max = increment_with_max.acall
avalidated_increment = validated_increment.acall
aset_if_greater = set_if_greater.acall
