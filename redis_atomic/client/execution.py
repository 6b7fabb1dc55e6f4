"""
One call, from here to Redis and back: ``run`` and ``arun``.

What to send, and what to make of the answer, is one generator (``_attempts``)
for both: it yields commands and is sent their replies. Only ``exchange`` and
``aexchange``, which move them over a connection, know how to wait.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from redis.exceptions import NoScriptError, RedisError

from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.script import Arg, Call, Script
from .connections import Client
from .replies import ERROR_REPLIES, translate

T = TypeVar("T")
Command = tuple[Arg, ...]

#: A SCRIPT FLUSH can fall between our SCRIPT LOAD and EVALSHA, and then again.
MAX_LOADS = 10


def run(client: Client, call: Call[T]) -> T:
    """
    Execute a call and return its parsed result.

    Raises NotExecuted, IndeterminateResult, or a ReplyError, as the exceptions
    module tells.
    """
    attempts = _attempts(client, call)
    commands = next(attempts)
    while True:
        try:
            commands = attempts.send(exchange(client, commands))
        except StopIteration as stop:
            return call.parse(stop.value)
        except IndeterminateResult as error:
            commands = attempts.throw(error)


async def arun(client: Client, call: Call[T]) -> T:
    """See run()."""
    attempts = _attempts(client, call)
    commands = next(attempts)
    while True:
        try:
            commands = attempts.send(await aexchange(client, commands))
        except StopIteration as stop:
            return call.parse(stop.value)
        except IndeterminateResult as error:
            commands = attempts.throw(error)


def _attempts(client: Client, call: Call[T]) -> Generator[list[Command], list[Any], Any]:
    """What to send until there is an answer; returns the reply, not yet parsed."""
    keys = tuple([client.make_key(key, call.version) for key in call.keys])
    script = call.command
    if isinstance(script, str):
        command: Command = (*script.split(), *keys, *call.args)
        (reply,) = yield [command]
    else:
        reply = yield from _ask_script(client, script, (len(keys), *keys, *call.args))
    if isinstance(reply, ERROR_REPLIES):
        raise translate(reply, call, keys) from reply
    return reply


def _ask_script(
    client: Client, script: Script, words: Command
) -> Generator[list[Command], list[Any], Any]:
    """The reply to EVALSHA; the script is loaded where the server did not know it."""
    read_only = script.read_only and client.has_read_only_scripts
    command = ("EVALSHA_RO" if read_only else "EVALSHA", script.sha, *words)
    reply = yield from _ask([command], again=script.idempotent)
    if read_only and _is_unknown_command(reply):  # Redis 6.2
        client.has_read_only_scripts = False
        return (yield from _ask_script(client, script, words))
    for _ in range(MAX_LOADS):
        if not isinstance(reply, NoScriptError):
            break
        load: Command = ("SCRIPT", "LOAD", script.source)
        reply = yield from _ask([load, command], again=script.idempotent)
    return reply


def _is_unknown_command(reply: Any) -> bool:
    return isinstance(reply, ERROR_REPLIES) and "unknown command" in str(reply).lower()


def _ask(commands: list[Command], *, again: bool) -> Generator[list[Command], list[Any], Any]:
    """The last command's reply; asked once more when it was lost and that is harmless."""
    try:
        replies = yield commands
    except IndeterminateResult:
        if not again:
            raise
        replies = yield commands
    return replies[-1]


def exchange(client: Client, commands: Sequence[Command]) -> list[Any]:
    """
    Write the commands at once and read a reply for each, errors included.

    Raises NotExecuted while nothing has been sent, IndeterminateResult after.
    """
    pool = client.pool
    try:
        connection = pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotExecuted(_unreachable(client, error)) from error
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        return [_reply_of(connection) for _ in commands]
    except (RedisError, OSError) as error:
        raise IndeterminateResult(_lost(client, commands, error)) from error
    except BaseException:
        connection.disconnect()  # it may hold a reply that nobody will read
        raise
    finally:
        pool.release(connection)


async def aexchange(client: Client, commands: Sequence[Command]) -> list[Any]:
    """See exchange()."""
    pool = await client.apool()
    try:
        connection = await pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotExecuted(_unreachable(client, error)) from error
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await _areply_of(connection) for _ in commands]
    except (RedisError, OSError) as error:
        raise IndeterminateResult(_lost(client, commands, error)) from error
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


def _unreachable(client: Client, error: Exception) -> str:
    return (
        f"Redis of the cache {client.alias!r} could not be reached: {error} "
        "Nothing was sent. Check its LOCATION and that the server is running."
    )


def _lost(client: Client, commands: Sequence[Command], error: Exception) -> str:
    first = str(commands[0][0])
    return (
        f"Redis of the cache {client.alias!r} did not answer {first}: {error} "
        "It was executed once or not at all, and was not sent again."
    )
