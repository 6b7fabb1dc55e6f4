"""
Moving commands over a connection, and replies back: by threads and by asyncio.

Here alone is waiting done; so here alone everything is written twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisError

from .. import generators
from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.packing import pack_all
from .replies import ERROR_REPLIES, parse_error
from .trips import Command, Trip, Trips

if TYPE_CHECKING:
    from .server import Server

T = TypeVar("T")


#: What a generator of trips is told; everything else ends it.
FAILURES = (NotExecuted, IndeterminateResult)

#: As what a reply is lost: connections raise the first two, and parsers of what they can't
#: make anything of the others. What a signal handler raises goes through.
LOSSES = (RedisError, OSError, TypeError, ValueError)


def drive(trips: Trips[T]) -> T:
    """Make the trips that this generator asks for, and return what it returns."""
    return generators.drive(trips, lambda trip: exchange(*trip), FAILURES)


async def adrive(trips: Trips[T]) -> T:
    """See drive()."""
    return await generators.adrive(trips, lambda trip: aexchange(*trip), FAILURES)


def resume(trips: Trips[T], outcome: Any) -> T:
    """drive(), where the first trip was made already: it brought this reply or failure."""
    outcomes = [outcome]
    return generators.drive(
        trips, lambda trip: told(outcomes.pop()) if outcomes else exchange(*trip), FAILURES
    )


async def aresume(
    trips: Trips[T], outcome: Any, ask: Callable[[Sequence[Command]], Awaitable[list[Any]]]
) -> T:
    """See resume(): ``ask`` makes the other trips."""
    outcomes = [outcome]

    async def perform(trip: Trip) -> list[Any]:
        if outcomes:
            return told(outcomes.pop())
        _, commands, delay = trip
        if delay:
            await asyncio.sleep(delay)
        return await ask(commands)

    return await generators.adrive(trips, perform, FAILURES)


def told(outcome: Any) -> list[Any]:
    """An outcome as a trip brings it: raised, or the only reply."""
    if isinstance(outcome, FAILURES):
        raise outcome
    return [outcome]


def exchange(server: Server, commands: Sequence[Command], delay: float = 0.0) -> list[Any]:
    """
    Write the commands at once and read a reply for each, errors included.

    ``delay`` (seconds) is waited before. Raises NotExecuted while nothing has been
    sent, IndeterminateResult after.
    """
    if delay:
        time.sleep(delay)
    return _exchange(server, commands)


def exchange_packed(server: Server, packed: bytes) -> Any:
    """The reply to one EVALSHA that is packed already; see exchange()."""
    return _exchange(server, [("EVALSHA",)], (packed,))[0]


def _exchange(
    server: Server, commands: Sequence[Command], packed: Sequence[bytes] = ()
) -> list[Any]:
    packed = packed or (pack_all(commands),)
    connection = check_out(server)
    try:
        connection.send_packed_command(packed, check_health=False)
        replies = [_reply_of(connection) for _ in commands]
        if any(map(is_demoted, replies)):
            connection.disconnect()  # look for the new one
        return replies
    except BaseException as error:
        connection.disconnect()  # it may hold a reply that nobody will read
        if isinstance(error, LOSSES):
            raise IndeterminateResult(lost(server, commands[0][0], error)) from error
        raise
    finally:
        server.pool.release(connection)


def check_out(server: Server) -> Any:
    """A sound connection of the threads' pool; NotExecuted if none can be had."""
    pool = server.pool
    try:
        connection = pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotExecuted(unreachable(server, error)) from error
    try:
        connection.check_health()
    except BaseException as error:
        pool.release(connection)
        if isinstance(error, RedisError | OSError):
            raise NotExecuted(unreachable(server, error)) from error
        raise
    return connection


async def aexchange(server: Server, commands: Sequence[Command], delay: float = 0.0) -> list[Any]:
    """See exchange()."""
    if delay:
        await asyncio.sleep(delay)
    packed = pack_all(commands)
    pool = await server.apool()
    try:
        connection = await pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotExecuted(unreachable(server, error)) from error
    try:
        await connection.send_packed_command(packed)
        replies = [await _areply_of(connection) for _ in commands]
        if any(map(is_demoted, replies)):
            await connection.disconnect()
        return replies
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, LOSSES):
            raise IndeterminateResult(lost(server, commands[0][0], error)) from error
        raise
    finally:
        await pool.release(connection)


def is_demoted(reply: Any) -> bool:
    """Whether a server says that it takes no writes any more."""
    return isinstance(reply, ERROR_REPLIES) and parse_error(reply).code == "READONLY"


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


def unreachable(server: Server, error: BaseException) -> str:
    """What NotExecuted says."""
    if isinstance(error, ERROR_REPLIES):
        said, check = (
            "refused the connection",
            "user, password and database in LOCATION and OPTIONS",
        )
    else:
        said, check = "could not be reached", "its LOCATION and that the server is running"
    return f"Redis of {server.where} {said}: {_sentence(error)} Nothing was sent. Check {check}."


def lost(server: Server, command: object, error: BaseException) -> str:
    """What IndeterminateResult says."""
    return (
        f"Redis of {server.where} did not answer {command}: {_sentence(error)} "
        "It was executed once or not at all, and was not sent again."
    )


def _sentence(error: BaseException) -> str:
    return f"{str(error).rstrip('.') or repr(error)}."
