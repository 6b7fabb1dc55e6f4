"""Scripts, keys, and the calls made of them: plain data, no Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .commands import BLOCKING
from .packing import Arg, Packed

if TYPE_CHECKING:
    from .signature import Signature

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RawKey:
    """A key sent to Redis as it stands, without KEY_PREFIX and VERSION."""

    name: str | bytes


@dataclass(frozen=True, slots=True)
class PrefixedKey:
    """
    A key that takes the alias's KEY_PREFIX but not its VERSION.

    Locks and limits use it: a version bump in a rolling deploy must not make
    two holders of one lock.
    """

    name: str


Key = str | RawKey | PrefixedKey


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script. ``source`` is what is on disk, byte for byte."""

    name: str
    source: bytes
    path: str | None = None
    read_only: bool = False  # flag no-writes: EVALSHA_RO where the server has it
    idempotent: bool = False  # flag idempotent: asked once more after a lost reply
    builtin: bool = False  # ours: its error codes have exceptions of their own
    signature: Signature | None = field(default=None, compare=False, repr=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        # The script's name in Redis, not a signature: works under FIPS, too.
        digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


def _word(command: str) -> str:
    return next(iter(command.split()), "").upper()


def as_is(reply: Any) -> Any:
    return reply


#: Plain commands that change what a connection is; ours are shared.
REFUSED_COMMANDS = frozenset(
    (
        *("ASKING", "AUTH", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT"),
        *("DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"),
        *("MONITOR", "PSUBSCRIBE", "PSYNC", "SSUBSCRIBE", "SUBSCRIBE", "SYNC"),
        *("PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE"),
    )
)
WIRE_TYPES = frozenset({str, bytes, int})

#: Plain commands that run what a project has written.
CODE_COMMANDS = frozenset({"EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"})


@dataclass(slots=True)  # to make a frozen one takes twice as long
class Call(Generic[T]):
    """
    One call of a script or of a plain command, not yet sent.

    ``command`` is a Script, or the words of a plain command such as
    ``"INCRBY"``; a plain command is sent as its words, then keys, then args.
    ``parse`` turns the reply into the result. ``cache`` and ``version`` are the
    alias and the key version the call is meant for, None for the defaults.

    TypeError for arguments that Redis has no form for (float, bool, None …), ValueError
    for commands that change the connection, such as MULTI and SUBSCRIBE.
    """

    command: Script | str
    keys: tuple[Key, ...] = ()
    args: tuple[Arg, ...] = ()
    parse: Callable[[Any], T] = as_is
    cache: str | None = None
    version: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.command, str):
            self._check_command(self.command)
        if isinstance(self.keys, (str, bytes)):
            raise TypeError(f"The keys of {self.name!r} are a tuple: write ({self.keys!r},).")
        if type(self.args) is Packed:  # made here, and never of a wrong type
            return
        if isinstance(self.args, (str, bytes)):
            raise TypeError(f"The arguments of {self.name!r} are a tuple: write ({self.args!r},).")
        for number, arg in enumerate(self.args, 1):
            if type(arg) not in WIRE_TYPES and (
                isinstance(arg, bool) or not isinstance(arg, (str, bytes, int))
            ):
                raise TypeError(
                    f"Argument {number} of {self.name!r} must be str, bytes or int, not {arg!r}."
                )

    def _check_command(self, command: str) -> None:
        word = _word(command)
        if not word or word in REFUSED_COMMANDS:
            raise ValueError(
                f"{command!r} can't be called: the connection is shared, and the next call would "
                "find it changed. For MULTI use scripts.pipeline(transaction=True)."
            )

    @property
    def name(self) -> str:
        return self.command if isinstance(self.command, str) else self.command.name

    @property
    def runs_foreign_code(self) -> bool:
        """Whether it runs what a project has written, which may answer as a server does."""
        command = self.command
        return _word(command) in CODE_COMMANDS if isinstance(command, str) else not command.builtin

    @property
    def needs_a_connection(self) -> bool:
        """
        Whether it can't go where other calls go: it blocks, or may be about the connection.

        A script does neither, nor does a command of the keyspace.
        """
        command = self.command
        return isinstance(command, str) and (not self.keys or _word(command) in BLOCKING)
