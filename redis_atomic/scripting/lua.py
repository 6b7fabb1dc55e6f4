"""As much of Lua as can be read without a parser: tokens, calls of Redis, assignments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

TOKEN = re.compile(
    r"""
    (?P<comment>--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*|\A\#![^\n]*)
  | (?P<string>\[(?P<s>=*)\[.*?\](?P=s)\]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9](?:[0-9A-Za-z]|\.[0-9])*)
  | (?P<sign>\.{2,3}|[=~<>]=|\S)
    """,
    re.DOTALL | re.VERBOSE,
)
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")
#: A line that ends or begins with one of these goes on.
OPERATORS = frozenset("+-*/%^#<>=.:,") | {"==", "~=", "<=", ">=", "..", "and", "or", "not"}
STATEMENTS = frozenset(
    ["local", "if", "for", "while", "repeat", "function", "return", "end", "then", "do", "else"]
)


class Token(NamedTuple):
    kind: str
    text: str
    line: int

    @property
    def content(self) -> str:
        """What a string says; escapes are left as they are."""
        return re.sub(r"\A(?:\[=*\[|[\"'])|(?:\]=*\]|[\"'])\Z", "", self.text)


@dataclass(frozen=True, slots=True)
class RedisCall:
    """A ``redis.call`` or ``redis.pcall``: the tokens of each of its arguments."""

    line: int
    arguments: list[list[Token]]

    @property
    def command(self) -> str:
        """The command in capitals, or nothing where it is computed."""
        first = self.arguments[0]
        return first[0].content.upper() if [each.kind for each in first] == ["string"] else ""


def tokens_of(source: str) -> list[Token]:
    tokens, line, end = [], 1, 0
    for match in TOKEN.finditer(source):
        line += source.count("\n", end, match.start())
        end = match.start()
        kind = match.lastgroup or ""
        if kind in ("c", "s"):  # the "=" of a long bracket
            kind = "comment" if match["comment"] else "string"
        if kind != "comment":
            tokens.append(Token(kind, match[0], line))
    return tokens


def redis_calls(tokens: list[Token]) -> Iterator[RedisCall]:
    texts = [each.text for each in tokens]
    for start in range(len(tokens) - 3):
        receiver, dot, method, opening = texts[start : start + 4]
        called = method in ("call", "pcall") and dot == "." and opening == "("
        if called and receiver in ("redis", "server"):
            yield RedisCall(tokens[start].line, _arguments(tokens, start + 4))


def _arguments(tokens: list[Token], start: int) -> list[list[Token]]:
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in tokens[start:]:
        if token.text in CLOSING:
            depth -= 1
            if depth < 0:
                break
        if token.text in OPENING:
            depth += 1
        if token.text == "," and depth == 0:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return arguments


def assignments(tokens: list[Token]) -> dict[str, list[Token]]:
    """Name to expression, for names that are assigned once and alone."""
    found: dict[str, list[list[Token]]] = {}
    for index in range(1, len(tokens) - 1):
        name, before = tokens[index], tokens[index - 1].text
        if name.kind == "name" and tokens[index + 1].text == "=" and before not in (".", ","):
            found.setdefault(name.text, []).append(_expression(tokens, index + 2))
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _expression(tokens: list[Token], start: int) -> list[Token]:
    """The tokens up to the end of the statement: a new line that continues nothing."""
    depth, expression = 0, list[Token]()
    for token in tokens[start:]:
        previous = expression[-1] if expression else None
        if depth == 0 and previous:
            goes_on = token.text in OPERATORS or previous.text in OPERATORS
            if token.text in STATEMENTS or token.text == ";":
                break
            if token.line > previous.line and not goes_on:
                break
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth < 0:
            break
        expression.append(token)
    return expression
