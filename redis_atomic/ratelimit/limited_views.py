"""Which views of the project are limited, and by what, as far as the URLconf shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.urls import ResolverMatch, URLPattern, get_resolver

from .limit import Limit

#: The methods of a class-based view that a decorator may be on.
METHODS = ("dispatch", "get", "post", "put", "patch", "delete", "head", "options")

#: What returns limits when it is asked, or raises where they are not what they should be.
Source = Callable[[], Sequence[Limit]]


def views_limited_by(name: str) -> list[str]:
    """The URLs of views that count under this name, by decorator or by throttle."""
    return [
        place
        for place, source in limited_views()
        if any((limit.scope or limit.name) == name for limit in _limits_of(source))
    ]


def _limits_of(source: Source) -> Sequence[Limit]:
    """None where they are not what they should be: a check tells."""
    try:
        return source()
    except (ImproperlyConfigured, ValueError):
        return ()


def limited_views() -> Iterator[tuple[str, Source]]:
    """The URL and the dotted name of each limited view, and where its limits come from."""
    for route, match in url_matches():
        sources = list(_sources(match.func))
        if sources:
            yield f"/{route} ({_name_of(match.func)})", partial(_all_of, sources)


def url_matches() -> Iterator[tuple[str, ResolverMatch]]:
    """The route of each URL pattern, with what a request that it fits would be told of it."""
    return _matches(get_resolver().url_patterns, "", [])


def _matches(
    patterns: Any, prefix: str, namespaces: list[str | None]
) -> Iterator[tuple[str, ResolverMatch]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern).removeprefix("^").removeprefix("/")
        if isinstance(pattern, URLPattern):
            yield (
                route,
                ResolverMatch(pattern.callback, (), {}, pattern.name, namespaces=namespaces),
            )
        else:
            inner = [*namespaces, pattern.namespace] if pattern.namespace else namespaces
            yield from _matches(pattern.url_patterns, route, inner)


def _class_of(view: Any) -> Any:
    """The class of a class-based view; Django and REST framework name it differently."""
    return getattr(view, "view_class", None) or getattr(view, "cls", None)


def _name_of(view: Any) -> str:
    named = _class_of(view) or view
    return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"


def _sources(view: Any) -> Iterator[Source]:
    cls = _class_of(view)
    actions = getattr(view, "actions", None) or {}  # of a view set of REST framework's
    methods = [getattr(cls, method, None) for method in (*METHODS, *actions.values())]
    for decorated in filter(
        None, [getattr(each, "_rate_limited", None) for each in (view, *methods)]
    ):
        for rule in decorated.rules:
            yield rule.limits
    for throttle in getattr(cls, "throttle_classes", ()):
        if hasattr(throttle, "get_limits"):
            yield partial(_limits_of_throttle, throttle, cls)


def _limits_of_throttle(throttle: Any, view_class: Any) -> Sequence[Limit]:
    limits: Sequence[Limit] = throttle().get_limits(view_class)
    return limits


def _all_of(sources: Sequence[Source]) -> list[Limit]:
    return [limit for source in sources for limit in source()]
