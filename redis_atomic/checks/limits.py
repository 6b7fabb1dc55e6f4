"""``RATE_LIMITS``: known words, rates that can be read, rules that can be asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..conf import conf
from ..ratelimit.limit import KEY
from ..ratelimit.named import limits_named
from ..ratelimit.networks import as_networks
from ..ratelimit.rate import Rate
from ..scripting.spelling import did_you_mean
from .problem import Problem, check
from .settings import Fits

OURS = "redis_atomic.middleware.RateLimitMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"

#: The words of an entry that make it a rule of the middleware.
PLACES = ("PATH", "PATH_REGEX", "URL_NAMES")


def _entries() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries that are mappings; another check tells of the others."""
    entries: object = conf.RATE_LIMITS
    if isinstance(entries, Mapping):
        for name, entry in entries.items():
            if isinstance(name, str) and isinstance(entry, Mapping):
                yield name, entry


def _place(name: str, word: str | None = None) -> str:
    place = f"REDIS_ATOMIC['RATE_LIMITS'][{name!r}]"
    return place if word is None else f"{place}[{word!r}]"


@check("E021")
def unknown_word() -> Iterator[Problem]:
    """An entry of RATE_LIMITS has a key that means nothing."""
    known = ["RATE", *EXPECTED]
    for name, entry in _entries():
        for word in entry:
            if word not in known:
                hint = did_you_mean(str(word), known) or f"Its keys are: {', '.join(known)}."
                yield Problem(f"{_place(name)} cannot have {word!r}.", hint.strip())


@check("E022")
def bad_rate() -> Iterator[Problem]:
    """A rate of RATE_LIMITS cannot be read."""
    for name, entry in _entries():
        if "RATE" not in entry:
            yield Problem(f"{_place(name)} has no 'RATE'.", "Give it one: 'RATE': '100/m'.")
            continue
        for rate in _rates(entry):
            if fault := _fault_of_rate(rate):
                yield Problem(
                    f"{_place(name, 'RATE')}: {fault}",
                    "Write '5/m' or '100/2h', a list of these, or a callable or its dotted path.",
                )


def _rates(entry: Mapping[str, Any]) -> list[object]:
    rates = entry["RATE"]
    return list(rates) if isinstance(rates, list | tuple) and rates else [rates]


def _fault_of_rate(rate: object) -> str | None:
    if callable(rate) or _is_imported(rate):
        return None
    if not isinstance(rate, str):
        return f"{rate!r} is not a rate."
    try:
        Rate.parse(rate)
    except ValueError as error:
        return str(error)
    return None


@check("E023")
def wrong_value() -> Iterator[Problem]:
    """An entry of RATE_LIMITS has a value that it cannot have."""
    for name, entry in _entries():
        problems = [
            Problem(f"{_place(name, word)} cannot be {entry[word]!r}.", f"Give it {expected}.")
            for word, (fits, expected) in EXPECTED.items()
            if word in entry and not fits(entry[word])
        ]
        yield from problems or _what_the_limit_says(name, entry)


def _what_the_limit_says(name: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    """Each value may be right by itself, and no limit made of them."""
    rates_are_right = "RATE" in entry and not any(map(_fault_of_rate, _rates(entry)))
    if rates_are_right and entry.keys() <= {"RATE", *EXPECTED}:
        try:
            limits_named(name)
        except ImproperlyConfigured as error:
            yield Problem(str(error), "Correct this entry.")


def _is_imported(value: object) -> bool:
    """A dotted path that leads to a callable."""
    if not isinstance(value, str) or "." not in value:
        return False
    try:
        return callable(import_string(value))
    except ImportError:
        return False


def _is_callable(value: object) -> bool:
    return value is None or callable(value) or _is_imported(value)


def _is_exempt(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return _is_callable(value)
    try:
        return as_networks(value) is not None
    except ValueError:
        return False


def _is_key(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(not isinstance(p, list | tuple) and _is_key(p) for p in value)
    if isinstance(value, str):
        return KEY.fullmatch(value) is not None or _is_imported(value)
    return callable(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_regex(value: object) -> bool:
    try:
        return isinstance(value, str | re.Pattern) and bool(re.compile(value))
    except re.error:
        return False


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(each, str) and each for each in value
    )


KINDS = "'ip', 'user', 'header:X-Name', 'get:field', 'post:field', 'path:name'"
CALLABLE = "a callable or its dotted path"

#: What a word of an entry may be, and how to say so.
EXPECTED: Mapping[str, tuple[Fits, str]] = {
    "KEY": (_is_key, f"{KINDS}, {CALLABLE}, or a list of these"),
    "ALGORITHM": (
        lambda value: value in ("sliding_window", "token_bucket"),
        "'sliding_window' or 'token_bucket'",
    ),
    "BURST": (lambda value: value is None or _is_count(value), "a number of units, 1 or more"),
    "COST": (
        lambda value: _is_count(value) or (value is not None and _is_callable(value)),
        f"a number of units, 1 or more, or {CALLABLE}",
    ),
    "EXEMPT": (_is_exempt, f"{CALLABLE}, or a list of networks such as ['10.0.0.0/8']"),
    "MISSING": (lambda value: value in (None, "skip", "shared"), "'skip', 'shared' or None"),
    "COUNT_WHEN": (_is_callable, CALLABLE),
    "SHADOW": (lambda value: isinstance(value, bool), "True or False"),
    "PATH": (
        lambda value: isinstance(value, str) and value.startswith("/"),
        "the beginning of a path, such as '/api/'",
    ),
    "PATH_REGEX": (_is_regex, "a regular expression, such as r'^/api/v[12]/'"),
    "URL_NAMES": (_is_list_of_texts, "a list of URL names, such as ['shop:detail']"),
    "METHODS": (_is_list_of_texts, "a list of methods, such as ['POST']"),
}


@check("E024")
def user_before_authentication() -> Iterator[Problem]:
    """A rule counts by user, and the middleware stands before AuthenticationMiddleware."""
    ours, authentication = _position(OURS), _position(AUTHENTICATION)
    if ours is None or (authentication is not None and authentication < ours):
        return
    for name in _rules(lambda entry: "user" in _keys(entry)):
        yield Problem(
            f"{_place(name)} counts by user, and nobody is logged in yet where "
            "RateLimitMiddleware stands in MIDDLEWARE.",
            f"Put {OURS!r} directly after {AUTHENTICATION!r}.",
        )


@check("W021")
def rules_without_middleware() -> Iterator[Problem]:
    """RATE_LIMITS has rules for the middleware, and MIDDLEWARE lacks it."""
    names = list(_rules(lambda entry: True))
    if names and _position(OURS) is None:
        yield Problem(
            f"Nobody applies {', '.join(map(_place, names))}: MIDDLEWARE has no "
            "RateLimitMiddleware.",
            f"Put {OURS!r} into MIDDLEWARE, directly after {AUTHENTICATION!r}.",
        )


def _rules(wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[str]:
    for name, entry in _entries():
        if any(place in entry for place in PLACES) and wanted(entry):
            yield name


def _keys(entry: Mapping[str, Any]) -> list[Any]:
    key = entry.get("KEY", "ip")
    return list(key) if isinstance(key, list | tuple) else [key]


def _position(middleware: str) -> int | None:
    """Where the middleware, or a subclass of it, stands in MIDDLEWARE."""
    for index, path in enumerate(settings.MIDDLEWARE or ()):
        if path == middleware or middleware in _ancestors(path):
            return index
    return None


def _ancestors(path: str) -> list[str]:
    try:
        found = import_string(path)
    except ImportError:  # Django tells
        return []
    return [f"{each.__module__}.{each.__qualname__}" for each in getattr(found, "__mro__", ())]
