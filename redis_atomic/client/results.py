"""What the calls of a pipeline will answer, and as which commands they travel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ..exceptions import RedisAtomicError
from ..scripting.script import Call
from .replies import ERROR_REPLIES, translate
from .trips import Command

T = TypeVar("T")


class Result(Generic[T]):
    """What a call in a pipeline will answer: ``value``, once the pipeline has run."""

    def __init__(self, call: Call[T]) -> None:
        self._call = call
        self._outcome: tuple[T] | Exception | None = None

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
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome[0]

    def settle(self, reply: Any, keys: Sequence[bytes]) -> None:
        if isinstance(reply, ERROR_REPLIES):
            self._outcome = translate(reply, self._call, keys)
            return
        try:
            self._outcome = (self._call.parse(reply),)
        except Exception as error:  # noqa: BLE001 - it must not keep the others from theirs
            self._outcome = error

    def fail(self, error: RedisAtomicError) -> None:
        """End with this error, unless there is an outcome already."""
        if self._outcome is None:
            self._outcome = error


class Queued(NamedTuple):
    """A call that waits to be sent, with its keys as sent."""

    result: Result[Any]
    call: Call[Any]
    keys: tuple[bytes, ...]


def as_commands(queue: Iterable[Queued]) -> list[Command]:
    """The commands for one server: a script's first use is EVAL, its later ones EVALSHA."""
    commands: list[Command] = []
    sent: set[str] = set()
    for _, call, keys in queue:
        script = call.command
        if isinstance(script, str):
            commands.append((*script.split(), *keys, *call.args))
        elif script.sha in sent:
            commands.append(("EVALSHA", script.sha, len(keys), *keys, *call.args))
        else:
            sent.add(script.sha)
            commands.append(("EVAL", script.source, len(keys), *keys, *call.args))
    return commands
