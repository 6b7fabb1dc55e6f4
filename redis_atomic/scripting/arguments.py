"""What may be sent: arguments checked, and turned into what is on the wire."""

from __future__ import annotations

from datetime import timedelta

from .script import Key as AnyKey
from .script import PrefixedKey, RawKey

Key = str | RawKey  # as projects write them
Seconds = int | float | timedelta
Value = str | bytes | int

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


def key(name: str, value: AnyKey) -> AnyKey:
    """A key; TypeError otherwise."""
    if not isinstance(value, (str, RawKey, PrefixedKey)):
        raise TypeError(f"{name} must be a str or a RawKey, not {value!r}.")
    return value


def integer(name: str, value: int, lowest: int = INT64_MIN, highest: int = INT64_MAX) -> int:
    """An int from lowest to highest; TypeError (bool and float, too) or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}.")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be from {lowest} to {highest}, not {value}.")
    return int(value)  # a subclass may print itself otherwise


def text(name: str, value: object) -> str:
    """A str that is not empty; TypeError or ValueError otherwise."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}.")
    if not value:
        raise ValueError(f"{name} is empty.")
    return value


def encoded(name: str, value: Value) -> bytes:
    """Text as UTF-8, an int as decimal, bytes as they are; TypeError otherwise."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} cannot be encoded as UTF-8: {error}.") from error
    return b"%d" % _plain_int(name, value)


def _plain_int(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a str, bytes or an int, not {value!r}.")
    return value


def milliseconds(name: str, value: Seconds) -> int:
    """
    A time in seconds or a timedelta, to the nearest millisecond.

    TypeError for other types (bool, too), ValueError for what is not from one
    millisecond to 2**53 - 1 of them: NaN and infinity, zero, negative.
    """
    if isinstance(value, timedelta):
        result = round(value / timedelta(milliseconds=1))
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds (int or float) or a timedelta, not {value!r}.")
    else:
        result = round(value * 1000) if 0 < value < 2**53 else 0
    if not 1 <= result < 2**53:
        raise ValueError(
            f"{name} must be from a millisecond to 2**53 - 1 of them, not {value!r} seconds."
        )
    return result


def optional_milliseconds(name: str, value: Seconds | None) -> tuple[int, ...]:
    """The milliseconds() as the last arguments of a call: none where no time is given."""
    return () if value is None else (milliseconds(name, value),)
