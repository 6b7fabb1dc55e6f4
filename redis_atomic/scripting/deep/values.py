"""
Where values come from: an expression is followed back through locals, parameters,
helper functions and tables to what it begins with.

Only what is seen is followed. A value may have other origins too, so a rule may say
"it can be this", never "it can be nothing else".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from tree_sitter import Node

from .tree import (
    FUNCTIONS,
    INDEXES,
    Tree,
    arguments_of,
    callee,
    children,
    string,
    text,
)

T = TypeVar("T")
CALL = "function_call"
#: Any of a table's elements.
ANY = "*"
#: So many steps are followed, and so many values to learn of another; what may come from
#: further is not known.
FAR, DEEP = 100, 20
PROTECTED = frozenset(["pcall", "xpcall"])
#: Functions that return their first argument, or its text.
PASSING = frozenset(["assert", "tostring"])


class Place(NamedTuple):
    """An expression, or the element of it under this key."""

    node: Node
    key: str | None = None


class Application(NamedTuple):
    """A call, ``pcall(f, x)`` taken for ``f(x)``."""

    node: Node
    function: Node
    arguments: list[Node]


class Values:
    """The values of a tree."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.calls = [self.application(each) for each in tree.nodes if each.type == CALL]
        self._sites: defaultdict[int, list[Application]] = defaultdict(list)
        self._returned: defaultdict[int, list[Node]] = defaultdict(list)
        self._origins: dict[tuple[int, str | None], list[Place]] = {}
        self._busy: set[tuple[int, str | None]] = set()
        for node in tree.nodes:
            if node.type == "assignment_statement":
                self._assign(node)
            elif node.type == "return_statement" and (function := tree.function_around(node)):
                returned = children(next(iter(children(node)), None))
                self._returned[function.id] += returned[:1]
        for call in self.calls:
            self._note(call)
        self._origins.clear()  # what was followed before all was noted

    def application(self, node: Node) -> Application:
        """The call that this node is."""
        function, arguments = callee(node) or node, arguments_of(node)
        if arguments and self._is_global(function, PROTECTED):
            return Application(node, arguments[0], arguments[1:])
        return Application(node, function, arguments)

    def _is_global(self, node: Node, names: frozenset[str]) -> bool:
        return text(node) in names and self.tree.local(node) is None

    def _assign(self, node: Node) -> None:
        parent = self.tree.parent(node)
        if parent is not None and parent.type == "variable_declaration":
            return
        targets, values = (children(each) for each in children(node)[:2])
        values += [node] * (len(targets) - len(values))  # what else a last call returns
        for target, value in zip(targets, values, strict=False):
            table = target.child_by_field_name("table") if target.type in INDEXES else target
            local = self.tree.local(table) if table and table.type == "identifier" else None
            if local is not None and table is target:
                _add(local.values, value)
            elif local is not None:
                _add(local.stored, (self.index_of(target), value))

    def _note(self, call: Application) -> None:
        if text(call.function) == "table.insert" and len(call.arguments) > 1:
            table, value = call.arguments[0], call.arguments[-1]
            local = self.tree.local(table) if table.type == "identifier" else None
            if local is not None:
                _add(local.stored, (ANY, value))
        local = self.tree.local(call.function) if call.function.type == "identifier" else None
        for value in local.values if local is not None else ():
            if value.type in FUNCTIONS:
                _add(self._sites[value.id], call)

    def sites(self, function: Node | None) -> list[Application]:
        """The calls of a function that a local names."""
        return self._sites[function.id] if function is not None else []

    def index_of(self, node: Node) -> str:
        """The index of ``t.x`` or ``t[x]``, ANY where it is computed."""
        index = node.child_by_field_name("field")
        if index is None:
            return ANY
        if node.type == "dot_index_expression":
            return text(index)
        said = {self.said(each) for each in self.origins(index)}
        only = said.pop() if len(said) == 1 else None
        return ANY if only is None else only

    def said(self, place: Place) -> str | None:
        """The text of a string or a number."""
        if place.key is None and place.node.type == "string":
            return string(place.node)
        return text(place.node) if place.key is None and place.node.type == "number" else None

    def names(self, node: Node) -> set[str]:
        """The names of globals, or of fields of them, that it may be: ``{"redis.call"}``."""
        return {self.name(each) for each in self.origins(node)} - {""}

    def name(self, place: Place) -> str:
        """The name of a global or of a field of one, else nothing."""
        if place.node.type != "identifier" or self.tree.local(place.node) is not None:
            return ""
        return text(place.node) + (f".{place.key}" if place.key is not None else "")

    def origins(self, node: Node, key: str | None = None) -> list[Place]:
        """What the value may begin with: expressions that cannot be followed further."""
        start = Place(node, key)
        at = (node.id, key)
        if at in self._origins:
            return self._origins[at]
        if at in self._busy or len(self._busy) > DEEP:  # t[t[…]], or a value made of itself
            return [start]
        self._busy.add(at)
        found = self._origins[at] = self._followed(start)
        self._busy.remove(at)
        return found

    def _followed(self, start: Place) -> list[Place]:
        found, pending = list[Place](), [start]
        seen = set[tuple[int, str | None]]()
        while pending:
            if len(seen) + len(pending) > FAR:
                return [*found, start]
            place = pending.pop()
            if (place.node.id, place.key) in seen:
                continue
            seen.add((place.node.id, place.key))
            behind = self._behind(place)
            pending.extend(reversed(behind))
            if not behind:
                found.append(place)
        return found

    def _behind(self, place: Place) -> list[Place]:
        node, key = place
        match node.type:
            case "parenthesized_expression":
                return [Place(each, key) for each in children(node)]
            case "binary_expression":
                return [Place(each, key) for each in self._alternatives(node)]
            case "identifier":
                return list(self._behind_name(node, key))
            case "dot_index_expression" | "bracket_index_expression" if key is None:
                table = node.child_by_field_name("table")
                return [Place(table, self.index_of(node))] if table is not None else []
            case "table_constructor" if key is not None:
                return list(self._fields(node, key))
            case "function_call":
                return list(self._behind_call(node, key))
            case "vararg_expression" if key is None:
                return [Place(each) for each in self._varargs(node)]
        return []

    def _alternatives(self, node: Node) -> list[Node]:
        operator = text(node.child_by_field_name("operator"))
        sides = {"or": ("left", "right"), "and": ("right",)}.get(operator, ())
        return [each for side in sides if (each := node.child_by_field_name(side)) is not None]

    def _behind_name(self, node: Node, key: str | None) -> Iterator[Place]:
        local = self.tree.local(node)
        if local is None:
            return
        yield from (Place(value, key) for value in local.values)
        if key is not None:
            for stored, value in local.stored:
                if key in (stored, ANY):
                    yield Place(value)
        elif local.element_of is not None:
            yield Place(local.element_of, ANY)
        for call in self.sites(local.function):
            if local.number < len(call.arguments):
                yield Place(call.arguments[local.number], key)

    def _fields(self, node: Node, key: str) -> Iterator[Place]:
        number = 0
        for each in children(node):
            name, value = each.child_by_field_name("name"), each.child_by_field_name("value")
            number += name is None
            own = str(number) if name is None else self._key(name)
            if value is not None and key in (own, ANY):
                yield Place(value)

    def _key(self, name: Node) -> str:
        if name.type == "identifier" and not self.tree.is_variable(name):
            return text(name)
        return self.said(Place(name)) or ANY

    def _behind_call(self, node: Node, key: str | None) -> Iterator[Place]:
        call = self.application(node)
        if not call.arguments and call.function.type != "identifier":
            return
        names = self.names(call.function)
        if key is None and names & {"unpack"} and call.arguments:
            yield Place(call.arguments[0], ANY)
        elif key is None and names & PASSING and call.arguments:
            yield Place(call.arguments[0])
        for origin in self.origins(call.function):
            if origin.node.type in FUNCTIONS and origin.key is None:
                yield from (Place(each, key) for each in self._returned[origin.node.id])

    def _varargs(self, node: Node) -> Iterator[Node]:
        function = self.tree.function_around(node)
        for call in self.sites(function):
            yield from call.arguments[self.named_parameters(function) :]

    def named_parameters(self, function: Node | None) -> int:
        """How many parameters come before the ``...``."""
        parameters = function.child_by_field_name("parameters") if function is not None else None
        return sum(each.type == "identifier" for each in children(parameters))


def _add(values: list[T], value: T) -> None:
    if len(values) <= FAR:  # one more shows that there are too many
        values.append(value)
