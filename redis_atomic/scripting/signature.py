"""
A head comment, understood: named arguments become keys and args, a reply a value.

    -- keys: stock *holds
    -- args: amount:int(1..) reason:str? *tags:str
    -- returns: applied:bool left:int
    -- errors: OUT_OF_STOCK
    -- flags: no-writes idempotent
    -- undeclared: wake

``*`` takes a list and ``**`` a mapping (sent field, value, field, value), last in
its section; what has a ``?`` may be absent; ``-- …`` behind a declaration is a
remark. A section may go on in another line of the same word. ``undeclared`` lists
locals that hold keys which cannot be declared, so that no check complains of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..exceptions import InvalidScript, UnexpectedReply
from .head import Head, Word, read_head
from .packing import Arg
from .parameters import Parameter, read_args, read_keys
from .results import Result, read_returns
from .script import Key
from .spelling import did_you_mean
from .values import plain

#: Redis's own words (https://redis.io/docs/latest/develop/programmability/lua-api/).
SERVER_FLAGS = frozenset(
    {"no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"}
)
FLAGS = SERVER_FLAGS | {"idempotent"}
ERROR = re.compile(r"[A-Z][A-Z0-9_]{2,}")
LOCAL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Signature:
    """What a script takes and returns. ``declared``: whether the head says anything."""

    script: str
    keys: tuple[Parameter, ...]
    args: tuple[Parameter, ...]
    result: Result
    errors: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    declared: bool = True
    undeclared: tuple[str, ...] = ()
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(each.name for each in (*self.keys, *self.args))
        object.__setattr__(self, "names", names)

    def bind(self, arguments: Mapping[str, Any]) -> tuple[tuple[Key, ...], tuple[Arg, ...]]:
        """
        Keys and args, as sent, of these named arguments.

        TypeError for a missing, unknown or wrongly typed one, ValueError for one out
        of its range or too large; the message begins with its name.
        """
        if not self.names.issuperset(arguments):
            raise self._unknown(arguments)
        return self._words(self.keys, arguments), self._words(self.args, arguments)

    def _words(
        self, parameters: tuple[Parameter, ...], arguments: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        words: list[Any] = []
        absent = ""
        for parameter in parameters:
            value = arguments.get(parameter.name)
            if value is None and parameter.can_be_absent:
                absent = absent or parameter.name
                continue
            if parameter.name not in arguments:
                raise TypeError(f"{parameter.name} is missing: {self.script} takes {self.usage}.")
            before = len(words)
            words.extend(parameter.words(value))
            if absent and len(words) > before:
                raise TypeError(f"{absent} is missing: it is sent before {parameter.name}.")
        return tuple(words)

    def _unknown(self, arguments: Mapping[str, Any]) -> TypeError:
        name = next(each for each in arguments if each not in self.names)
        near = did_you_mean(name, self.names)
        return TypeError(f"{name} is unknown: {self.script} takes {self.usage}.{near}")

    def parse(self, reply: Any) -> Any:
        """
        The declared value of a reply; the same for RESP2 and RESP3.

        ScriptError for an error within the reply, UnexpectedReply where it does
        not fit ``returns:``.
        """
        if self.result.declared == "anything":
            return plain(reply, self.script)
        try:
            return self.result.decode(plain(reply, self.script))
        except (ValueError, RecursionError):
            expected = self.result.declared
        raise UnexpectedReply(script=self.script, expected=expected, reply=reply)

    @property
    def usage(self) -> str:
        """The names that a call takes: ``stock, amount, reason=None``."""
        parameters = [each.in_python() for each in (*self.keys, *self.args)]
        words = [str(each.replace(annotation=inspect.Parameter.empty)) for each in parameters]
        return ", ".join(words) or "no arguments"

    def in_python(self) -> inspect.Signature:
        """The signature of the operation, for ``inspect.signature`` and ``help``."""
        parameters = [each.in_python() for each in (*self.keys, *self.args)]
        return inspect.Signature(parameters, return_annotation=self.result.python)


def read_signature(text: str, script: str, path: str | None = None) -> Signature:
    """
    The signature that a script's text declares; without a head: no keys, no args.

    ``script`` is its name, for messages. InvalidScript, with file and line, for a
    head that can't be understood or contradicts its ``#!lua`` line.
    """
    head = read_head(text, path)
    words = head.sections.get
    keys, args = read_keys(words("keys", ()), path), read_args(words("args", ()), path)
    _check_names_differ(keys + args, [*words("keys", ()), *words("args", ())], path)
    return Signature(
        script=script,
        keys=keys,
        args=args,
        result=read_returns(words("returns", ()), script, path),
        errors=_read_errors(words("errors", ()), path),
        flags=_read_flags(head, path),
        declared=not head.is_empty,
        undeclared=_read_undeclared(words("undeclared", ()), path),
    )


def _check_names_differ(
    parameters: Sequence[Parameter], words: Sequence[Word], path: str | None
) -> None:
    names = set()
    for parameter, word in zip(parameters, words, strict=True):
        if parameter.name in names:
            message = f"{parameter.name!r} is declared twice: give one of them another name."
            raise InvalidScript(message, file=path, line=word.line)
        names.add(parameter.name)


def _read_errors(words: Sequence[Word], path: str | None) -> tuple[str, ...]:
    for word in words:
        if not ERROR.fullmatch(word.text):
            message = f"{word.text!r} is no error code: write capitals, such as OUT_OF_STOCK."
            raise InvalidScript(message, file=path, line=word.line)
    return tuple(word.text for word in words)


def _read_undeclared(words: Sequence[Word], path: str | None) -> tuple[str, ...]:
    for word in words:
        if not LOCAL.fullmatch(word.text):
            message = f"{word.text!r} is no local of the script: list the names that hold keys."
            raise InvalidScript(message, file=path, line=word.line)
    return tuple(word.text for word in words)


def _read_flags(head: Head, path: str | None) -> frozenset[str]:
    words = head.sections.get("flags")
    for word in [*(words or ()), *(Word(flag, 1) for flag in head.shebang or ())]:
        if word.text not in FLAGS:
            near = did_you_mean(word.text, FLAGS)
            message = f"a flag is one of {' '.join(sorted(FLAGS))}, not {word.text!r}.{near}"
            raise InvalidScript(message, file=path, line=word.line)
    flags = frozenset(word.text for word in words) if words is not None else head.shebang
    flags = flags or frozenset()
    if head.shebang is not None and flags & SERVER_FLAGS != head.shebang:
        first = f"#!lua flags={','.join(sorted(flags & SERVER_FLAGS))}".removesuffix(" flags=")
        message = f"the #!lua line and '-- flags:' disagree: write {first!r} or correct the flags."
        raise InvalidScript(message, file=path, line=1)
    return flags
