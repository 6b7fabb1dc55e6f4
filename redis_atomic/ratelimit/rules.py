"""
Which limits of ``RATE_LIMITS`` the middleware asks a request for.

An entry with PATH, PATH_REGEX or URL_NAMES is a rule for the requests that fit
all it names. One without these is only a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import Resolver404, ResolverMatch, resolve

from ..conf import conf
from .charging import Rule
from .named import limits_named


class Route:
    """Where a request's URL leads: looked up once, and only when somebody asks."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def match(self) -> ResolverMatch | None:
        request = self._request
        try:
            return resolve(request.path_info, getattr(request, "urlconf", None))
        except Resolver404:
            return None

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The URL's arguments."""
        return {} if self.match is None else self.match.kwargs


Place = Callable[[HttpRequest, Route], bool]


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """An entry of RATE_LIMITS, and the places it is for."""

    rule: Rule
    places: tuple[Place, ...]

    def fits(self, request: HttpRequest, route: Route) -> bool:
        return all(place(request, route) for place in self.places)


def rules_for(request: HttpRequest) -> tuple[list[Rule], Route]:
    """The rules for this request, and where its URL leads."""
    route = Route(request)
    return [each.rule for each in placed_rules() if each.fits(request, route)], route


_read: tuple[Mapping[str, Any], list[PlacedRule]] | None = None


def placed_rules() -> list[PlacedRule]:
    """All rules, read anew when the setting was replaced; ImproperlyConfigured if bad."""
    global _read
    entries = conf.RATE_LIMITS
    if not isinstance(entries, Mapping):
        raise ImproperlyConfigured(
            f"REDIS_ATOMIC['RATE_LIMITS'] is a dictionary of named limits, not {entries!r}."
        )
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
    # "OPTIONS *" has no slash at all: it is of the whole site.
    return lambda request, route: f"/{request.path_info.removeprefix('/')}/".startswith(prefix)


def _searched(regex: str | re.Pattern[str]) -> Place:
    """PATH_REGEX: found anywhere in the path, as in Django's own settings."""
    pattern = re.compile(regex)
    return lambda request, route: pattern.search(request.path_info) is not None


def _named(names: Iterable[str]) -> Place:
    """URL_NAMES: with their namespaces, ``shop:detail``."""
    if isinstance(names, str):
        raise TypeError(f"URL_NAMES is a list: write [{names!r}].")
    wanted = frozenset(names)
    return lambda request, route: route.match is not None and route.match.view_name in wanted


PLACES: Mapping[str, Callable[[Any], Place]] = {
    "PATH": _under,
    "PATH_REGEX": _searched,
    "URL_NAMES": _named,
}
