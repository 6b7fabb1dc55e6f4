"""How a check is written: a function that yields the problems of one id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.core import checks

#: What each id means, in one line.
MEANINGS: dict[str, str] = {}


class Problem(NamedTuple):
    """What is wrong, and what to type."""

    message: str
    hint: str


#: So many characters of a value are shown.
SHOWN = 80


def shown(value: object) -> str:
    """The value as it is written, or its beginning: settings are not to be printed whole."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


Find = Callable[[], Iterator[Problem]]
Check = Callable[..., list[checks.CheckMessage]]


def check(number: str, *, deploy: bool = False) -> Callable[[Find], Check]:
    """Register a finder of problems as the system check of this number (decorator)."""
    kind = checks.Error if number[0] == "E" else checks.Warning
    name = f"redis_atomic.{number}"

    def register(find: Find) -> Check:
        MEANINGS[name] = (find.__doc__ or "").strip().partition("\n")[0]

        def run(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
            return [kind(message, hint=hint, id=name) for message, hint in find()]

        # Not wraps(): Django looks at the signature for the keyword arguments.
        run.__name__, run.__doc__, run.__module__ = find.__name__, find.__doc__, find.__module__
        checks.register(run, "redis_atomic", deploy=deploy)
        return run

    return register
