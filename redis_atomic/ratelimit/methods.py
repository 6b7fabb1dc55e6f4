"""The HTTP methods that a limit is for. Pure: knows neither Django nor Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def as_methods(methods: Any) -> frozenset[str] | None:
    """Upper-case method names, or None for all; TypeError or ValueError for what is no list."""
    if methods is None:
        return None
    if isinstance(methods, str):
        raise TypeError(f"methods is a list: write [{methods!r}].")
    if not isinstance(methods, Iterable):
        raise TypeError(f"methods is a list such as ['POST'], not {methods!r}.")
    names = list(methods)
    if not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"methods is a list of names such as ['POST'], not {names!r}.")
    if not names:
        raise ValueError("methods is empty, so the limit would never apply: None is for all.")
    return frozenset([name.upper() for name in names])


def covers(methods: frozenset[str] | None, method: str | None) -> bool:
    """Is the method one of these? GET covers HEAD, which runs the same view."""
    return methods is None or method in methods or (method == "HEAD" and "GET" in methods)
