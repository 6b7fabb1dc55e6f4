"""
Load scripts on every node before traffic comes, and see that they are what we have.

A help to deployments and never a precondition: a call loads what a server lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from redis.exceptions import AuthenticationError, NoPermissionError

from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.script import Script
from .connections import Client
from .replies import ERROR_REPLIES, ErrorReply, parse_error, source_context
from .server import Server
from .travel import exchange
from .trips import Command

State = Literal[
    "present", "loaded", "missing", "not compiling", "different", "refused", "no permission"
]
GOOD: frozenset[State] = frozenset({"present", "loaded"})


class Node(NamedTuple):
    """One server, and how to ask it: commands in, a reply for each out, errors included."""

    name: str
    ask: Callable[[Sequence[Command]], list[Any]]


def nodes(client: Client) -> list[Node]:
    """
    Every server that may be asked to run a script of this client, now or when promoted.

    NotExecuted when a cluster or Sentinels don't tell which they are.
    """
    if client.topology is not None:
        return [
            Node(f"{_name(server)} {role}", partial(exchange, server))
            for role, server in client.topology.servers()
        ]
    return [Node(_name(client), partial(exchange, client))]


def _name(server: Server) -> str:
    kwargs = server.pool.connection_kwargs
    return kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one script stands on one node; ``detail`` and ``context`` say more of a failure."""

    script: str
    state: State
    detail: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """
    What was found on one node.

    ``error`` is why it could not be asked at all, ``denied`` that it knows us and
    refuses us; ``warnings`` are what a person should look at.
    """

    cache: str
    node: str
    outcomes: tuple[Outcome, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    denied: bool = False


def preload(
    client: Client,
    scripts: Sequence[Script],
    *,
    load: bool = True,
    progress: Callable[[str], None] | None = None,
) -> list[NodeReport]:
    """
    Load the scripts on each node (``load=False``: only look), and verify them.

    Nothing is raised for a node that can't be reached or a script that can't be
    loaded: the reports say so. ``progress`` is told of each of several nodes when its
    turn comes.
    """
    if not scripts:
        return []
    try:
        found = nodes(client)
    except NotExecuted as error:
        return [NodeReport(client.alias, "its nodes", error=str(error))]
    reports = []
    for number, node in enumerate(found, 1):
        if progress is not None and len(found) > 1:
            progress(f"{client.alias}: node {number} of {len(found)}, {node.name}")
        reports.append(_visit(client.alias, node, scripts, load))
    return reports


def _visit(cache: str, node: Node, scripts: Sequence[Script], load: bool) -> NodeReport:
    try:
        known = _known(node, scripts)
        if isinstance(known, ErrorReply):
            denied = known.code in DENIED
            return NodeReport(cache, node.name, error=known.message, denied=denied)
        outcomes = _load(node, scripts, known) if load else _look(scripts, known)
        outcomes = _verify(node, scripts, outcomes)
        return NodeReport(cache, node.name, tuple(outcomes), tuple(_warnings(node)))
    except (NotExecuted, IndeterminateResult) as error:
        denied = isinstance(error.__cause__, AuthenticationError | NoPermissionError)
        return NodeReport(cache, node.name, error=str(error), denied=denied)


DENIED = frozenset({"NOPERM", "NOAUTH", "WRONGPASS"})


def _known(node: Node, scripts: Sequence[Script]) -> list[bool] | ErrorReply:
    (reply,) = node.ask([("SCRIPT", "EXISTS", *[script.sha for script in scripts])])
    return parse_error(reply) if isinstance(reply, ERROR_REPLIES) else [bool(n) for n in reply]


def _look(scripts: Sequence[Script], known: Sequence[bool]) -> list[Outcome]:
    return [
        Outcome(script.name, "present" if is_known else "missing")
        for script, is_known in zip(scripts, known, strict=True)
    ]


def _load(node: Node, scripts: Sequence[Script], known: Sequence[bool]) -> list[Outcome]:
    # Those that are there, too: what a pipeline brought by EVAL is evicted on Valkey
    # until it is loaded, and the answer is the server's own SHA.
    replies = node.ask([("SCRIPT", "LOAD", script.source) for script in scripts])
    return [_loaded(*each) for each in zip(scripts, replies, known, strict=True)]


def _loaded(script: Script, reply: Any, was_known: bool) -> Outcome:
    if isinstance(reply, ERROR_REPLIES):
        return _refused(script, parse_error(reply))
    if reply != script.sha.encode():
        return Outcome(script.name, "different", f"the server says its SHA is {reply!r}.")
    return Outcome(script.name, "present" if was_known else "loaded")


def _refused(script: Script, error: ErrorReply) -> Outcome:
    if error.code in DENIED:
        return Outcome(script.name, "no permission", error.message)
    if error.line is None:
        return Outcome(script.name, "refused", f"{error.code} {error.message}")
    detail = f"{script.path or script.name}:{error.line}: {error.message}"
    context = source_context(script.source, error.line)
    return Outcome(script.name, "not compiling", detail, context)


def _verify(node: Node, scripts: Sequence[Script], outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Where the server can show a script (Valkey), it is compared byte for byte."""
    replies = node.ask([("SCRIPT", "SHOW", script.sha) for script in scripts])
    different = "the server holds another text under its SHA."
    return [
        Outcome(script.name, "different", different)
        if outcome.state in GOOD and isinstance(reply, bytes) and reply != script.source
        else outcome
        for script, outcome, reply in zip(scripts, outcomes, replies, strict=True)
    ]


#: Commands that an application's user needs, in a form that is refused before it does anything.
PROBES: dict[str, tuple[Command, str]] = {
    "EVALSHA": (("EVALSHA", "0" * 40, 0), "every script"),
    "EVALSHA_RO": (("EVALSHA_RO", "0" * 40, 0), "scripts with the flag no-writes"),
    "EVAL": (("EVAL", "return 1", "no number"), "pipelines"),
    "BLPOP": (("BLPOP", "redis_atomic", "no number"), "waiting for locks"),
}


def _warnings(node: Node) -> list[str]:
    info, *replies = node.ask([("INFO", "memory"), *[command for command, _ in PROBES.values()]])
    warnings = []
    policy = _policy(info)
    if policy not in ("", "noeviction"):
        warnings.append(
            f"maxmemory-policy is {policy}: when memory is short, the server drops locks and "
            "limits that are in use. Keep them on a server with noeviction."
        )
    for (name, (_, use)), reply in zip(PROBES.items(), replies, strict=True):
        if isinstance(reply, NoPermissionError) and "to run" in str(reply):
            warnings.append(f"This user may not run {name}, which is needed for {use}.")
    return warnings


def _policy(info: Any) -> str:
    """The eviction policy that INFO tells, or nothing where we may not ask."""
    text = info.decode() if isinstance(info, bytes) else info
    lines = text.splitlines() if isinstance(text, str) else []
    found = dict(line.partition(":")[::2] for line in lines)
    return str(found.get("maxmemory_policy", ""))
