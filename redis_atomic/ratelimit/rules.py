"""
Which limits of ``RATE_LIMITS`` the middleware asks a request for.

An entry with PATH, PATH_REGEX or URL_NAMES is a rule for the requests that fit
all it names. One without these is only a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import Resolver404, ResolverMatch, resolve

from ..conf import conf
from .gate import Rule
from .named import limits_named

Match = Callable[[], ResolverMatch | None]
Place = Callable[[HttpRequest, Match], bool]


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """An entry of RATE_LIMITS, and the places it is for."""

    rule: Rule
    places: tuple[Place, ...]

    def fits(self, request: HttpRequest, match: Match) -> bool:
        return all(place(request, match) for place in self.places)


def rules_for(request: HttpRequest) -> tuple[list[Rule], Match]:
    """The rules for this request, and a function that tells where its URL leads."""
    match = _match_of(request)
    return [each.rule for each in placed_rules() if each.fits(request, match)], match


_read: tuple[Mapping[str, Any], list[PlacedRule]] | None = None


def placed_rules() -> list[PlacedRule]:
    """All rules, read anew when the setting was replaced; ImproperlyConfigured if bad."""
    global _read
    entries = conf.RATE_LIMITS
    if _read is None or _read[0] is not entries:
        rules = [_placed_rule(name, entry) for name, entry in entries.items()]
        _read = entries, [rule for rule in rules if rule.places]
    return _read[1]


def _placed_rule(name: str, entry: Mapping[str, Any]) -> PlacedRule:
    limits_named(name)
    try:
        places = [make(entry[key]) for key, make in PLACES.items() if key in entry]
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise ImproperlyConfigured(f"REDIS_ATOMIC['RATE_LIMITS'][{name!r}]: {error}") from error
    return PlacedRule(Rule(partial(limits_named, name)), tuple(places))


def _under(path: Any) -> Place:
    """PATH: whole segments, so that ``/api`` is not for ``/apiary``."""
    if not (isinstance(path, str) and path.startswith("/")):
        raise ValueError(f"PATH {path!r} must be a text that starts with a slash.")
    prefix = path.rstrip("/") + "/"
    return lambda request, match: f"{request.path_info}/".startswith(prefix)


def _searched(regex: str | re.Pattern[str]) -> Place:
    """PATH_REGEX: found anywhere in the path, as in Django's own settings."""
    pattern = re.compile(regex)
    return lambda request, match: pattern.search(request.path_info) is not None


def _named(names: Iterable[str]) -> Place:
    """URL_NAMES: with their namespaces, ``shop:detail``."""
    if isinstance(names, str):
        raise TypeError(f"URL_NAMES is a list: write [{names!r}].")
    wanted = frozenset(names)

    def is_named(request: HttpRequest, match: Match) -> bool:
        found = match()
        return found is not None and found.view_name in wanted

    return is_named


PLACES: Mapping[str, Callable[[Any], Place]] = {
    "PATH": _under,
    "PATH_REGEX": _searched,
    "URL_NAMES": _named,
}


def _match_of(request: HttpRequest) -> Match:
    """Where the URL leads, looked up once and only when somebody asks."""

    @cache
    def match() -> ResolverMatch | None:
        try:
            return resolve(request.path_info, getattr(request, "urlconf", None))
        except Resolver404:
            return None

    return match
