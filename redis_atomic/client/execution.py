"""
One call, from here to Redis and back: ``run`` and ``arun``.

What to send where, and what to make of the answer, is one generator of trips for
both (``attempts``). Only ``exchange`` and ``aexchange``, which move commands over a
connection, know how to wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError, NoScriptError, ReadOnlyError, RedisError

from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.script import Call, Script
from .connections import Client
from .replies import ERROR_REPLIES, translate
from .server import Server
from .trips import Command, Path, Trips

T = TypeVar("T")

#: A SCRIPT FLUSH can fall between our SCRIPT LOAD and EVALSHA, and then again.
MAX_LOADS = 10


def run(client: Client, call: Call[T]) -> T:
    """
    Execute a call and return its parsed result.

    Raises NotExecuted, IndeterminateResult, or a ReplyError, as the exceptions
    module tells; on a cluster CrossSlot for keys that don't lie together.
    """
    return call.parse(drive(attempts(client, call)))


async def arun(client: Client, call: Call[T]) -> T:
    """See run()."""
    return call.parse(await adrive(attempts(client, call)))


def drive(trips: Trips[T]) -> T:
    """Make the trips that this generator asks for, and return what it returns."""
    try:
        trip = next(trips)
        while True:
            try:
                replies = exchange(*trip)
            except (NotExecuted, IndeterminateResult) as error:
                trip = trips.throw(error)
            else:
                trip = trips.send(replies)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def adrive(trips: Trips[T]) -> T:
    """See drive()."""
    try:
        trip = next(trips)
        while True:
            try:
                replies = await aexchange(*trip)
            except (NotExecuted, IndeterminateResult) as error:
                trip = trips.throw(error)
            else:
                trip = trips.send(replies)
    except StopIteration as stop:
        result: T = stop.value
        return result


def attempts(client: Client, call: Call[Any]) -> Trips[Any]:
    """What to send until there is an answer; returns the reply, not yet parsed."""
    keys = tuple([client.make_key(key, call.version) for key in call.keys])
    return attempts_on(client.path(call.name, keys), client, call, keys)


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
    read_only = script.read_only and client.has_read_only_scripts
    command = ("EVALSHA_RO" if read_only else "EVALSHA", script.sha, *words)
    (reply,) = yield from path([command])
    if read_only and _is_unknown_command(reply):  # Redis 6.2
        client.has_read_only_scripts = False
        return (yield from _ask_script(path, client, script, words))
    for _ in range(MAX_LOADS):
        if not isinstance(reply, NoScriptError):
            break
        loaded, reply = yield from path([("SCRIPT", "LOAD", script.source), command])
        if isinstance(loaded, NoPermissionError):
            raise NotExecuted(_may_not_load(script, loaded)) from loaded
        if isinstance(loaded, ERROR_REPLIES):
            return loaded
    return reply


def _twice(path: Path) -> Path:
    """The same path, asked once more when a reply was lost: where that is harmless."""

    def deliver(commands: Sequence[Command]) -> Trips[list[Any]]:
        try:
            return (yield from path(commands))
        except IndeterminateResult:
            return (yield from path(commands))

    return deliver


def _is_unknown_command(reply: Any) -> bool:
    return isinstance(reply, ERROR_REPLIES) and "unknown command" in str(reply).lower()


def _may_not_load(script: Script, error: Exception) -> str:
    return (
        f"The server does not know the script {script.name!r}, and this user may not load it: "
        f"{error}. Allow the user +script|load (on Redis 6.2 +script), or let another user "
        "run 'manage.py preload_scripts'."
    )


def exchange(server: Server, commands: Sequence[Command], delay: float = 0.0) -> list[Any]:
    """
    Write the commands at once and read a reply for each, errors included.

    ``delay`` (seconds) is waited before. Raises NotExecuted while nothing has been
    sent, IndeterminateResult after.
    """
    if delay:
        time.sleep(delay)
    pool = server.pool
    try:
        connection = pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotExecuted(_unreachable(server, error)) from error
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        replies = [_reply_of(connection) for _ in commands]
        if isinstance(replies[-1], ReadOnlyError):
            connection.disconnect()  # the server was demoted: look for the new one
        return replies
    except (RedisError, OSError) as error:
        raise IndeterminateResult(_lost(server, commands, error)) from error
    except BaseException:
        connection.disconnect()  # it may hold a reply that nobody will read
        raise
    finally:
        pool.release(connection)


async def aexchange(server: Server, commands: Sequence[Command], delay: float = 0.0) -> list[Any]:
    """See exchange()."""
    if delay:
        await asyncio.sleep(delay)
    pool = await server.apool()
    try:
        connection = await pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotExecuted(_unreachable(server, error)) from error
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        replies = [await _areply_of(connection) for _ in commands]
        if isinstance(replies[-1], ReadOnlyError):
            await connection.disconnect()
        return replies
    except (RedisError, OSError) as error:
        raise IndeterminateResult(_lost(server, commands, error)) from error
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def _reply_of(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ERROR_REPLIES as error:
        return error


async def _areply_of(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ERROR_REPLIES as error:
        return error


def _unreachable(server: Server, error: Exception) -> str:
    return (
        f"Redis of {server.where} could not be reached: {error} "
        "Nothing was sent. Check its LOCATION and that the server is running."
    )


def _lost(server: Server, commands: Sequence[Command], error: Exception) -> str:
    first = str(commands[0][0])
    return (
        f"Redis of {server.where} did not answer {first}: {error} "
        "It was executed once or not at all, and was not sent again."
    )
