"""The ``keys:`` and ``args:`` of a head comment: what may be given, and what is then sent."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import InvalidScript
from .head import Word
from .script import PrefixedKey, RawKey
from .spelling import did_you_mean
from .values import MAX_INT, MIN_INT, TYPES, encode_bytes, encode_str, wrong_type

NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
KEY = re.compile(rf"(?P<tail>\*?)(?P<name>{NAME})")
ARGUMENT = re.compile(
    rf"(?P<tail>\*{{0,2}})(?P<name>{NAME}):(?P<type>\w+)"
    rf"(?P<range>\((?P<lowest>{NUMBER})?\.\.(?P<highest>{NUMBER})?\))?(?P<optional>\??)"
)
SENDABLE = [name for name, each in TYPES.items() if each.encode]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared key (``type`` is None) or argument; ``tail`` is ``*``, ``**`` or nothing."""

    name: str
    type: str | None = None
    tail: str = ""
    optional: bool = False
    lowest: float | None = None
    highest: float | None = None
    declared: str = ""  # as the head has it

    @property
    def can_be_absent(self) -> bool:
        return self.optional or bool(self.tail)

    def words(self, value: Any) -> Iterator[Any]:
        """What is sent for a value: one word, or as many as the list or mapping has."""
        if not self.tail:
            yield self._word(self.name, value)
        elif self.tail == "*":
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
                raise wrong_type(self.name, "a list", value)
            for index, each in enumerate(value):
                yield self._word(f"{self.name}[{index}]", each)
        else:
            if not isinstance(value, Mapping):
                raise wrong_type(self.name, "a mapping", value)
            for field, each in value.items():
                encode = encode_bytes if isinstance(field, bytes) else encode_str
                yield encode(f"a field of {self.name}", field)
                yield self._word(f"{self.name}[{field!r}]", each)

    def _word(self, name: str, value: Any) -> Any:
        if self.type is None:
            return _checked_key(name, value)
        encode = TYPES[self.type].encode
        assert encode is not None  # such a type is refused where the head is read
        word = encode(name, value)
        if self.lowest is not None and value < self.lowest:
            raise ValueError(f"{name} must be at least {self.lowest}, not {value!r}.")
        if self.highest is not None and value > self.highest:
            raise ValueError(f"{name} must be at most {self.highest}, not {value!r}.")
        return word

    def in_python(self) -> inspect.Parameter:
        """The keyword that a caller types, for ``inspect.signature``."""
        annotation: Any = str | RawKey if self.type is None else TYPES[self.type].python
        default: Any = inspect.Parameter.empty
        if self.tail == "*":
            annotation, default = Iterable[annotation], ()
        elif self.tail == "**":
            annotation, default = Mapping[str, annotation], {}
        elif self.optional:
            annotation, default = annotation | None, None
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self.name, kind, default=default, annotation=annotation)


def _checked_key(name: str, value: object) -> object:
    if isinstance(value, str):
        encode_str(name, value)
    elif isinstance(value, RawKey | PrefixedKey):
        encode = encode_bytes if isinstance(value.name, bytes) else encode_str
        encode(name, value.name)
    else:
        raise wrong_type(name, "a key, str or RawKey", value)
    return value


def read_keys(words: Sequence[Word], path: str | None) -> tuple[Parameter, ...]:
    """The parameters of a ``keys:`` section; InvalidScript where it can't be understood."""
    parameters = []
    for word in words:
        match = KEY.fullmatch(word.text)
        if match is None:
            raise InvalidScript(
                f"{word.text!r} is no name of a key: write names parted by spaces, such as "
                "'-- keys: stock *holds'.",
                file=path,
                line=word.line,
            )
        parameters.append(Parameter(match["name"], tail=match["tail"], declared=word.text))
    _check_order(parameters, words, path)
    return tuple(parameters)


def read_args(words: Sequence[Word], path: str | None) -> tuple[Parameter, ...]:
    """The parameters of an ``args:`` section; InvalidScript where it can't be understood."""
    parameters = []
    for word in words:
        match = ARGUMENT.fullmatch(word.text)
        if match is None:
            raise InvalidScript(
                f"{word.text!r} is no argument: write name:type without a space, such as "
                "'-- args: amount:int(1..) reason:str? *tags:str'.",
                file=path,
                line=word.line,
            )
        parameters.append(_argument(match, word, path))
    _check_order(parameters, words, path)
    return tuple(parameters)


def _argument(match: re.Match[str], word: Word, path: str | None) -> Parameter:
    def invalid(message: str) -> InvalidScript:
        return InvalidScript(f"{word.text!r}: {message}", file=path, line=word.line)

    type_name, tail = match["type"], match["tail"]
    if type_name not in SENDABLE:
        near = did_you_mean(type_name, SENDABLE)
        raise invalid(f"an argument is one of {' '.join(SENDABLE)}, not {type_name!r}.{near}")
    if tail and match["optional"]:
        raise invalid(f"a {tail} may be empty as it is: leave out the '?'.")
    if match["range"] and type_name not in ("int", "float"):
        raise invalid("only int and float have a range.")
    lowest, highest = (_bound(match[each], type_name) for each in ("lowest", "highest"))
    if type_name == "int" and not all(_is_int64(each) for each in (lowest, highest)):
        raise invalid("the bounds of an int are signed 64-bit integers.")
    if lowest is not None and highest is not None and lowest > highest:
        raise invalid(f"no number is in that range: write {match['highest']}..{match['lowest']}.")
    optional = bool(match["optional"])
    return Parameter(match["name"], type_name, tail, optional, lowest, highest, word.text)


def _bound(text: str | None, type_name: str) -> float | None:
    if text is None:
        return None
    return int(text) if type_name == "int" and "." not in text else float(text)


def _is_int64(bound: float | None) -> bool:
    return bound is None or (isinstance(bound, int) and MIN_INT <= bound <= MAX_INT)


def _check_order(parameters: list[Parameter], words: Sequence[Word], path: str | None) -> None:
    """What may be absent stands last, and only one tail, as nothing tells words apart."""
    before: Parameter | None = None
    for parameter, word in zip(parameters, words, strict=True):
        message = ""
        if before and before.tail:
            message = f"nothing can follow {before.tail}{before.name}: put it last."
        elif before and before.can_be_absent and not parameter.can_be_absent:
            message = f"{before.name} may be absent: put it after {parameter.name}."
        elif keyword.iskeyword(parameter.name) or parameter.name == "self":
            message = f"{parameter.name!r} cannot be the name of an argument in Python."
        if message:
            raise InvalidScript(message, file=path, line=word.line)
        before = parameter
