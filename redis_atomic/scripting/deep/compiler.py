"""Whether a server would compile a script: asked of Lua 5.1 itself, which Redis has built in."""

from __future__ import annotations

import re

from lupa import lua51

from ..lint import Finding

#: Nothing is run, only compiled; text comes and goes byte by byte.
LUA = lua51.LuaRuntime(encoding="latin-1", register_eval=False, register_builtins=False)
PLACE = re.compile(r'\A\[string ".*?"\]:(\d+): (.*)\Z', re.DOTALL)
BYTECODE = b"\x1b"


def syntax_fault(source: bytes) -> Finding | None:
    """
    What Lua 5.1 says against this text, with its line; None where it compiles.

    A ``#!`` line is left out, as Redis 7 and later do.
    """
    first, newline, rest = source.partition(b"\n")
    body = newline + rest if first.startswith(b"#!") else source
    if not body.startswith(b"\n") and body is not source:
        return Finding("syntax", "nothing follows its #! line.", "Write the script below it.", 1)
    if body.startswith(BYTECODE):
        return Finding("syntax", "it is compiled Lua, which Redis refuses.", "Keep the text.", 1)
    try:
        LUA.compile(body)
    except lua51.LuaError as error:
        said = str(error).encode("latin-1", "replace").decode("utf-8", "replace")
        match = PLACE.match(said)
        line, reason = (int(match[1]), match[2]) if match else (None, said)
        return Finding("syntax", f"Lua 5.1 does not understand it: {reason}.", HINT, line)
    return None


HINT = "Correct it; mind that Redis has Lua 5.1, without goto, //, & or <const>."
