"""
Ready-made atomic operations.

Each is called as ``increment("hits")``, awaited as ``aincrement("hits")``, built
for a pipeline as ``increment.call("hits")``, and bound to another cache alias or
key version as ``increment.using(cache="stock")``.

*Keys* go through the alias's ``make_key`` (KEY_PREFIX, VERSION) unless they are a
``RawKey``. Integers are shared with Django's cache: ``cache.set("hits", 5)``,
``increment("hits")`` and ``cache.get("hits")`` meet on one key. Text is not:
``cache.set`` pickles it and these functions don't, so keep it in keys of its own.

*Integers* are exact over all signed 64 bits. *Values* are ``str`` (sent as UTF-8),
``bytes`` or ``int`` (decimal), and come back as ``bytes``.

*Times* (``ttl``) are seconds, as int, float or ``timedelta``, kept to the
millisecond. A key's own TTL survives unless the function says otherwise.

*A call that fails has changed nothing.* All of them raise TypeError or ValueError
before anything is sent, WrongType, NotAnInteger and IntegerOverflow with the key,
and NotExecuted or IndeterminateResult when Redis could not be asked or its reply
was lost. Results that are named tuples are true when the thing was done.

The Redis user needs the commands a script calls: GET, SET, DEL, INCRBY, HMGET,
HGET, HINCRBY, HGETALL, HSET, PTTL, PEXPIRE, beside EVALSHA and SCRIPT LOAD.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from .dispatch import operation
from .scripting import arguments
from .scripting.arguments import INT64_MAX, Seconds, Value
from .scripting.builtin import builtin
from .scripting.companion import companion_key
from .scripting.packing import Arg
from .scripting.script import Call, RawKey, as_is

__all__ = [
    "Increment",
    "Stored",
    "Swap",
    "Transfer",
    "acompare_and_swap",
    "aget_and_set",
    "ahash_get_or_create",
    "ahash_increment_multiple",
    "aincrement",
    "aincrement_with_max",
    "aset_if_greater",
    "atransfer",
    "avalidated_increment",
    "compare_and_swap",
    "get_and_set",
    "hash_get_or_create",
    "hash_increment_multiple",
    "increment",
    "increment_with_max",
    "set_if_greater",
    "transfer",
    "validated_increment",
]

Key = str | RawKey
T = TypeVar("T")


class Increment(NamedTuple):
    """``value`` is the new value, or where it was not applied the unchanged one."""

    applied: bool
    value: int

    def __bool__(self) -> bool:
        return self.applied


class Swap(NamedTuple):
    """``current`` is what the key holds after the call, None where it is missing."""

    swapped: bool
    current: bytes | None

    def __bool__(self) -> bool:
        return self.swapped


class Stored(NamedTuple):
    """``value`` is what the key holds after the call."""

    stored: bool
    value: int

    def __bool__(self) -> bool:
        return self.stored


class Transfer(NamedTuple):
    """``source`` and ``destination`` are the balances after the call."""

    moved: bool
    source: int
    destination: int

    def __bool__(self) -> bool:
        return self.moved


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
    args = (arguments.integer("amount", amount), *_optional(ttl))
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
    args: tuple[Arg, ...] = (amount, maximum - amount, "", *_optional(ttl))
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
        (action, before, after or b"", *_optional(ttl)),
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
        (value, *_optional(ttl)),
        lambda reply: Stored(True, value) if reply[0] else Stored(False, int(reply[1])),
    )


@operation
def transfer(
    source: Key,
    destination: Key,
    amount: int,
    *,
    minimum: int = 0,
    request_id: str | None = None,
    request_ttl: Seconds = 86400,
) -> Call[Transfer]:
    """
    Move a positive amount between the integers at two keys, if the source can spare it.

    The source must keep ``minimum`` (negative: an overdraft); otherwise nothing
    moves. Returns ``Transfer(moved, source, destination)``. A missing key is 0.
    IntegerOverflow where the destination would leave 64 bits. O(1).

    A ``request_id`` makes it exactly-once: for ``request_ttl`` seconds, another
    call with this id and source moves nothing and returns the first one's result,
    also a refusal. So after IndeterminateResult ask again with the same id. It
    is kept in a key beside the source; an id that is used again with another
    destination, amount or minimum is a ScriptError with the code REQUESTREUSED.
    """
    keys = [arguments.key("source", source), arguments.key("destination", destination)]
    if source == destination:
        raise ValueError(f"source and destination are the same key: {source!r}.")
    amount = arguments.integer("amount", amount, lowest=1)
    minimum = arguments.integer("minimum", minimum)
    args = [amount, -amount, minimum + amount, INT64_MAX - amount]
    if request_id is not None:
        request_id = arguments.text("request_id", request_id)
        keys.append(companion_key(source, f":transfer:{request_id}"))
        args.append(arguments.milliseconds("request_ttl", request_ttl))
    return Call(builtin("transfer"), tuple(keys), tuple(args), _transfer)


def _transfer(reply: list[Any]) -> Transfer:
    moved, source, destination = map(int, reply)
    return Transfer(bool(moved), source, destination)


@operation
def hash_increment_multiple(
    key: Key, amounts: Mapping[str, int], *, ttl: Seconds | None = None
) -> Call[dict[str, int]]:
    """
    Add to several fields of the hash at a key, to all or to none.

    Returns the new value of each field; a missing one is 0. ``ttl`` as in
    ``increment``, for the whole hash. O(n) in the number of fields given.
    NotAnInteger and IntegerOverflow name the field.
    """
    fields = _fields("amounts", amounts)
    steps = _checked(arguments.integer, "amounts", amounts)
    names = list(amounts)  # the mapping may change before a pipeline is answered
    return Call(
        builtin("hash_increment_multiple"),
        (arguments.key("key", key),),
        (*(_optional(ttl) or (0,)), len(fields), *fields, *steps),
        lambda reply: dict(zip(names, map(int, reply), strict=True)),
    )


@operation
def hash_get_or_create(
    key: Key, defaults: Mapping[str, Value], *, ttl: Seconds | None = None
) -> Call[tuple[dict[str, bytes], bool]]:
    """
    Return the hash at a key; where there is none, create it with these fields.

    Returns ``(fields, created)``, as Django's ``get_or_create`` does. ``ttl`` is
    given to a hash that is created. O(n) in the number of fields. ValueError
    where ``defaults`` is empty: Redis has no empty hashes.
    """
    fields = _fields("defaults", defaults)
    values = _checked(arguments.encoded, "defaults", defaults)
    items = list(chain(*zip(fields, values, strict=True)))
    return Call(
        builtin("hash_get_or_create"),
        (arguments.key("key", key),),
        (*(_optional(ttl) or (0,)), *items),
        lambda reply: (_hash(reply or items), not reply),
    )


def _hash(items: list[bytes]) -> dict[str, bytes]:
    names = [name.decode("utf-8", "surrogateescape") for name in items[::2]]
    return dict(zip(names, items[1::2], strict=True))


def _fields(name: str, mapping: Mapping[str, Any]) -> list[bytes]:
    """The names of the fields of a hash; bytes that are no UTF-8 are surrogates."""
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name} must be a mapping, not {mapping!r}.")
    if not mapping:
        raise ValueError(f"{name} is empty: give at least one field.")
    for field in mapping:
        if not isinstance(field, str):
            raise TypeError(f"{name} has the field {field!r}: fields must be str.")
    fields = [field.encode("utf-8", "surrogateescape") for field in mapping]
    if len(set(fields)) < len(fields):
        raise ValueError(f"{name} has a field twice: two of its names encode to the same bytes.")
    return fields


def _checked(check: Callable[[str, Any], T], name: str, mapping: Mapping[str, Any]) -> list[T]:
    """The values of a mapping, checked; the error names the field as well."""
    try:
        return [check(name, value) for value in mapping.values()]
    except (TypeError, ValueError):
        for field, value in mapping.items():
            check(f"{name}[{field!r}]", value)
        raise


def _optional(ttl: Seconds | None) -> tuple[int, ...]:
    return () if ttl is None else (arguments.milliseconds("ttl", ttl),)


aincrement = increment.acall
aincrement_with_max = increment_with_max.acall
avalidated_increment = validated_increment.acall
acompare_and_swap = compare_and_swap.acall
aget_and_set = get_and_set.acall
aset_if_greater = set_if_greater.acall
atransfer = transfer.acall
ahash_increment_multiple = hash_increment_multiple.acall
ahash_get_or_create = hash_get_or_create.acall
