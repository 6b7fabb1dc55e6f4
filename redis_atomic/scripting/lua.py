"""As much of Lua as can be read without a parser: tokens, calls of Redis, assignments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .commands import key_places
from .reading import Key, Reading, RedisCall, Uses

TOKEN = re.compile(
    r"""
    (?P<comment>--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\r\n]*|\A\#![^\n]*)
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


class CallTokens(NamedTuple):
    """A ``redis.call`` or ``redis.pcall``: the tokens of each of its arguments."""

    line: int
    arguments: list[list[Token]]

    @property
    def command(self) -> str:
        """The command in capitals, or nothing where it is computed."""
        return (_said(self.arguments[0]) or "").upper()


def _said(tokens: list[Token]) -> str | None:
    """What an expression says that is nothing but a string or a number."""
    only = len(tokens) == 1 and tokens[0].kind in ("string", "number")
    return tokens[0].content if only else None


def read_tokens(source: str) -> Reading:
    """What can be told without a parser; a call whose command is computed is left out."""
    tokens = tokens_of(source)
    values = assignments(tokens)
    calls = [
        RedisCall(each.line, each.command, tuple(_keys(each, values)))
        for each in redis_calls(tokens)
        if each.command
    ]
    texts = [each.content for each in tokens if each.kind == "string"]
    return Reading(_uses("KEYS", tokens), _uses("ARGV", tokens), calls, texts)


def _uses(table: str, tokens: list[Token]) -> Uses:
    uses = Uses()
    for index, token in enumerate(tokens):
        before = tokens[index - 1].text if index else ""
        if token.kind != "name" or token.text != table or before in (".", "#"):
            continue
        match [each.text for each in tokens[index + 1 : index + 4]]:
            case ["[", number, "]"] if number.isdecimal():
                uses.numbers.setdefault(int(number), token.line)
            case _:
                uses.others.append(token.line)
    return uses


def _keys(call: CallTokens, values: dict[str, list[Token]]) -> Iterator[Key]:
    words = call.arguments[1:]
    for place in key_places(call.command, [_said(each) for each in words]):
        if key := _key(words[place], values):
            yield key


def _key(tokens: list[Token], values: dict[str, list[Token]]) -> Key | None:
    if not tokens:
        return None
    text, line = "".join(each.text for each in tokens), tokens[0].line
    is_name = len(tokens) == 1 and tokens[0].kind == "name"
    value = values.get(tokens[0].text, tokens) if is_name else tokens
    if _said(value) is not None:
        return Key("literal", text, value[0].text, line)
    if value and (value[0].text == "ARGV" or any(each.text == ".." for each in value)):
        return Key("computed", text, text, line)
    return Key("local", text, text, line) if is_name else None


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


def redis_calls(tokens: list[Token]) -> Iterator[CallTokens]:
    texts = [each.text for each in tokens]
    for start in range(len(tokens) - 3):
        receiver, dot, method, opening = texts[start : start + 4]
        called = method in ("call", "pcall") and dot == "." and opening == "("
        if called and receiver in ("redis", "server"):
            yield CallTokens(tokens[start].line, _arguments(tokens, start + 4))


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
