"""
Replies and arguments that are reckoned with as they come: they are texts, and false where
there is nothing.

Lua turns a text into a number for arithmetic, so that goes well until a key is missing; it
never does for a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from ..commands import words
from ..lint import Finding
from .reader import REDIS
from .tree import Local, children, line, text
from .values import CALL, Place, Values

#: Commands that reply with a text, or with nothing.
TEXTS = words(
    "GET GETDEL GETEX GETSET HGET LINDEX LMOVE LPOP RPOP RPOPLPUSH SPOP SRANDMEMBER ZSCORE"
)
ARITHMETIC, ORDER = frozenset("+-*/%^"), frozenset(["<", ">", "<=", ">="])
#: Where a value is looked at before it is used.
TESTS = frozenset(["and", "or", "==", "~=", "not"])
CONDITIONS = words("if_statement elseif_statement while_statement repeat_statement")
NUMBERS = words("tonumber math.abs math.ceil math.floor math.max math.min")


def reply_faults(values: Values) -> Iterator[Finding]:
    """Sums with a reply that may be missing, comparisons of a text with a number."""
    for node in values.tree.nodes:
        if node.type in ("binary_expression", "unary_expression"):
            sign = text(node.child_by_field_name("operator"))
            sides = children(node)
            if sign in ARITHMETIC:
                yield from _sum(values, sides)
            elif sign in ORDER and len(sides) == 2:
                yield from _order(values, *sides)
                yield from _order(values, *reversed(sides))


def _sum(values: Values, sides: list[Node]) -> Iterator[Finding]:
    for side in sides:
        local = values.tree.local(side) if side.type == "identifier" else None
        calls = local.values if local is not None and _is_plain(local) else [side]
        commands = [_command(values, each) for each in calls]
        if commands and all(commands) and not (local and _is_tested(values, local)):
            message = f"it reckons with the reply of {commands[0]}, which may be missing."
            hint = f"Write tonumber(redis.call('{commands[0]}', …) or 0)."
            yield Finding("bare-reply", message, hint, line(side))


def _is_plain(local: Local) -> bool:
    return local.function is None and local.element_of is None


def _order(values: Values, one: Node, other: Node) -> Iterator[Finding]:
    texts = {_text_of(values, each) for each in values.origins(one)}
    numbers = all(_is_number(values, each) for each in values.origins(other))
    if numbers and all(texts):
        told = " or ".join(sorted(each for each in texts if each))
        message = f"it compares {told} with a number, which Lua refuses: it is text."
        yield Finding("bare-reply", message, "Put tonumber(…) around it.", line(one))


def _text_of(values: Values, origin: Place) -> str | None:
    """What to call a value that is surely a text, or false."""
    if origin.key is None and (command := _command(values, origin.node)):
        return f"the reply of {command}"
    name, _, index = values.name(origin).partition(".")
    return f"ARGV[{index}]" if name == "ARGV" and index else None


def _is_number(values: Values, origin: Place) -> bool:
    if origin.key is not None:
        return False
    node = origin.node
    if node.type == CALL:
        return bool(values.names(values.application(node).function) & NUMBERS)
    sign = text(node.child_by_field_name("operator"))
    return node.type == "number" or sign == "#" or sign in ARITHMETIC


def _command(values: Values, node: Node) -> str:
    """The command of TEXTS that this is a call of."""
    if node.type != CALL:
        return ""
    call = values.application(node)
    if not call.arguments or not values.names(call.function) & REDIS:
        return ""
    said = {(values.said(each) or "").upper() for each in values.origins(call.arguments[0])}
    return said.pop() if len(said) == 1 and said <= TEXTS else ""


def _is_tested(values: Values, local: Local) -> bool:
    tree = values.tree
    for node in tree.nodes:
        if tree.is_variable(node) and tree.local(node) is local:
            outer = tree.parent(node)
            if outer is None or outer.type in CONDITIONS or outer.type == "arguments":
                return True
            if text(outer.child_by_field_name("operator")) in TESTS:
                return True
    return False
