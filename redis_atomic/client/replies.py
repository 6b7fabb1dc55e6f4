"""
Error replies made into exceptions.

The same failure of a script reads differently on each server (line 3 of a script
that calls INCR on a text):

    6.2                ERR Error running script (call to f_SHA): @user_script:3: ERR value is …
    7, 8, Valkey 8     ERR value is … script: SHA, on @user_script:3.
    Valkey 9           ERR value is … script: on @user_script:3.

An error of Lua itself repeats the place in front of the message, and 6.2 writes a
dash before some codes. All shapes are recorded in ``tests/test_replies.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis import exceptions as errors

from ..exceptions import (
    IntegerOverflow,
    MaximumExceeded,
    NotAnInteger,
    NotExecuted,
    RedisAtomicError,
    ReplyError,
    ScriptError,
    WrongType,
)
from ..scripting.script import Call, Script

#: Error replies that redis-py raises as something else than a ResponseError.
ERROR_REPLIES = (errors.ResponseError, errors.BusyLoadingError, errors.AuthenticationError)

#: redis-py cuts the code off where it has a class for it, and older ones don't keep it.
CODE_OF_CLASS: Mapping[type[Exception], str] = {
    errors.AuthenticationError: "NOAUTH",
    errors.BusyLoadingError: "LOADING",
    errors.ExecAbortError: "EXECABORT",
    errors.MasterDownError: "MASTERDOWN",
    errors.NoPermissionError: "NOPERM",
    errors.NoScriptError: "NOSCRIPT",
    errors.OutOfMemoryError: "OOM",
    errors.ReadOnlyError: "READONLY",
    errors.AskError: "ASK",
    errors.MovedError: "MOVED",
    errors.ClusterDownError: "CLUSTERDOWN",
    errors.TryAgainError: "TRYAGAIN",
}

#: The server refused before anything was changed. (In a script: at its first write.)
REFUSED = frozenset(
    {
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "EXECABORT",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOAUTH",
        "NOREPLICAS",
        "NOSCRIPT",
        "OOM",
        "READONLY",
        "TRYAGAIN",
    }
)

#: How the servers word it: a project's script may answer "BUSY" or "TRYAGAIN", too, and
#: then it was executed.
REFUSAL = re.compile(
    r"BUSY \S+ is busy running"
    r"|CLUSTERDOWN (The cluster is down|Hash slot not served)"
    r"|EXECABORT Transaction discarded"
    r"|LOADING \S+ is loading the dataset"
    r"|MASTERDOWN Link with MASTER is down"
    r"|MISCONF (\S+ is configured to save|Errors writing to the AOF)"
    r"|(ASK|MOVED) \d+ \S+:\d+"
    r"|NOAUTH Authentication required"
    r"|NOREPLICAS Not enough good replicas"
    r"|NOSCRIPT No matching script"
    r"|OOM command not allowed"
    r"|READONLY You can't write against a read only"
    r"|TRYAGAIN Multiple keys request"
)

#: What the codes of our own scripts, and of plain commands, mean.
KINDS: Mapping[str, type[ReplyError]] = {
    "WRONGTYPE": WrongType,
    "NOTANINTEGER": NotAnInteger,
    "INTEGEROVERFLOW": IntegerOverflow,
    "MAXIMUMEXCEEDED": MaximumExceeded,
}

#: Plain commands have one code, ERR, for these; the words are the same on all servers.
PLAIN_TEXTS: Mapping[str, str] = {
    "value is not an integer or out of range": "NOTANINTEGER",
    "hash value is not an integer": "NOTANINTEGER",
    "increment or decrement would overflow": "INTEGEROVERFLOW",
}

FRAME_AFTER = re.compile(r" script: (?:[0-9a-f]{40}, )?on @user_script:(\d+)\.?$")
FRAME_BEFORE = re.compile(
    r"^(?:ERR )?Error (?:running|compiling) script \(.*?\): @?user_script:(\d+): "
)
PLACE = re.compile(r"^@?user_script: ?\d+: ")
CODE = re.compile(r"^-?([A-Z][A-Z0-9_]{2,})(?: |$)")
KEYS_N = re.compile(r"KEYS\[(\d+)\]")


class ErrorReply(NamedTuple):
    code: str
    message: str
    line: int | None


def parse_error(error: Exception) -> ErrorReply:
    """Take an error reply apart, whichever server and redis-py it came through."""
    code, text, line = CODE_OF_CLASS.get(type(error), ""), str(error), None
    if match := FRAME_BEFORE.search(text):
        text, line = text[match.end() :], int(match[1])
    elif match := FRAME_AFTER.search(text):
        text, line = text[: match.start()], int(match[1])
    text = PLACE.sub("", text)
    if not code and (match := CODE.match(text)):
        code, text = match[1], text[match.end() :]
    return ErrorReply(code or "ERR", PLACE.sub("", text), line)


def is_refusal(reply: ErrorReply) -> bool:
    """Whether a server says so, in its own words, and not a script that was executed."""
    return reply.code in REFUSED and REFUSAL.match(f"{reply.code} {reply.message}") is not None


def translate(error: Exception, call: Call[Any], keys: Sequence[bytes]) -> RedisAtomicError:
    """The exception as which an error reply to this call is raised."""
    reply = parse_error(error)
    if reply.code in REFUSED and (is_refusal(reply) or not call.runs_foreign_code):
        return NotExecuted(
            f"Redis refused {call.name!r} before it changed anything: {reply.code} {reply.message}"
        )
    if isinstance(call.command, Script) and not call.command.builtin:
        return _script_error(call.command, reply, keys)
    code = PLAIN_TEXTS.get(reply.message, reply.code)
    message, key = _name_the_key(reply.message, keys)
    kind = KINDS.get(code)
    if kind is None and isinstance(call.command, Script):
        return _script_error(call.command, reply, keys)
    return (kind or ReplyError)(f"{call.name}: {message}", code=code, key=key)


def _name_the_key(message: str, keys: Sequence[bytes]) -> tuple[str, str | None]:
    """Our scripts say "KEYS[2] holds …"; a person wants to read the key itself."""
    names = [key.decode("utf-8", "backslashreplace") for key in keys]
    if (match := KEYS_N.search(message)) and 0 < int(match[1]) <= len(names):
        key = names[int(match[1]) - 1]
        return KEYS_N.sub(repr(key), message, count=1), key
    if len(names) == 1:
        return f"{message} (key {names[0]!r})", names[0]
    return message, None


def _script_error(script: Script, reply: ErrorReply, keys: Sequence[bytes]) -> ScriptError:
    return ScriptError(
        reply.message,
        code=reply.code,
        key=keys[0].decode("utf-8", "backslashreplace") if len(keys) == 1 else None,
        script=script.name,
        file=script.path,
        line=reply.line,
        context=source_context(script.source, reply.line),
    )


def source_context(source: bytes, line: int | None) -> str:
    """Three lines of source around a line, numbered, the line itself marked."""
    if line is None:
        return ""
    lines = source.decode("utf-8", "replace").splitlines()
    numbers = range(max(1, line - 1), min(len(lines), line + 1) + 1)
    return "\n".join(f"{'>' if n == line else ' '} {n:4} {lines[n - 1]}".rstrip() for n in numbers)
