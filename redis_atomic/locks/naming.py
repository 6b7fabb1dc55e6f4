"""
The names of locks: checked where they are written out, and what values look like in them.

A value becomes text of a small alphabet (``A-Z a-z 0-9 _ . - ~ @ %``, all else is
percent-encoded) and between two fields stands a character outside of it, so a name
can be taken apart in one way only: different arguments never meet in one lock.
"""

from __future__ import annotations

import functools
import hashlib
import re
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.db.models import Model

#: A longer name is kept as a readable head and a digest (bytes).
LONGEST_NAME = 200
#: A longer value is a document, not something to name a lock by (bytes).
LONGEST_VALUE = 4096

IN_VALUES = re.compile(r"[A-Za-z0-9_.~@%-]")
MODEL_LABEL = re.compile(r"[^\W\d]\w*\.[^\W\d]\w*")


def lock_name(name: str) -> str:
    """
    The name of a lock that is written out: checked, and shortened when it is long.

    TypeError when it is not a string. ValueError when it is empty, above 4096
    bytes, no valid Unicode, or has braces: templates belong to decorators.
    """
    if not isinstance(name, str):
        raise TypeError(f"A lock's name is a str, not {type(name).__name__}.")
    return _checked(name)


@functools.lru_cache(maxsize=256)  # the name of a `with` is asked for each time
def _checked(name: str) -> str:
    if not name:
        raise ValueError("A lock's name must not be empty.")
    if "{" in name or "}" in name:
        raise ValueError(
            f"The lock name {name!r:.80} has braces. They are filled in only where redis_lock "
            "decorates a function: elsewhere write an f-string."
        )
    try:
        check_length(name)
    except ValueError as error:
        raise ValueError(f"The lock name {error}") from None
    return shortened(name)


def text_of(value: Any) -> str:
    """A value as part of a name. The errors continue "{field} of the lock … "."""
    if isinstance(value, Model):
        return _instance_text(value)
    if isinstance(value, Enum):
        return text_of(value.value)
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, int):
        return str(int(value))  # True is 1, as it is for Python
    if isinstance(value, datetime) and value.tzinfo is not None:
        return _escaped(value.astimezone(UTC).isoformat())
    if isinstance(value, date | UUID):
        return _escaped(str(value))
    raise TypeError(
        f"is {'None' if value is None else f'a {type(value).__name__}'}. A lock is named by a "
        "str, int, UUID, date, Enum member or saved model instance."
    )


def _instance_text(instance: Model) -> str:
    if instance.pk is None or instance._state.adding:
        raise ValueError(f"is an unsaved {instance._meta.object_name}: save it first.")
    # A proxy is the same row, so it is the same lock.
    label = instance._meta.concrete_model._meta.label_lower  # type: ignore[union-attr]
    keys = instance.pk if isinstance(instance.pk, tuple) else (instance.pk,)
    return f"{quote(label)}:{','.join(map(text_of, keys))}"


def _escaped(text: str) -> str:
    check_length(text)
    escaped = quote(text, safe="@")
    # Otherwise ("shop.invoice", "7") would read like the invoice 7.
    return escaped.replace(".", "%2E") if MODEL_LABEL.fullmatch(text) else escaped


def check_length(text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"is not valid Unicode: {text!r:.80}.") from None
    if length > LONGEST_VALUE:
        raise ValueError(
            f"is {length} bytes long ({text[:20]!r}…). Name a lock by an identifier, "
            f"of {LONGEST_VALUE} bytes at most."
        )


def shortened(name: str) -> str:
    """
    The name itself, or a head of it and a digest.

    The short form is longer than any name that is kept, so the two never meet.
    """
    encoded = name.encode()
    if len(encoded) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(encoded).hexdigest()
    head = encoded[: LONGEST_NAME - len(digest) + 3].decode(errors="ignore")
    return f"{head}#{digest}"
