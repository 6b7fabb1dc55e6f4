"""Operations on the value at a key, whatever it is."""

from __future__ import annotations

from typing import NamedTuple

from ..dispatch import operation
from ..scripting import arguments
from ..scripting.arguments import Key, Seconds, Value
from ..scripting.builtin import builtin
from ..scripting.script import Call, as_is


class Swap(NamedTuple):
    """``current`` is what the key holds after the call, None where it is missing."""

    swapped: bool
    current: bytes | None

    def __bool__(self) -> bool:
        return self.swapped


@operation
def compare_and_swap(
    key: Key, expected: Value | None, new: Value | None, *, ttl: Seconds | None = None
) -> Call[Swap]:
    """
    Replace the value at a key if it is, byte for byte, the expected one.

    ``expected=None``: the key must not exist. ``new=None``: it is deleted. Both
    None is a ValueError, as there is nothing to do. Returns ``Swap(swapped,
    current)``. The key keeps its TTL, or gets ``ttl`` when it is swapped. O(1).
    """
    if expected is None and new is None:
        raise ValueError("expected and new are both None: there is nothing to swap.")
    if new is None and ttl is not None:
        raise ValueError("ttl is given, but new=None deletes the key.")
    action = "create" if expected is None else "delete" if new is None else "swap"
    before = b"" if expected is None else arguments.encoded("expected", expected)
    after = None if new is None else arguments.encoded("new", new)
    return Call(
        builtin("compare_and_swap"),
        (arguments.key("key", key),),
        (action, before, after or b"", *arguments.optional_milliseconds("ttl", ttl)),
        lambda reply: Swap(False, reply[1]) if not reply[0] else Swap(True, after),
    )


@operation
def get_and_set(key: Key, value: Value, *, ttl: Seconds) -> Call[bytes | None]:
    """
    Set a key for ``ttl`` seconds, and return its old value (None: there was none).

    One plain ``SET … PX … GET``. O(1). WrongType where the key holds no string.
    """
    args = (arguments.encoded("value", value), "PX", arguments.milliseconds("ttl", ttl), "GET")
    return Call("SET", (arguments.key("key", key),), args, as_is)


acompare_and_swap = compare_and_swap.acall
aget_and_set = get_and_set.acall
