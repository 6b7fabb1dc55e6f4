"""Globals that Redis does not give, and fields that its tables do not have."""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from ..lint import Finding
from ..spelling import did_you_mean
from .sandbox import ELSEWHERE, FIELDS, GLOBALS, TABLES
from .tree import INDEXES, Tree, line, text
from .values import Values


def name_faults(values: Values) -> Iterator[Finding]:
    """Each unknown name once, where it is first met, and each that only some servers know."""
    tree, told = values.tree, set()
    _, assigned = global_names(tree)
    for node in tree.nodes:
        for finding in _of(values, node, assigned):
            if finding.message not in told:
                told.add(finding.message)
                yield finding


def global_names(tree: Tree) -> tuple[set[str], set[str]]:
    """The globals that a script reads, and those that it assigns."""
    read = {text(node) for node in tree.nodes if _is_global(tree, node, assigned=False)}
    return read, {text(node) for node in tree.nodes if _is_global(tree, node, assigned=True)}


def _is_global(tree: Tree, node: Node, *, assigned: bool) -> bool:
    is_global = tree.is_variable(node) and tree.local(node) is None
    return is_global and _is_assigned(tree, node) is assigned


def _of(values: Values, node: Node, assigned: set[str]) -> Iterator[Finding]:
    tree = values.tree
    if _is_global(tree, node, assigned=True):
        name = text(node)
        message = f"it assigns the global {name!r}, and Redis allows none."
        yield Finding("unknown-name", message, f"Declare it: 'local {name}'.", line(node))
    elif _is_global(tree, node, assigned=False) and text(node) not in assigned:
        yield from _global(tree, text(node), node)
    elif node.type in INDEXES:
        table = node.child_by_field_name("table")
        for origin in values.origins(table) if table is not None else ():
            name, index = values.name(origin), values.index_of(node)
            if name == "_G" and index.isidentifier() and not _is_assigned(tree, node):
                yield from _global(tree, index, node)
            elif name in TABLES and index.isidentifier():
                yield from _field(tree, f"{name}.{index}", node)


def _global(tree: Tree, name: str, node: Node) -> Iterator[Finding]:
    if name in ELSEWHERE:
        message = f"the global {name!r} is there on {ELSEWHERE[name]} only."
        hint = "Do without it, or silence this where no other server is used."
        yield Finding("some-servers", message, hint, line(node))
    elif name not in GLOBALS:
        hint = did_you_mean(name, {*GLOBALS, *tree.locals}).strip()
        message = f"there is no global {name!r}: reading it is an error."
        yield Finding("unknown-name", message, hint or "Declare it as a local.", line(node))


def _field(tree: Tree, name: str, node: Node) -> Iterator[Finding]:
    if _is_assigned(tree, node):
        message = f"it assigns {name}, and Redis keeps that table from changes."
        yield Finding("unknown-name", message, "Use a local of your own.", line(node))
    elif name not in FIELDS:
        hint = did_you_mean(name, FIELDS).strip() or "Call what there is."
        yield Finding("unknown-name", f"no server has {name}.", hint, line(node))


def _is_assigned(tree: Tree, node: Node) -> bool:
    outer = tree.parent(node)
    if outer is None:
        return False
    if outer.type == "function_declaration":
        return bool((name := outer.child_by_field_name("name")) and name.id == node.id)
    above = tree.parent(outer)
    declared = above is not None and above.type == "assignment_statement"
    return outer.type == "variable_list" and declared
