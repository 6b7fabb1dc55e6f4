"""``REDIS_ATOMIC`` itself: known names, and values of the right kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from os import PathLike
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ..conf import Settings, user_settings
from ..locks.options import LONGEST, SHORTEST_TTL, patience, seconds
from ..ratelimit.transport import LONGEST_TIMEOUT, timeout_of
from ..scripting.spelling import did_you_mean
from .problem import Problem, check, shown


@check("E001")
def not_a_mapping() -> Iterator[Problem]:
    """REDIS_ATOMIC is not a dict."""
    value = getattr(settings, "REDIS_ATOMIC", None)
    if value is not None and not isinstance(value, Mapping):
        yield Problem(
            f"REDIS_ATOMIC is not a dict, but {shown(value)}.",
            "Write REDIS_ATOMIC = {'CACHE_ALIAS': 'default'}.",
        )


@check("E002")
def unknown_setting() -> Iterator[Problem]:
    """REDIS_ATOMIC has a key that is no setting."""
    known = Settings.names()
    for name in user_settings():
        if name not in known:
            hint = did_you_mean(str(name), known) or f" The settings are: {', '.join(known)}."
            yield Problem(f"REDIS_ATOMIC has no setting {name!r}.", hint.strip())


@check("E003")
def wrong_value() -> Iterator[Problem]:
    """A setting has a value that it cannot have."""
    for name, value in user_settings().items():
        if name in EXPECTED:
            fits, expected = EXPECTED[name]
            if not fits(value):
                yield Problem(
                    f"REDIS_ATOMIC[{name!r}] cannot be {shown(value)}.", f"Give it {expected}."
                )


Fits = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, PathLike) or _is_text(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _accepted_by(convert: Callable[..., Any], **limits: float) -> Fits:
    """Whether what will read the setting takes the value."""

    def fits(value: Any) -> bool:
        try:
            convert("It", value, **limits)
        except (TypeError, ValueError):
            return False
        return True

    return fits


def _is_timeout(value: Any) -> bool:
    try:
        return timeout_of(value) > 0
    except ImproperlyConfigured:
        return False


def _one_of(*values: str | None) -> Fits:
    return lambda value: isinstance(value, str | None) and value in values


def _int_in(least: int, most: float = math.inf) -> Fits:
    return lambda value: type(value) is int and least <= value <= most


def _list_of(fits: Fits) -> Fits:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def _mapping_of(fits: Fits) -> Fits:
    def mapping_fits(value: Any) -> bool:
        return isinstance(value, Mapping) and all(
            _is_text(name) and fits(each) for name, each in value.items()
        )

    return mapping_fits


def _is_proxy(value: Any) -> bool:
    if value == "unix":
        return True
    try:
        return isinstance(value, str) and bool(ip_network(value, strict=False))
    except ValueError:
        return False


SECONDS = "a number of seconds above 0"
ALIAS = "the name of a cache in CACHES, or None for that of CACHE_ALIAS"

#: What a setting may be, and how to say so.
EXPECTED: Mapping[str, tuple[Fits, str]] = {
    "CACHE_ALIAS": (_is_text, "the name of a cache in CACHES, such as 'default'"),
    "SCRIPT_DIRS": (_list_of(_is_path), "a list of folders, such as [BASE_DIR / 'lua']"),
    "SCRIPTS": (
        _mapping_of(_is_path),
        "a dict of names and files, such as {'shop.reserve': BASE_DIR / 'lua/reserve.lua'}",
    ),
    "RATE_LIMITS": (
        lambda value: isinstance(value, Mapping),  # another check looks at each
        "a dict of names and limits, such as {'login': {'RATE': '5/m'}}",
    ),
    "RATE_LIMIT_ENABLED": (_is_bool, "True or False"),
    "RATE_LIMIT_CACHE_ALIAS": (_is_text_or_none, ALIAS),
    "RATE_LIMIT_ON_ERROR": (_one_of("local", "open", "closed"), "'local', 'open' or 'closed'"),
    "RATE_LIMIT_TIMEOUT": (_is_timeout, f"{SECONDS}, at most {LONGEST_TIMEOUT}"),
    "RATE_LIMIT_HEADERS": (_one_of("draft", "legacy", None), "'draft', 'legacy' or None"),
    "RATE_LIMIT_DENY_CACHE_SIZE": (_int_in(0), "a number of entries, or 0 for none"),
    "TRUSTED_PROXIES": (
        _list_of(_is_proxy),
        "a list of networks and addresses, such as ['10.0.0.0/8'], or ['unix']",
    ),
    "IPV6_PREFIX": (_int_in(1, 128), "a number of bits from 1 to 128"),
    "LOCK_CACHE_ALIAS": (_is_text_or_none, ALIAS),
    "LOCK_TTL": (
        _accepted_by(seconds, minimum=SHORTEST_TTL),
        f"a number of seconds from {SHORTEST_TTL:g} to {LONGEST:g}",
    ),
    "LOCK_WAIT": (_accepted_by(patience), "a number of seconds, 0 for one try, or FOREVER"),
    "LOCK_WAITING": (_one_of("block", "poll"), "'block' or 'poll'"),
    "LOCK_FENCE_MEMORY": (_accepted_by(seconds), f"{SECONDS}, at most {LONGEST:g}"),
    "LEAN_CALLS": (_is_bool, "True or False"),
}
