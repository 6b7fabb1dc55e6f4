"""
Many calls in one trip.

A script's first use in a pipeline travels as EVAL, its later ones as EVALSHA: no
extra trip to ask what the server knows, and no NOSCRIPT in the middle, which
would not keep the neighbours from being executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ..exceptions import IndeterminateResult, NotExecuted, RedisAtomicError
from ..scripting.script import Call
from .connections import Client
from .execution import Command, aexchange, exchange
from .replies import ERROR_REPLIES, translate

T = TypeVar("T")


class Result(Generic[T]):
    """What a call in a pipeline will answer: ``value``, once the pipeline has run."""

    def __init__(self, call: Call[T]) -> None:
        self._call = call
        self._outcome: tuple[T] | RedisAtomicError | None = None

    @property
    def value(self) -> T:
        """
        The call's parsed result; raises the exception that the call ended with.

        RuntimeError while the pipeline has not run.
        """
        if self._outcome is None:
            raise RuntimeError(
                f"{self._call.name!r} has not been executed: read .value after the pipeline's "
                "'with' block, or after execute()."
            )
        if isinstance(self._outcome, RedisAtomicError):
            raise self._outcome
        return self._outcome[0]

    def _settle(self, reply: Any, keys: Sequence[bytes]) -> None:
        if isinstance(reply, ERROR_REPLIES):
            self._outcome = translate(reply, self._call, keys)
            return
        try:
            self._outcome = (self._call.parse(reply),)
        except RedisAtomicError as error:
            self._outcome = error

    def _fail(self, error: RedisAtomicError) -> None:
        self._outcome = error


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
    """

    def __init__(self, client: Client, *, transaction: bool = False) -> None:
        self._client = client
        self._transaction = transaction
        self._queue: list[tuple[Result[Any], tuple[bytes, ...], Command]] = []
        self._sent: set[str] = set()

    def add(self, call: Call[T]) -> Result[T]:
        """Queue a call, and return the Result it will have. ValueError for another cache."""
        if call.cache not in (None, self._client.alias):
            raise ValueError(
                f"The call of {call.name!r} is for the cache {call.cache!r}, this pipeline for "
                f"{self._client.alias!r}: one pipeline goes to one server."
            )
        keys = tuple([self._client.make_key(key, call.version) for key in call.keys])
        result = Result(call)
        self._queue.append((result, keys, self._command(call, keys)))
        return result

    def _command(self, call: Call[Any], keys: tuple[bytes, ...]) -> Command:
        script = call.command
        if isinstance(script, str):
            return (*script.split(), *keys, *call.args)
        if script.sha in self._sent:
            return ("EVALSHA", script.sha, len(keys), *keys, *call.args)
        self._sent.add(script.sha)
        return ("EVAL", script.source, len(keys), *keys, *call.args)

    def execute(self) -> None:
        """Send what was added, and settle the results. The pipeline is empty again."""
        if commands := self._commands():
            try:
                replies = exchange(self._client, commands)
            except (NotExecuted, IndeterminateResult) as error:
                self._fail(error)
                raise
            self._settle(replies)

    async def aexecute(self) -> None:
        """See execute()."""
        if commands := self._commands():
            try:
                replies = await aexchange(self._client, commands)
            except (NotExecuted, IndeterminateResult) as error:
                self._fail(error)
                raise
            self._settle(replies)

    def _commands(self) -> list[Command]:
        commands = [command for _, _, command in self._queue]
        return [("MULTI",), *commands, ("EXEC",)] if commands and self._transaction else commands

    def _settle(self, replies: list[Any]) -> None:
        queue = self._take()
        if self._transaction:
            replies = _transaction_replies(replies)
        for (result, keys, _), reply in zip(queue, replies, strict=True):
            result._settle(reply, keys)

    def _fail(self, error: RedisAtomicError) -> None:
        for result, _, _ in self._take():
            result._fail(error)

    def _take(self) -> list[tuple[Result[Any], tuple[bytes, ...], Command]]:
        queue, self._queue, self._sent = self._queue, [], set()
        return queue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
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
        if kind is None:
            await self.aexecute()


def _transaction_replies(replies: list[Any]) -> list[Any]:
    """
    The calls' own replies, out of those to MULTI, to the queueing and to EXEC.

    When EXEC was refused, nothing was executed: a call that could not be queued
    tells why, the others report the refusal.
    """
    _, *queued, executed = replies
    if isinstance(executed, list):
        return executed
    return [reply if isinstance(reply, ERROR_REPLIES) else executed for reply in queued]
