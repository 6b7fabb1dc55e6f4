"""
Many calls in one trip.

A script's first use in a pipeline travels as EVAL, its later ones as EVALSHA: no
extra trip to ask what the server knows, and no NOSCRIPT in the middle, which
would not keep the neighbours from being executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from ..exceptions import IndeterminateResult, NotExecuted, ReplyError
from ..scripting.script import Call
from .cluster import Cluster
from .connections import Client
from .replies import ERROR_REPLIES, parse_error
from .results import Queued, Result, as_commands
from .scatter import scatter
from .slots import slot_of
from .travel import adrive, drive
from .trips import Trips

T = TypeVar("T")


class Pipeline:
    """
    Calls that are sent together and answered together, ``with`` or ``async with``.

    Plain, each call succeeds or fails for itself and other clients may come in
    between. With ``transaction=True`` they run as one MULTI … EXEC: nobody comes
    in between, but a call that fails still does not undo the others.

    At the end of the block the calls are executed, unless it raised. Then every
    ``Result`` has its value or its exception. A trip that could not be made raises
    NotExecuted, a lost reply IndeterminateResult: from the block, and from every
    result. An error of one call is raised by its result alone.

    On a cluster there is one trip to each node that has some of the keys, so calls
    keep their order on each key, not among all; a trip that fails is told by the
    block and by the results of that node. A transaction has all its keys in one slot.
    """

    def __init__(self, client: Client, *, transaction: bool = False) -> None:
        self._client = client
        self._transaction = transaction
        self._queue: list[Queued] = []
        self._over = False
        self._key: tuple[bytes, ...] = ()  # the first one of a transaction

    def add(self, call: Call[T]) -> Result[T]:
        """
        Queue a call, and return the Result it will have.

        TypeError for what is no Call; ValueError for another cache; RuntimeError after
        the ``with`` block, which would not execute it any more; CrossSlot for keys that
        don't lie in one slot of a cluster, in a transaction with those of the other calls.
        """
        if not isinstance(call, Call):
            raise TypeError(f"add() takes a Call, such as increment.call('hits'), not {call!r}.")
        if self._over:
            raise RuntimeError("The pipeline has been executed: add to it inside its block.")
        if call.cache not in (None, self._client.alias):
            raise ValueError(
                f"The call of {call.name!r} is for the cache {call.cache!r}, this pipeline for "
                f"{self._client.alias!r}: one pipeline goes to one server."
            )
        keys = tuple([self._client.make_key(key, call.version) for key in call.keys])
        if isinstance(self._client.topology, Cluster):
            slot_of(keys, call)
            slot_of((*self._key, *keys[:1]))
        if self._transaction:
            self._key = self._key or keys[:1]
        result = Result(call)
        self._queue.append(Queued(result, call, keys))
        return result

    def execute(self) -> None:
        """Send what was added, and settle the results. The pipeline is empty again."""
        if queue := self._take():
            with _no_result_in_the_dark(queue):
                drive(self._trips(queue))

    async def aexecute(self) -> None:
        """See execute()."""
        if queue := self._take():
            with _no_result_in_the_dark(queue):
                await adrive(self._trips(queue))

    def _take(self) -> list[Queued]:
        queue, self._queue = self._queue, []
        return queue

    def _trips(self, queue: list[Queued]) -> Trips[None]:
        key, self._key = self._key, ()
        if isinstance(self._client.topology, Cluster) and not self._transaction:
            return (yield from scatter(self._client, self._client.topology, queue))
        path = self._client.path(key)
        commands = as_commands(queue)
        if self._transaction:
            commands = [("MULTI",), *commands, ("EXEC",)]
        replies = yield from path(commands)
        begun = replies[0]
        if self._transaction:
            replies = _transaction_replies(replies)
        for queued, reply in zip(queue, replies, strict=True):
            queued.result.settle(reply, queued.keys)
        if self._transaction and isinstance(begun, ERROR_REPLIES):
            code, message, _ = parse_error(begun)
            raise ReplyError(
                f"MULTI was refused, so the calls were executed one by one: {message}",
                code=code,
                key=None,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over = True
        if kind is None:
            self.execute()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over = True
        if kind is None:
            await self.aexecute()


@contextmanager
def _no_result_in_the_dark(queue: list[Queued]) -> Iterator[None]:
    """Whatever ends a pipeline, cancellation too: its results know as much as can be known."""
    try:
        yield
    except (NotExecuted, IndeterminateResult) as error:
        _fail(queue, error)
        raise
    except BaseException as error:
        _fail(queue, IndeterminateResult(f"The pipeline was interrupted: {error!r}"))
        raise


def _fail(queue: list[Queued], error: NotExecuted | IndeterminateResult) -> None:
    for queued in queue:
        queued.result.fail(error)


def _transaction_replies(replies: list[Any]) -> list[Any]:
    """
    The calls' own replies, out of those to MULTI, to the queueing and to EXEC.

    When EXEC was refused, nothing was executed: a call that could not be queued
    tells why, the others report the refusal. When MULTI was, they were executed as they came.
    """
    begun, *queued, executed = replies
    if isinstance(begun, ERROR_REPLIES):
        return queued
    if isinstance(executed, list):
        return executed
    return [reply if isinstance(reply, ERROR_REPLIES) else executed for reply in queued]
