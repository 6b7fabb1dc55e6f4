"""The values that a lock is defined with: checked when it is defined, not when it fails."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, TypeVar

from django.core.signals import setting_changed

from ..conf import conf

T = TypeVar("T")

Seconds = float | timedelta


class Forever(Enum):
    """The type of FOREVER."""

    FOREVER = "for ever"


class FromSettings(Enum):
    """The type of FROM_SETTINGS."""

    FROM_SETTINGS = "as the settings say"


#: ``wait=FOREVER``: there is no other way to wait without an end.
FOREVER = Forever.FOREVER

#: The value is read from the settings, each time it is needed.
FROM_SETTINGS = FromSettings.FROM_SETTINGS

#: A lease of a shorter TTL (seconds) would end before its renewal could be answered.
SHORTEST_TTL = 0.1

#: How many TTLs a lease is renewed for at most, unless ``max_hold`` says otherwise.
MAX_HOLD_TTLS = 20

#: Scripts count milliseconds, exactly up to here (seconds).
LONGEST = (2**53 - 1) / 1000


def seconds(name: str, value: Seconds, *, minimum: float = 0.0) -> float:
    """
    A time above 0 and up to LONGEST as a float.

    TypeError or ValueError naming the argument if it is none.
    """
    time = _number(name, value)
    if not minimum <= time <= LONGEST or time == 0:
        least = f"at least {minimum:g}" if minimum else "more than 0"
        raise ValueError(
            f"{name} must be a finite number of seconds, {least} and at most {LONGEST:g}, "
            f"not {time:g}."
        )
    return time


def patience(name: str, value: Seconds | Forever) -> float:
    """How long to wait (seconds): 0.0 for one try, infinity for ever."""
    if isinstance(value, Forever):
        return math.inf
    time = _number(name, value, hint=" For one try give 0, to wait without an end FOREVER.")
    if not 0 <= time <= LONGEST:
        raise ValueError(
            f"{name} must be 0, a finite number of seconds (at most {LONGEST:g}) or FOREVER, "
            f"not {time:g}."
        )
    return time


def _number(name: str, value: Seconds, hint: str = "") -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds (a number) or a timedelta, not {value!r}.{hint}")
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf


def from_settings_or(
    check: Callable[..., float], name: str, value: Any, **limits: float
) -> float | FromSettings:
    """The checked value, or FROM_SETTINGS left as it is."""
    return value if isinstance(value, FromSettings) else check(name, value, **limits)


def one_of(name: str, value: T, *known: T) -> T:
    """The value, if it is one of these; ValueError otherwise."""
    if value not in known:
        choices = " or ".join(repr(each) for each in known if not isinstance(each, FromSettings))
        raise ValueError(f"{name} must be {choices}, not {value!r}.")
    return value


def flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}.")
    return value


def whole_number(name: str, value: int, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be between {lowest} and {highest}, not {value}.")
    return value


@dataclass(frozen=True, eq=False, slots=True)
class LockSettings:
    """What the settings say about locks, checked. Times are seconds."""

    alias: str
    ttl: float
    wait: float
    waiting: str
    fence_memory: float


@functools.cache
def lock_settings() -> LockSettings:
    """Read at the first use, and again after a change: a lock asks at each acquire."""
    return LockSettings(
        alias=conf.LOCK_CACHE_ALIAS or conf.CACHE_ALIAS,
        ttl=seconds("REDIS_ATOMIC['LOCK_TTL']", conf.LOCK_TTL, minimum=SHORTEST_TTL),
        wait=patience("REDIS_ATOMIC['LOCK_WAIT']", conf.LOCK_WAIT),
        waiting=one_of("REDIS_ATOMIC['LOCK_WAITING']", conf.LOCK_WAITING, "block", "poll"),
        fence_memory=seconds("REDIS_ATOMIC['LOCK_FENCE_MEMORY']", conf.LOCK_FENCE_MEMORY),
    )


def forget_settings(*, setting: str = "REDIS_ATOMIC", **kwargs: object) -> None:
    """Read them anew at the next use."""
    if setting == "REDIS_ATOMIC":
        lock_settings.cache_clear()


setting_changed.connect(forget_settings, dispatch_uid="redis_atomic.locks")
