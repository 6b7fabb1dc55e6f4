"""The limits of ``RATE_LIMITS``, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..conf import conf
from .identity import Identity, as_counted
from .limit import Limit, as_rate, check_apart, check_name
from .rate import RATE

#: The words of an entry that say what is limited, and as what they go to Limit.
WORDS: Mapping[str, str] = {
    "KEY": "key",
    "ALGORITHM": "algorithm",
    "BURST": "burst",
    "COST": "cost",
    "EXEMPT": "exempt",
    "MISSING": "missing",
    "COUNT_WHEN": "count_when",
    "SHADOW": "shadow",
    "METHODS": "methods",
}
#: … and those that say where the middleware applies it.
PLACES = ("PATH", "PATH_REGEX", "URL_NAMES")


@cache
def limits_named(name: str) -> tuple[Limit, ...]:
    """
    The limits that ``RATE_LIMITS`` has under this name, one for each of its rates.

    They count under the name wherever they are used. Several rates have their
    periods in their names: ``login-m``, ``login-h``. ImproperlyConfigured, with
    the name of the setting, if there is no such entry or something is wrong in it.
    """
    entries = conf.RATE_LIMITS
    if name not in entries:
        near = get_close_matches(name, entries, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ImproperlyConfigured(
            f"REDIS_ATOMIC['RATE_LIMITS'] has no limit named {name!r}.{hint}"
        )
    try:
        return _limits_of(check_name(name), entries[name])
    except (TypeError, ValueError, ImportError) as error:
        raise ImproperlyConfigured(f"REDIS_ATOMIC['RATE_LIMITS'][{name!r}]: {error}") from error


def identity_at(name: str, words: Sequence[str]) -> Identity:
    """
    The identity that somebody has written, as this named limit counts it.

    One word for each part of its key. ValueError where that can't be its identity.
    """
    limit = limits_named(name)[0]
    starts = [f"{key if isinstance(key, str) else 'callable'}:" for key in limit.keys or ("ip",)]
    # What has no value is counted by address.
    fits = [word.startswith((start, "ip:")) for word, start in zip(words, starts, strict=False)]
    if len(words) != len(starts) or not all(fits):
        wanted = " ".join([f"{start}…" for start in starts])
        raise ValueError(f"{name!r} counts by {limit.key_text}: write {wanted}")
    identity = tuple(map(as_counted, words))
    return identity if isinstance(limit.key, tuple) else identity[0]


def _limits_of(name: str, entry: Mapping[str, Any]) -> tuple[Limit, ...]:
    for word in entry:
        if word not in WORDS and word not in PLACES and word != "RATE":
            raise ValueError(f"{word} is none of RATE, {', '.join((*WORDS, *PLACES))}.")
    if "RATE" not in entry:
        raise ValueError("RATE is missing.")
    rates = entry["RATE"]
    rates = rates if isinstance(rates, list | tuple) else [rates]
    options = {WORDS[word]: _imported(word, entry[word]) for word in entry if word in WORDS}
    limits = tuple(
        Limit(rate, name=_one_of(name, rate, len(rates)), scope=name, **options)
        for rate in map(_rate, rates)
    )
    if not limits:
        raise ValueError("RATE is empty.")
    check_apart(limits)
    return limits


def _one_of(name: str, rate: Any, count: int) -> str:
    return name if count == 1 or callable(rate) else f"{name}-{rate.period}"


def _rate(value: Any) -> Any:
    if isinstance(value, str) and not value[:1].isdigit() and RATE.fullmatch(value) is None:
        return import_string(value)
    return value if callable(value) else as_rate(value)


def _imported(word: str, value: Any) -> Any:
    """Callables may be written as dotted paths."""
    if word == "KEY" and isinstance(value, list | tuple):
        return tuple([_imported(word, part) for part in value])
    dotted = isinstance(value, str) and "." in value
    if dotted and (word in ("COST", "EXEMPT", "COUNT_WHEN") or word == "KEY"):
        return value if word == "KEY" and ":" in value else import_string(value)
    return value


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "REDIS_ATOMIC":
        limits_named.cache_clear()


setting_changed.connect(_forget, dispatch_uid="redis_atomic.limits_named")
