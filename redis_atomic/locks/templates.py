"""
Names of locks made from the arguments of a call, by a template such as ``"invoice:{invoice.pk}"``.
"""

from __future__ import annotations

import functools
import inspect
import re
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .naming import IN_VALUES, check_length, lock_name, shortened, text_of

FIELD = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*|\[[^\[\]]+\])*")
STEP = re.compile(r"\.(?P<attribute>\w+)|\[(?P<item>[^\[\]]+)\]")

#: The parameters of a wrapper that does not say what it wraps.
ANYTHING = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}

NameFunction = Callable[[tuple[Any, ...], Mapping[str, Any]], str]


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
        check_length("".join(literals))
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
        return shortened(name)

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
            return text_of(self._value(arguments))
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


def _refusal(template: str, reason: str) -> ValueError:
    return ValueError(f"The lock template {template!r:.200} cannot be used: {reason}")
