"""
One call, from here to Redis and back: ``run`` and ``arun``.

What to send, and what to make of the answer, is one generator of trips for both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError, NoScriptError

from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.packing import pack, pack_words
from ..scripting.script import Call, Script
from .coalescing import Multiplexer
from .connections import Client
from .replies import ERROR_REPLIES, is_refusal, parse_error, translate
from .travel import FAILURES, adrive, aresume, drive, exchange_packed, resume
from .trips import Command, Path, Trips

T = TypeVar("T")

#: A SCRIPT FLUSH can fall between our SCRIPT LOAD and EVALSHA, and then again.
MAX_LOADS = 10

READ_ONLY = "EVALSHA_RO"
#: How a server says that it has no such command, or none for this user.
NO_READ_ONLY = re.compile(
    r"(ERR )?unknown command \W?EVALSHA_RO\b"
    r"|(NOPERM )?(User )?\S+ (user )?has no permissions to run the 'evalsha_ro' command",
    re.IGNORECASE,
)

#: Outcomes of a trip that are no answer yet.
UNSETTLED = (*ERROR_REPLIES, *FAILURES)


def run(client: Client, call: Call[T], outcome: Any = None) -> T:
    """
    Execute a call and return its parsed result.

    ``outcome`` is that of the first trip, where it was made already. Raises NotExecuted,
    IndeterminateResult, or a ReplyError, as the exceptions module tells; on a cluster
    CrossSlot for keys that don't lie together.
    """
    if outcome is None:
        if client.lean is None or call.needs_a_connection:
            return call.parse(drive(attempts(client, call)))
        outcome = packed_trip(client, _packed(client, call))
    if isinstance(outcome, UNSETTLED):
        outcome = resume(attempts(client, call), outcome)
    return call.parse(outcome)


def packed_trip(client: Client, packed: bytes) -> Any:
    """
    The outcome of a packed call's first trip: a reply, or why there is none.

    The lean call's, or to a server that is alone.
    """
    try:
        return exchange_packed(client, packed) if client.lean is None else client.lean.ask(packed)
    except FAILURES as error:
        return error


async def arun(client: Client, call: Call[T], outcome: Any = None) -> T:
    """See run()."""
    shared = await client.multiplexer()
    if shared is None or call.needs_a_connection:
        return call.parse(await adrive(attempts(client, call)))
    if outcome is None:
        outcome = await apacked_trip(shared, _packed(client, call))
    if isinstance(outcome, UNSETTLED):
        outcome = await aresume(attempts(client, call), outcome, shared.exchange)
    return call.parse(outcome)


async def apacked_trip(shared: Multiplexer, packed: bytes) -> Any:
    """See packed_trip()."""
    try:
        return await shared.ask(packed)
    except FAILURES as error:
        return error


def attempts(client: Client, call: Call[Any]) -> Trips[Any]:
    """What to send until there is an answer; returns the reply, not yet parsed."""
    keys = keys_as_sent(client, call)
    return attempts_on(client.path(keys, call), client, call, keys)


def keys_as_sent(client: Client, call: Call[Any]) -> tuple[bytes, ...]:
    return tuple([client.make_key(key, call.version) for key in call.keys])


def attempts_on(path: Path, client: Client, call: Call[Any], keys: tuple[bytes, ...]) -> Trips[Any]:
    """See attempts(): on this path, with the keys as sent."""
    script = call.command
    if isinstance(script, str):
        (reply,) = yield from path([(*script.split(), *keys, *call.args)])
    else:
        path = _twice(path) if script.idempotent else path
        reply = yield from _ask_script(path, client, script, (len(keys), *keys, *call.args))
    if isinstance(reply, ERROR_REPLIES):
        raise translate(reply, call, keys) from reply
    return reply


def _ask_script(path: Path, client: Client, script: Script, words: Command) -> Trips[Any]:
    """The reply to EVALSHA; the script is loaded where the server did not know it."""
    command = (_command_for(client, script), script.sha, *words)
    (reply,) = yield from path([command])
    if command[0] == READ_ONLY and _has_no_read_only(reply):  # Redis 6.2
        client.has_read_only_scripts = False
        return (yield from _ask_script(path, client, script, words))
    for _ in range(MAX_LOADS):
        if not _is_unknown_script(reply):
            break
        loaded, reply = yield from path([("SCRIPT", "LOAD", script.source), command])
        if not _is_unknown_script(reply):  # somebody else may have loaded it meanwhile
            break
        if isinstance(loaded, NoPermissionError):
            raise NotExecuted(_may_not_load(script, loaded)) from loaded
        if isinstance(loaded, ERROR_REPLIES):
            return loaded
    return reply


def _command_for(client: Client, script: Script) -> str:
    return READ_ONLY if script.read_only and client.has_read_only_scripts else "EVALSHA"


def _packed(client: Client, call: Call[Any]) -> bytes:
    """The call's first trip, as bytes."""
    script, keys = call.command, keys_as_sent(client, call)
    if isinstance(script, str):
        return pack_words((*script.split(), *keys, *call.args))
    return pack(_command_for(client, script), script.sha, keys, call.args)


def _twice(path: Path) -> Path:
    """The same path, asked once more when a reply was lost: where that is harmless."""

    def deliver(commands: Sequence[Command]) -> Trips[list[Any]]:
        try:
            return (yield from path(commands))
        except IndeterminateResult:
            return (yield from path(commands))

    return deliver


def _has_no_read_only(reply: Any) -> bool:
    # Not "unknown command" alone: a script's own faulty command is told so on Valkey.
    return isinstance(reply, ERROR_REPLIES) and NO_READ_ONLY.match(str(reply)) is not None


def _is_unknown_script(reply: Any) -> bool:
    # Not the code alone: a script may answer so, too, and then it was executed.
    return isinstance(reply, NoScriptError) and is_refusal(parse_error(reply))


def _may_not_load(script: Script, error: Exception) -> str:
    return (
        f"The server does not know the script {script.name!r}, and this user may not load it: "
        f"{error}. Allow the user +script|load (on Redis 6.2 +script), or let another user "
        "run 'manage.py preload_scripts'."
    )
