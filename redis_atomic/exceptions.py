"""
Every exception of redis_atomic.

    RedisAtomicError
    ├── NotExecuted              certainly not executed: asking again is safe
    ├── IndeterminateResult      sent, but the reply was lost: it may have been executed
    ├── ReplyError               the server answered with an error
    │   ├── ScriptError          … raised or returned by a script
    │   ├── WrongType
    │   ├── NotAnInteger
    │   ├── IntegerOverflow
    │   └── MaximumExceeded
    ├── ScriptNotFound           (also a KeyError)
    ├── InvalidScript            a script whose file or head comment is at fault
    ├── UnexpectedReply          a reply that does not fit the script's "returns:" line
    ├── CrossSlot                (also a ValueError) keys of one call in two cluster slots
    └── LockError
        ├── LockBusy             somebody else holds it
        ├── LockUnavailable      Redis could not be asked
        ├── LockLost             it was ours and is no longer
        ├── LockNotOwned         it is not ours
        └── AlreadyHeld          this very context holds it already
"""

from __future__ import annotations

from typing import Any


class RedisAtomicError(Exception):
    """Base class of all exceptions of redis_atomic. Not raised itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Process pools and task queues pickle exceptions; ours have keyword arguments.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(kind: type[RedisAtomicError], args: tuple[Any, ...]) -> RedisAtomicError:
    error = kind.__new__(kind, *args)
    error.args = args  # an OSError's __new__ leaves them to its __init__
    return error


class NotExecuted(RedisAtomicError):
    """
    The call was certainly not executed, so asking again is safe.

    Redis was not reached, or refused the call before it changed anything
    (READONLY, OOM, BUSY, LOADING …).
    """


class IndeterminateResult(RedisAtomicError):
    """
    The call was sent and its reply was lost: it was executed once or not at all.

    It is never sent a second time behind your back. Read the state before you
    repeat it, or use an operation that takes a ``request_id``.
    """


class ReplyError(RedisAtomicError):
    """
    The server answered with an error.

    ``code`` is the error's first word (``"WRONGTYPE"``, ``"ERR"``), ``key`` the
    key it is about as sent to Redis, or None where that cannot be known.
    """

    def __init__(self, message: str, *, code: str = "ERR", key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.key = key


class ScriptError(ReplyError):
    """
    A script failed, or returned an error of its own.

    ``script`` is the script's name, ``file`` its path and ``line`` the line that
    failed (None where the script returned the error itself), ``context`` the
    source around that line, ``code`` and ``message`` what the script said.
    """

    def __init__(
        self,
        message: str,
        *,
        script: str,
        code: str = "ERR",
        key: str | None = None,
        file: str | None = None,
        line: int | None = None,
        context: str = "",
    ) -> None:
        super().__init__(message, code=code, key=key)
        self.script = script
        self.file = file
        self.line = line
        self.context = context

    def __str__(self) -> str:
        where = self.file or self.script
        if self.line is not None:
            where = f"{where}:{self.line}"
        text = f"{self.code} {self.message} (script {self.script!r}, {where})"
        return f"{text}\n{self.context}" if self.context else text


class WrongType(ReplyError):
    """The key holds another type than the operation needs. Nothing was changed."""


class NotAnInteger(ReplyError):
    """The stored value is not a signed 64-bit integer. Nothing was changed."""


class IntegerOverflow(ReplyError):
    """The result would leave the signed 64-bit range. Nothing was changed."""


class MaximumExceeded(ReplyError):
    """The result would be above the given maximum. Nothing was changed."""


class ScriptNotFound(RedisAtomicError, KeyError):
    """No script of this name is registered. The message names the nearest one."""

    def __str__(self) -> str:  # KeyError would show the repr of the message.
        return str(self.args[0])


class InvalidScript(RedisAtomicError):
    """A script that cannot be used: its file or its head comment is at fault."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line

    def __str__(self) -> str:
        if self.file is None:
            return self.message
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.message}"


class UnexpectedReply(RedisAtomicError):
    """A reply that does not fit the script's ``returns:`` line. It was executed."""

    def __init__(self, *, script: str, expected: str, reply: object) -> None:
        super().__init__(
            f"Script {script!r} should return {expected}, and returned {reply!r}. "
            "Correct its 'returns:' line or its return statement."
        )
        self.script = script
        self.expected = expected
        self.reply = reply


class CrossSlot(RedisAtomicError, ValueError):
    """The keys of one call lie in several slots of a cluster. Nothing was sent."""


class LockError(RedisAtomicError):
    """Base class of the errors of locks. Not raised itself."""


class LockBusy(LockError, TimeoutError):
    """
    Somebody else held the lock for as long as we were willing to wait.

    ``retry_after`` is for how many seconds more that holder's TTL runs.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LockUnavailable(LockError, ConnectionError):
    """Redis could not say whether the lock is free. It is not held by us."""


class LockLost(LockError):
    """The lock was ours and is no longer: its time ran out, or it was taken away."""


class LockNotOwned(LockError):
    """There is no lease of this lock here to work on."""


class AlreadyHeld(LockError):
    """This context holds the lock already; waiting for it would never end."""
