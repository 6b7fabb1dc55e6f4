"""
The names of locks: checked where they are written out, made from arguments in a template.

A value becomes text of a small alphabet (``A-Z a-z 0-9 _ . - ~ @ %``, all else is
percent-encoded) and between two fields stands a character outside of it, so a name
can be taken apart in one way only: different arguments never meet in one lock.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import string
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from django.db.models import Model

#: A longer name is kept as a readable head and a digest (bytes).
LONGEST_NAME = 200
#: A longer value is a document, not something to name a lock by (bytes).
LONGEST_VALUE = 4096

FIELD = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*|\[[^\[\]]+\])*")
STEP = re.compile(r"\.(?P<attribute>\w+)|\[(?P<item>[^\[\]]+)\]")
IN_VALUES = re.compile(r"[A-Za-z0-9_.~@%-]")
MODEL_LABEL = re.compile(r"[^\W\d]\w*\.[^\W\d]\w*")

#: The parameters of a wrapper that does not say what it wraps.
ANYTHING = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}

NameFunction = Callable[[tuple[Any, ...], Mapping[str, Any]], str]


def lock_name(name: str) -> str:
    """
    The name of a lock that is written out: checked, and shortened when it is long.

    TypeError when it is not a string. ValueError when it is empty, above 4096
    bytes, no valid Unicode, or has braces: templates belong to decorators.
    """
    if not isinstance(name, str):
        raise TypeError(f"A lock's name is a str, not {type(name).__name__}.")
    if not name:
        raise ValueError("A lock's name must not be empty.")
    if "{" in name or "}" in name:
        raise ValueError(
            f"The lock name {name!r:.80} has braces. They are filled in only where redis_lock "
            "decorates a function: elsewhere write an f-string."
        )
    try:
        _check_length(name)
    except ValueError as error:
        raise ValueError(f"The lock name {error}") from None
    return _shortened(name)


def bind_template(template: str, function: Callable[..., Any]) -> NameFunction:
    """
    What makes a lock's name from the arguments of a call: ``name_of(args, kwargs)``.

    ``template`` names parameters of ``function``, their attributes and items:
    ``"invoice:{invoice.pk}"``, ``"page:{kwargs[slug]}"``. Values may be str, int,
    UUID, date, datetime, Enum members of these, and saved model instances, which
    read ``app_label.model:pk``. The int 1 and the str "1" name one lock. Where the
    function is a wrapper that takes just ``*args, **kwargs``, a field is what was
    passed by this name.

    Raises ValueError for a field that is not a parameter, that is private,
    numbered, converted or formatted, and for two fields without a separator;
    ``name_of`` raises TypeError or ValueError for arguments that make no name.
    """
    literals, fields = _parse(template)
    if not fields:
        constant = lock_name(template)
        return lambda args, kwargs: constant
    try:
        _check_length("".join(literals))
    except ValueError as error:
        raise _refusal(template, f"Its text {error}") from None
    signature = _signature(function)
    called = getattr(function, "__qualname__", repr(function))
    opaque = {each.kind for each in signature.parameters.values()} == ANYTHING
    for field in fields:
        if field.parameter not in signature.parameters and not opaque:
            known = _parameters(signature, field.parameter)
            raise _refusal(
                template, f"{called}() has no parameter {field.parameter!r}; it has: {known}"
            )

    def name_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{called}(): {error}") from None
        bound.apply_defaults()
        arguments = {**bound.arguments, **bound.kwargs} if opaque else bound.arguments
        values = [field.text(arguments, template) for field in fields]
        name = literals[0] + "".join(
            value + literal for value, literal in zip(values, literals[1:], strict=True)
        )
        if not name:
            raise _refusal(template, "All its values are empty here.")
        return _shortened(name)

    return name_of


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if isinstance(function, functools.partial):
        # As from method_decorator(), with a __wrapped__ that is a function with self.
        function = functools.partial(function.func, *function.args, **function.keywords)
    return inspect.signature(function)


def _parameters(signature: inspect.Signature, missing: str) -> str:
    """What a function has instead, and how to reach what it takes as **kwargs."""
    text = ", ".join(signature.parameters) or "none"
    for parameter in signature.parameters.values():
        if parameter.kind == parameter.VAR_KEYWORD:
            return f"{text}. What is passed by name is {{{parameter.name}[{missing}]}}."
    return f"{text}."


class _Field(NamedTuple):
    """One field of a template: a parameter, and the way from it to the value."""

    path: str
    parameter: str
    steps: list[tuple[str, str]]  # (attribute, "") or ("", item)

    def text(self, arguments: Mapping[str, Any], template: str) -> str:
        try:
            return _text(self._value(arguments))
        except TypeError as error:
            raise TypeError(f"{{{self.path}}} of the lock {template!r} {error}") from None
        except ValueError as error:
            raise ValueError(f"{{{self.path}}} of the lock {template!r} {error}") from None

    def _value(self, arguments: Mapping[str, Any]) -> Any:
        if self.parameter not in arguments:
            raise ValueError("was not passed by name, and the function does not name it either.")
        value = arguments[self.parameter]
        for attribute, item in self.steps:
            try:
                value = getattr(value, attribute) if attribute else value[_index(item)]
            except (AttributeError, LookupError) as error:
                raise ValueError(f"cannot be looked up: {error!r}.") from error
        return value


def _parse(template: str) -> tuple[list[str], list[_Field]]:
    """The literal parts of a template, one more than its fields, and the fields."""
    if not isinstance(template, str):
        lock_name(template)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise _refusal(template, f"{error}.") from None
    literals, fields = [""], list[_Field]()
    for literal, path, spec, conversion in parts:
        if "{" in literal or "}" in literal:
            raise _refusal(template, "A lock's name must not contain braces.")
        if fields and path is not None and not _separates(literals[-1] + literal):
            raise _refusal(template, "Put a ':' between its fields, or lock names could meet.")
        literals[-1] += literal
        if path is not None:
            fields.append(_field(path, spec, conversion, template))
            literals.append("")
    return literals, fields


def _separates(literal: str) -> bool:
    return bool(literal) and not IN_VALUES.match(literal)


def _field(path: str, spec: str | None, conversion: str | None, template: str) -> _Field:
    if spec or conversion:
        raise _refusal(template, f"{{{path}}} takes neither a format nor a conversion (!r, :>8).")
    if not FIELD.fullmatch(path):
        raise _refusal(template, f"{{{path}}} must start with the name of a parameter.")
    parameter = re.split(r"[.\[]", path, maxsplit=1)[0]
    steps = STEP.findall(path, len(parameter))
    if any(attribute.startswith("_") for attribute, _ in steps):
        raise _refusal(template, f"{{{path}}} reaches for a private attribute.")
    return _Field(path, parameter, steps)


def _index(item: str) -> str | int:
    return int(item) if item.isdecimal() else item


def _text(value: Any) -> str:
    """A value as part of a name. The errors continue "{field} of the lock … "."""
    if isinstance(value, Model):
        return _instance_text(value)
    if isinstance(value, Enum):
        return _text(value.value)
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
    return f"{quote(label)}:{','.join(map(_text, keys))}"


def _escaped(text: str) -> str:
    _check_length(text)
    escaped = quote(text, safe="@")
    # Otherwise ("shop.invoice", "7") would read like the invoice 7.
    return escaped.replace(".", "%2E") if MODEL_LABEL.fullmatch(text) else escaped


def _check_length(text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"is not valid Unicode: {text!r:.80}.") from None
    if length > LONGEST_VALUE:
        raise ValueError(
            f"is {length} bytes long ({text[:20]!r}…). Name a lock by an identifier, "
            f"of {LONGEST_VALUE} bytes at most."
        )


def _shortened(name: str) -> str:
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


def _refusal(template: str, reason: str) -> ValueError:
    return ValueError(f"The lock template {template!r:.200} cannot be used: {reason}")
