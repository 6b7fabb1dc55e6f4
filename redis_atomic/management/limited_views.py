"""Which views of the project use a named limit, as far as the URLconf shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, get_resolver

from ..ratelimit.limit import Limit

#: The methods of a class-based view that a decorator may be on.
METHODS = ("dispatch", "get", "post", "put", "patch", "delete", "head", "options")


def views_limited_by(name: str) -> list[str]:
    """The URLs of views that count under this name, by decorator or by throttle."""
    return [
        f"/{route} ({_name_of(view)})"
        for route, view in _views(get_resolver().url_patterns, "")
        if any((limit.scope or limit.name) == name for limit in _limits_of(view))
    ]


def _views(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern).removeprefix("^").removeprefix("/")
        if isinstance(pattern, URLPattern):
            yield route, pattern.callback
        else:
            yield from _views(pattern.url_patterns, route)


def _class_of(view: Any) -> Any:
    """The class of a class-based view; Django and REST framework name it differently."""
    return getattr(view, "view_class", None) or getattr(view, "cls", None)


def _name_of(view: Any) -> str:
    named = _class_of(view) or view
    return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"


def _limits_of(view: Any) -> Iterator[Limit]:
    cls = _class_of(view)
    methods = [getattr(cls, method, None) for method in METHODS]
    for decorated in filter(
        None, [getattr(each, "_rate_limited", None) for each in (view, *methods)]
    ):
        for rule in decorated.rules:
            yield from rule.limits()
    for throttle in getattr(cls, "throttle_classes", ()):
        if hasattr(throttle, "get_limits"):
            yield from throttle().get_limits(cls)
