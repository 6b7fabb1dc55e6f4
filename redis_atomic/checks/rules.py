"""The entries of ``RATE_LIMITS`` that the middleware applies, and whether it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPMethod
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from ..ratelimit.limited_views import url_matches
from ..scripting.spelling import did_you_mean
from .limits import entries, is_list_of_texts, place
from .problem import Problem, check

OURS = "redis_atomic.middleware.RateLimitMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"

#: The words of an entry that make it a rule of the middleware.
PLACES = ("PATH", "PATH_REGEX", "URL_NAMES")


@check("E024")
def user_before_authentication() -> Iterator[Problem]:
    """A rule counts by user, and the middleware stands before AuthenticationMiddleware."""
    ours, authentication = _position(OURS), _position(AUTHENTICATION)
    if ours is None or (authentication is not None and authentication < ours):
        return
    for name in _rules(lambda entry: "user" in _keys(entry)):
        yield Problem(
            f"{place(name)} counts by user, and nobody is logged in yet where "
            "RateLimitMiddleware stands in MIDDLEWARE.",
            f"Put {OURS!r} directly after {AUTHENTICATION!r}.",
        )


@check("W021")
def rules_without_middleware() -> Iterator[Problem]:
    """RATE_LIMITS has rules for the middleware, and MIDDLEWARE lacks it."""
    names = list(_rules(lambda entry: True))
    if names and _position(OURS) is None:
        yield Problem(
            f"Nobody applies {', '.join(map(place, names))}: MIDDLEWARE has no "
            "RateLimitMiddleware.",
            f"Put {OURS!r} into MIDDLEWARE, directly after {AUTHENTICATION!r}.",
        )


@check("W022")
def unknown_method() -> Iterator[Problem]:
    """METHODS has a word that is no method of HTTP."""
    known = [str(method) for method in HTTPMethod]
    for name, method in _each("METHODS"):
        if method.upper() not in known:
            hint = did_you_mean(method.upper(), known) or f"They are: {', '.join(known)}."
            yield Problem(
                f"{place(name, 'METHODS')} has {method!r}, which is no method of HTTP.",
                hint.strip(),
            )


@check("W023")
def unknown_url_name() -> Iterator[Problem]:
    """URL_NAMES has a name that no URL pattern of the URLconf has."""
    wanted = list(_each("URL_NAMES"))
    if not wanted or not getattr(settings, "ROOT_URLCONF", None):
        return
    known = {match.view_name for _, match in url_matches()}
    for entry, name in wanted:
        if name not in known:
            near = did_you_mean(name, sorted(known))
            yield Problem(
                f"{place(entry, 'URL_NAMES')} has {name!r}, and no URL pattern has this name.",
                near.strip() or "Write it with its namespaces, as reverse() takes it.",
            )


def _each(word: str) -> Iterator[tuple[str, str]]:
    """The texts that entries have at this word, with the name of the entry."""
    for name, entry in entries():
        texts = entry.get(word)
        if is_list_of_texts(texts):
            for text in sorted(texts):
                yield name, text


def _rules(wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[str]:
    for name, entry in entries():
        if any(word in entry for word in PLACES) and wanted(entry):
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
