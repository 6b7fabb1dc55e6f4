"""The views of the URLconf, and the limits that they ask for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ..ratelimit.limited_views import Source, limited_views
from .problem import Problem, check

#: So many views of a missing limit are named.
NAMED = 3


@check("E025")
def unknown_limit() -> Iterator[Problem]:
    """A view asks for a limit that does not exist or is at fault."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    views: defaultdict[str, list[str]] = defaultdict(list)
    for view, source in limited_views():
        if fault := _fault_of(source):
            views[fault].append(view)
    for fault, places in views.items():
        yield Problem(
            f"{fault} Every request to {_listed(places)} will fail.",
            "Correct it there, or in REDIS_ATOMIC['RATE_LIMITS'].",
        )


def _fault_of(source: Source) -> str | None:
    try:
        source()
    except (ImproperlyConfigured, ValueError) as error:
        return str(error)
    except Exception:  # noqa: BLE001 - a project's own get_limits may need a request
        return None
    return None


def _listed(places: Sequence[str]) -> str:
    more = len(places) - NAMED
    return ", ".join(places[:NAMED]) + (f" and {more} more" if more > 0 else "")
