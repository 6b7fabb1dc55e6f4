"""``RATE_LIMITS``: known words, rates that can be read, rules that can be asked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..conf import conf
from ..ratelimit.limit import KEY, MAX_EXACT, Limit, check_name
from ..ratelimit.named import limits_named
from ..ratelimit.networks import as_networks
from ..ratelimit.rate import Rate
from ..scripting.spelling import did_you_mean
from .problem import Problem, check, shown
from .settings import Fits


def entries() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries that are mappings; another check tells of the others."""
    limits: object = conf.RATE_LIMITS
    if isinstance(limits, Mapping):
        for name, entry in limits.items():
            if isinstance(name, str) and isinstance(entry, Mapping):
                yield name, entry


def place(name: str, word: str | None = None) -> str:
    """Where in the settings it is."""
    entry = f"REDIS_ATOMIC['RATE_LIMITS'][{name!r}]"
    return entry if word is None else f"{entry}[{word!r}]"


@check("E021")
def unknown_word() -> Iterator[Problem]:
    """An entry of RATE_LIMITS has a key that means nothing."""
    known = ["RATE", *EXPECTED]
    for name, entry in entries():
        for word in entry:
            if word not in known:
                hint = did_you_mean(str(word), known) or f"Its keys are: {', '.join(known)}."
                yield Problem(f"{place(name)} cannot have {word!r}.", hint.strip())


@check("E022")
def bad_rate() -> Iterator[Problem]:
    """A rate of RATE_LIMITS cannot be read."""
    for name, entry in entries():
        if "RATE" not in entry:
            yield Problem(f"{place(name)} has no 'RATE'.", "Give it one: 'RATE': '100/m'.")
            continue
        for rate in _rates(entry):
            if fault := _fault_of_rate(rate):
                yield Problem(
                    f"{place(name, 'RATE')}: {fault}",
                    "Write '5/m' or '100/2h', a list of these, or a callable or its dotted path.",
                )


def _rates(entry: Mapping[str, Any]) -> list[object]:
    rates = entry["RATE"]
    return list(rates) if isinstance(rates, list | tuple) and rates else [rates]


def _fault_of_rate(rate: object) -> str | None:
    if callable(rate) or _is_imported(rate):
        return None
    if not isinstance(rate, str):
        return f"{shown(rate)} is not a rate."
    try:
        Rate.parse(rate)
    except ValueError as error:
        return str(error)
    return None


@check("E023")
def wrong_value() -> Iterator[Problem]:
    """An entry of RATE_LIMITS has a value that it cannot have."""
    limits: object = conf.RATE_LIMITS
    for name, entry in limits.items() if isinstance(limits, Mapping) else ():
        if fault := _fault_of_name(name):
            yield Problem(f"{place(name)}: {fault}", "Correct the name of this entry.")
        elif not isinstance(entry, Mapping):
            yield Problem(
                f"{place(name)} cannot be {shown(entry)}.",
                "Give it a dict, such as {'RATE': '5/m'}.",
            )
        else:
            yield from list(_wrong_values(name, entry)) or _what_the_limit_says(name, entry)


def _fault_of_name(name: Any) -> str | None:
    try:
        check_name(name)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _wrong_values(name: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    for word, (fits, expected) in EXPECTED.items():
        if word in entry and not fits(entry[word]):
            yield Problem(
                f"{place(name, word)} cannot be {shown(entry[word])}{_why_not(word, entry[word])}.",
                f"Give it {expected}.",
            )


def _why_not(word: str, value: object) -> str:
    """Why a dotted path leads nowhere, for the words that may be one."""
    if word not in CALLABLES or not isinstance(value, str) or "." not in value or ":" in value:
        return ""
    found = _imported(value)
    return f": {str(found).rstrip('.')}" if isinstance(found, Exception) else ""


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
    return isinstance(value, str) and "." in value and callable(_imported(value))


def _imported(path: str) -> Any:
    """What the path leads to, or the exception that tells why it leads nowhere."""
    try:
        return import_string(path)
    except Exception as error:  # noqa: BLE001 - whatever a project's module raises
        return error


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


def is_list_of_texts(value: object) -> TypeGuard[Collection[str]]:
    """One or more texts, none of them empty."""
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        return False
    return all(isinstance(each, str) and each for each in value)


KINDS = "'ip', 'user', 'header:X-Name', 'get:field', 'post:field', 'path:name'"
CALLABLE = "a callable or its dotted path"
CALLABLES = frozenset({"KEY", "COST", "EXEMPT", "COUNT_WHEN"})

#: What a word of an entry may be, and how to say so.
EXPECTED: Mapping[str, tuple[Fits, str]] = {
    "KEY": (_is_key, f"{KINDS}, {CALLABLE}, or a list of these"),
    "ALGORITHM": (
        lambda value: value in ("sliding_window", "token_bucket"),
        "'sliding_window' or 'token_bucket'",
    ),
    "BURST": (
        lambda value: value is None or (_is_count(value) and value < MAX_EXACT),
        "a number of units, 1 or more",
    ),
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
        (
            "the beginning of a path by whole segments, such as '/api/', which is not for /apiary; "
            "with PATH_REGEX beside it both must fit"
        ),
    ),
    "PATH_REGEX": (
        _is_regex,
        "a regular expression, such as r'^/api/v[12]/'; with PATH beside it both must fit",
    ),
    "URL_NAMES": (is_list_of_texts, "a list of one or more URL names, such as ['shop:detail']"),
    "METHODS": (is_list_of_texts, "a list of one or more methods, such as ['POST']"),
}


@check("E026")
def cost_above_the_rate() -> Iterator[Problem]:
    """A limit's COST is above what its rate ever lets pass."""
    for name, entry in entries():
        cost = entry.get("COST")
        if type(cost) is int:
            for limit in _limits_of(name):
                if isinstance(limit.rate, Rate) and cost > limit.capacity(limit.rate):
                    yield Problem(
                        f"{place(name, 'COST')} is {shown(cost)}, and {limit.rate} lets "
                        f"{limit.capacity(limit.rate)} pass at once: all requests are refused.",
                        "Give it a smaller COST or a larger RATE.",
                    )


def _limits_of(name: str) -> Sequence[Limit]:
    """The limits of an entry; none where another check tells why."""
    try:
        return limits_named(name)
    except ImproperlyConfigured:
        return ()
