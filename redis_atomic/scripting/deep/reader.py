"""What the rules look at, read from the syntax tree: more than tokens can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tree_sitter import Node

from ..commands import key_places, words
from ..reading import Key, Reading, RedisCall, Uses
from .tree import INDEXES, line, string, text
from .values import CALL, Application, Place, Values

REDIS = frozenset(
    f"{table}.{function}" for table in ("redis", "server") for function in ("call", "pcall")
)
#: Functions whose result is a text made of their arguments.
MAKING = words(
    "string.format string.gsub string.lower string.rep string.reverse string.sub string.upper "
    "table.concat tonumber"
)
METHODS = frozenset(name.partition(".")[2] for name in MAKING if name.startswith("string."))


def read_tree(values: Values) -> Reading:
    """Every use of KEYS and ARGV, every call of Redis however it is named or passed on."""
    calls = [each for application in values.calls for each in _redis_calls(values, application)]
    texts = [string(each) for each in values.tree.nodes if each.type == "string"]
    return Reading(_uses(values, "KEYS"), _uses(values, "ARGV"), calls, texts)


def _uses(values: Values, table: str) -> Uses:
    uses = Uses()
    for node in values.tree.nodes:
        if node.type in INDEXES:
            inner = node.child_by_field_name("table")
            if inner is not None and table in values.names(inner):
                index = values.index_of(node)
                if index.isdecimal():
                    uses.numbers.setdefault(int(index), line(node))
                else:
                    uses.others.append(line(node))
        elif _is_whole(values, node, table):
            uses.others.append(line(node))
    return uses


def _is_whole(values: Values, node: Node, table: str) -> bool:
    """Whether the table is used here as a whole: not indexed, counted, or only given a name."""
    if not values.tree.is_variable(node) or table not in values.names(node):
        return False
    outer = values.tree.parent(node)
    if outer is None or outer.type in (*INDEXES, "variable_list"):
        return False
    if outer.type == "unary_expression":
        return text(outer.child_by_field_name("operator")) != "#"
    above = values.tree.parent(outer)
    if outer.type == "expression_list":
        return above is None or above.type != "assignment_statement"
    if outer.type == "arguments" and above is not None:
        function = above.child_by_field_name("name")
        return function is None or not _is_followed(values, function)
    return True


def _is_followed(values: Values, function: Node) -> bool:
    local = values.tree.local(function) if function.type == "identifier" else None
    return local is not None and any(values.sites(each) for each in local.values)


def _redis_calls(values: Values, call: Application) -> Iterator[RedisCall]:
    if not call.arguments or not values.names(call.function) & REDIS:
        return
    for node, arguments in _written_out(values, call):
        said = [values.said(each) for each in values.origins(arguments[0])]
        for command in dict.fromkeys(each.upper() for each in said if each is not None):
            keys = tuple(_keys(values, command, arguments[1:]))
            yield RedisCall(line(node), command, keys)


def _written_out(values: Values, call: Application) -> Iterator[tuple[Node, Sequence[Node]]]:
    """The call; one that passes ``...`` on, for each call of the function around it."""
    *named, last = call.arguments
    function = values.tree.function_around(call.node)
    sites = values.sites(function) if last.type == "vararg_expression" else []
    for site in sites:
        arguments = [*named, *site.arguments[values.named_parameters(function) :]]
        if arguments:
            yield site.node, arguments
    if not sites:
        yield call.node, call.arguments


def _keys(values: Values, command: str, arguments: Sequence[Node]) -> Iterator[Key]:
    said = [_only(values, each) for each in arguments]
    for place in key_places(command, said):
        yield from _key(values, arguments[place])


def _only(values: Values, node: Node) -> str | None:
    origins = values.origins(node)
    return values.said(origins[0]) if len(origins) == 1 else None


def _key(values: Values, node: Node) -> Iterator[Key]:
    """What is to be said of this key: a Key for each wrong origin, or one for a local."""
    written, fine = text(node), True
    for origin in values.origins(node):
        value = origin.node
        if origin.key is None and value.type in ("string", "number"):
            yield Key("literal", written, text(value), line(value))
            fine = False
        elif _is_made(values, origin):
            value = node if origin.key is not None else value
            yield Key("computed", written, text(value), line(value))
            fine = False
    if fine and node.type == "identifier":
        yield Key("local", written, written, line(node))


def _is_made(values: Values, origin: Place) -> bool:
    """Whether a key is put together by the script, an argument, or read from Redis."""
    node, key = origin
    if values.name(origin).startswith("ARGV."):
        return True
    if node.type == CALL:
        call = values.application(node)
        if values.names(call.function) & REDIS:
            return True
        return key is None and _makes_text(values, call)
    return node.type == "binary_expression" and key is None


def _makes_text(values: Values, call: Application) -> bool:
    if call.function.type == "method_index_expression":
        return text(call.function.child_by_field_name("method")) in METHODS
    return bool(values.names(call.function) & MAKING)
