"""Operations on the hash at a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, TypeVar

from ..dispatch import operation
from ..scripting import arguments
from ..scripting.arguments import Key, Seconds, Value
from ..scripting.builtin import builtin
from ..scripting.script import Call

T = TypeVar("T")


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
        (*(arguments.optional_milliseconds("ttl", ttl) or (0,)), len(fields), *fields, *steps),
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
        (*(arguments.optional_milliseconds("ttl", ttl) or (0,)), *items),
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


ahash_increment_multiple = hash_increment_multiple.acall
ahash_get_or_create = hash_get_or_create.acall
