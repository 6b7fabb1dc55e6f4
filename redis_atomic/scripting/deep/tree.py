"""
A script as a syntax tree, with its names resolved.

A local is visible from the end of its declaration to the end of its block, so two numbers
tell whether a use means it; of several it is the one declared last.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import tree_sitter_lua
from tree_sitter import Language, Node, Parser

from ..lua import TOKEN

LUA = Language(tree_sitter_lua.language())
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
FUNCTIONS = frozenset(["function_declaration", "function_definition"])
INDEXES = frozenset(["dot_index_expression", "bracket_index_expression"])


def _plain(source: str) -> bytes:
    """
    The text, line by line, without what the grammar reads otherwise than Lua 5.1 does.

    To it ``-- --[[`` and ``'--[['`` begin a comment of many lines, and ``'\\:'`` is a mistake.
    """
    return TOKEN.sub(_plain_token, source).encode()


def _plain_token(token: re.Match[str]) -> str:
    if token["comment"] is not None:
        return re.sub(r"[^\r\n]", " ", token[0])
    if token["string"] is not None:
        return ESCAPE.sub(_plain_escape, token[0]).replace("\0", "_").replace("--[", "__[")
    return token[0]


def _plain_escape(escape: re.Match[str]) -> str:
    return escape[0] if escape[1] in "abfnrtv\\\"'\r\n0123456789" else f"_{escape[1]}"


@dataclass(eq=False, slots=True)
class Local:
    """
    A local variable: where it is visible, and the expressions that it is given.

    ``element_of``: the table that a loop takes it from. A parameter has its ``function``
    and ``number``. ``stored``: what is put into it, as (index or None, value).
    """

    name: str
    start: int
    end: int
    values: list[Node] = field(default_factory=list)
    element_of: Node | None = None
    function: Node | None = None
    number: int = 0
    stored: list[tuple[str | None, Node]] = field(default_factory=list)


class Tree:
    """The tree of a text, its nodes in order, its locals and the uses of names."""

    def __init__(self, source: bytes) -> None:
        self.root = Parser(LUA).parse(_plain(source.decode("utf-8", "replace"))).root_node
        self.parents: dict[int, Node] = {}
        self.nodes = list(self._walk())
        self.locals: defaultdict[str, list[Local]] = defaultdict(list)
        self._names: set[int] = set()  # identifiers that are no variables, or declare them
        for node in self.nodes:
            self._declare(node)

    def _walk(self) -> Iterator[Node]:
        """Every named node, parents first. Not recursive: a sum of 10,000 terms is as deep."""
        pending = [self.root]
        while pending:
            node = pending.pop()
            yield node
            for child in reversed(children(node)):
                self.parents[child.id] = node
                pending.append(child)

    def _declare(self, node: Node) -> None:
        match node.type:
            case "variable_declaration":
                self._declare_variables(node)
            case "function_declaration" | "function_definition":
                self._declare_function(node)
            case "for_numeric_clause":
                self._declare_names([node.child_by_field_name("name")], node, self.parent(node))
            case "for_generic_clause":
                self._declare_loop(node)
            case "dot_index_expression":
                self._is_no_variable(node.child_by_field_name("field"))
            case "method_index_expression":
                self._is_no_variable(node.child_by_field_name("method"))
            case "field":
                name = node.child_by_field_name("name")
                if name is not None and node.children[0].id == name.id:  # not [name] = …
                    self._is_no_variable(name)

    def _declare_variables(self, node: Node) -> None:
        inner = next(iter(children(node)), node)
        names = inner if inner.type == "variable_list" else _child(inner, "variable_list")
        variables = names.children_by_field_name("name") if names is not None else []
        declared = self._declare_names([*variables], node, self._block(node))
        for local, value in zip(declared, children(_child(inner, "expression_list")), strict=False):
            local.values.append(value)

    def _declare_function(self, node: Node) -> None:
        name = node.child_by_field_name("name")
        if name is not None and node.children[0].type == "local":
            (local,) = self._declare_names([name], name, self._block(node))
            local.values.append(node)
        parameters = node.child_by_field_name("parameters")
        if parameters is not None:
            names = parameters.children_by_field_name("name")
            names = [each for each in names if each.type == "identifier"]
            for number, local in enumerate(self._declare_names([*names], parameters, node)):
                local.function, local.number = node, number

    def _declare_loop(self, node: Node) -> None:
        names, values = _child(node, "variable_list"), _child(node, "expression_list")
        if names is None or values is None:
            return
        variables = names.children_by_field_name("name")
        declared = self._declare_names([*variables], node, self.parent(node))
        iterator = next(iter(children(values)), None)
        if iterator is not None and iterator.type == "function_call" and len(declared) > 1:
            called, arguments = callee(iterator), arguments_of(iterator)
            if text(called) in ("ipairs", "pairs") and arguments:
                declared[1].element_of = arguments[0]

    def _declare_names(
        self, names: list[Node | None], after: Node, within: Node | None
    ) -> list[Local]:
        end = within.end_byte if within is not None else self.root.end_byte
        declared = []
        for name in names:
            if name is not None:
                local = Local(text(name), after.end_byte, end)
                self._is_no_variable(name)
                self.locals[local.name].append(local)
                declared.append(local)
        return declared

    def _is_no_variable(self, name: Node | None) -> None:
        if name is not None:
            self._names.add(name.id)

    def _block(self, node: Node) -> Node | None:
        """What ends the life of a local that is declared here."""
        outer = self.parent(node)
        while outer is not None and outer.type not in ("block", "chunk"):
            outer = self.parent(outer)
        after = self.parent(outer) if outer is not None else None
        return after if after is not None and after.type == "repeat_statement" else outer

    def parent(self, node: Node) -> Node | None:
        return self.parents.get(node.id)

    def is_variable(self, node: Node) -> bool:
        """Whether an identifier is read or assigned here, as a local or a global."""
        return node.type == "identifier" and node.id not in self._names

    def local(self, node: Node) -> Local | None:
        """The local that an identifier means here; None for a global."""
        at, found = node.start_byte, None
        for each in self.locals.get(text(node), ()):
            if each.start <= at < each.end and (found is None or found.start <= each.start):
                found = each
        return found

    def function_around(self, node: Node) -> Node | None:
        """The innermost function that a node stands in."""
        outer = self.parent(node)
        while outer is not None and outer.type not in FUNCTIONS:
            outer = self.parent(outer)
        return outer


def text(node: Node | None) -> str:
    """What is written there, on one line."""
    return " ".join((node.text or b"").decode("utf-8", "replace").split()) if node else ""


def line(node: Node) -> int:
    return int(node.start_point.row) + 1


def children(node: Node | None) -> list[Node]:
    """What a node consists of, but for words, signs and comments."""
    return [each for each in node.named_children if each.type != "comment"] if node else []


def callee(call: Node) -> Node | None:
    """What is called."""
    return call.child_by_field_name("name")


def arguments_of(call: Node) -> list[Node]:
    """What is passed; ``f'x'`` and ``f{}`` pass one."""
    return children(call.child_by_field_name("arguments"))


def string(node: Node) -> str:
    """What a string says; escapes are left as they are."""
    content = node.child_by_field_name("content")
    return text(content) if content is not None else ""


def _child(node: Node, kind: str) -> Node | None:
    return next((each for each in children(node) if each.type == kind), None)
