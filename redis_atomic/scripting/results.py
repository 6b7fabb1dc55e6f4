"""The ``returns:`` of a head comment: what a reply is turned into."""

from __future__ import annotations

import keyword
import re
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import InvalidScript
from .head import Word
from .script import as_is
from .spelling import did_you_mean
from .values import TYPES

RESULT = re.compile(r"(?:(?P<name>[A-Za-z][A-Za-z0-9_]*):)?(?P<type>[A-Za-z]+)(?P<optional>\??)")

#: Under another name, as a type checker wants to know the fields of a namedtuple().
NAMED_TUPLE: Callable[[str, Sequence[str]], Any] = namedtuple

Decode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a script returns: as declared, as Python's type, and how a reply becomes it."""

    declared: str
    python: Any
    decode: Decode


#: A script without ``returns:`` gives its reply as it is.
UNDECLARED = Result("anything", Any, as_is)


def read_returns(words: Sequence[Word], script: str, path: str | None) -> Result:
    """The result of a ``returns:`` section; InvalidScript where it can't be understood."""
    if not words:
        return UNDECLARED
    parts = [_part(word, path) for word in words]
    declared = " ".join(word.text for word in words)
    if len(parts) == 1:
        (part,) = parts
        if part["name"]:
            message = f"one value has no name: write 'returns: {part['type']}{part['optional']}'."
            raise InvalidScript(message, file=path, line=words[0].line)
        return Result(declared, _python(part), _decoder(part))
    result_type = named_tuple(script, _names(parts, words, path), parts[0]["type"] == "bool")
    decoders = [_decoder(part) for part in parts]

    def decode(reply: Any) -> Any:
        if not isinstance(reply, list):
            raise ValueError
        pairs = zip(decoders, reply, strict=True)
        return result_type(*[decode(each) for decode, each in pairs])

    return Result(declared, result_type, decode)


def _part(word: Word, path: str | None) -> re.Match[str]:
    match = RESULT.fullmatch(word.text)
    if match is None:
        message = (
            f"{word.text!r} is no result: write one type, '-- returns: int', or several with "
            "names, '-- returns: applied:bool left:int?'."
        )
    elif match["type"] not in TYPES:
        near = did_you_mean(match["type"], TYPES)
        message = f"a result is one of {' '.join(TYPES)}, not {match['type']!r}.{near}"
    elif match["optional"] and match["type"] in ("bool", "none"):
        message = f"{match['type']!r} reads nil already: leave out the '?'."
    else:
        return match
    raise InvalidScript(message, file=path, line=word.line)


def _names(parts: list[re.Match[str]], words: Sequence[Word], path: str | None) -> list[str]:
    names: list[str] = []
    for part, word in zip(parts, words, strict=True):
        name = part["name"]
        message = ""
        if not name:
            message = f"several results have names: write 'name:{word.text}'."
        elif keyword.iskeyword(name) or name in names:
            message = f"{name!r} cannot be the name of this result: take another."
        if message:
            raise InvalidScript(message, file=path, line=word.line)
        names.append(name)
    return names


def _python(part: re.Match[str]) -> Any:
    python = TYPES[part["type"]].python
    return python | None if part["optional"] and part["type"] != "json" else python


def _decoder(part: re.Match[str]) -> Decode:
    decode = TYPES[part["type"]].decode
    if not part["optional"]:
        return decode
    return lambda reply: None if reply is None else decode(reply)


def named_tuple(script: str, fields: Sequence[str], first_is_truth: bool) -> type[tuple[Any, ...]]:
    """
    The named tuple that a script returns, ``Reserve(applied=True, left=2)``.

    It can be pickled, so it can be cached. When its first field is a bool, that
    is its truth: ``if reserve(…):`` asks whether it was done.
    """
    title = "".join(word.title() for word in re.findall(r"[A-Za-z0-9]+", script.split(".")[-1]))
    title = title if title[:1].isalpha() and not keyword.iskeyword(title) else "Result"
    members: dict[str, Any] = {
        "__slots__": (),
        "__reduce__": lambda self: (_unpickled, (script, fields, first_is_truth, tuple(self))),
    }
    if first_is_truth:
        members["__bool__"] = lambda self: self[0]
    return type(title, (NAMED_TUPLE(title, fields),), members)


def _unpickled(
    script: str, fields: Sequence[str], first_is_truth: bool, values: tuple[Any, ...]
) -> tuple[Any, ...]:
    made: Any = named_tuple(script, fields, first_is_truth)
    result: tuple[Any, ...] = made(*values)
    return result
