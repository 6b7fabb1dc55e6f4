"""Whether a server would compile a script: asked of Lua 5.1 itself, which Redis has built in."""

from __future__ import annotations

import re

from lupa import lua51

from ..lint import Finding
from ..lua import TOKEN

#: Nothing is run, only compiled; text comes and goes byte by byte.
LUA = lua51.LuaRuntime(encoding="latin-1", register_eval=False, register_builtins=False)
PLACE = re.compile(r'\A\[string ".*?"\]:(\d+): (.*)\Z', re.DOTALL)
BYTECODE = b"\x1b"
NESTED = "nesting of [[...]] is deprecated"


def syntax_faults(source: bytes) -> list[Finding]:
    """
    What Lua 5.1 says against this text, with its line; nothing where it compiles everywhere.

    A ``#!`` line is left out, as Redis 7 and later do. A finding of another rule than
    "syntax" is of a text that only some servers compile.
    """
    first, newline, rest = source.partition(b"\n")
    if first.startswith(b"#!"):
        if not newline:
            return [Finding("syntax", "nothing follows its #! line.", "Write it below.", 1)]
        source = newline + rest
    if source.startswith(BYTECODE):
        return [Finding("syntax", "it is compiled Lua, which Redis refuses.", "Keep the text.", 1)]
    fault = _refusal(source)
    if fault is None or NESTED not in fault.message:
        return [fault] if fault is not None else []
    nested = Finding("some-servers", NESTED_MESSAGE, NESTED_HINT, fault.line)
    other = _refusal(_unnested(source))
    return [nested] if other is None else [nested, other]


def _refusal(source: bytes) -> Finding | None:
    try:
        LUA.compile(source)
    except lua51.LuaError as error:
        said = str(error).encode("latin-1", "replace").decode("utf-8", "replace")
        match = PLACE.match(said)
        line, reason = (int(match[1]), match[2]) if match else (None, said)
        return Finding("syntax", f"Lua 5.1 does not understand it: {reason}.", HINT, line)
    return None


def _unnested(source: bytes) -> bytes:
    """The text without ``[[`` within ``[[ ]]``."""
    return TOKEN.sub(_unnested_token, source.decode("latin-1")).encode("latin-1")


def _unnested_token(token: re.Match[str]) -> str:
    opening = re.match(r"(?:--)?\[\[", token[0])
    return opening[0] + token[0][opening.end() :].replace("[[", "__") if opening else token[0]


HINT = "Correct it; mind that Redis has Lua 5.1, without goto, //, & or <const>."
NESTED_MESSAGE = "it has '[[' within [[ ]], which Redis 6.2 refuses and Valkey takes."
NESTED_HINT = "Write [=[ and ]=] around it."
