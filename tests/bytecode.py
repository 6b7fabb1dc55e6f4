"""Which globals a text of Lua 5.1 reads and assigns, by what its compiler makes of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lupa import lua51

LUA = lua51.LuaRuntime(encoding=None)
DUMP = LUA.eval(b"function(text) return string.dump(assert(loadstring(text))) end")
HEADER, GET, SET = 12, 5, 7  # bytes, and the opcodes of GETGLOBAL and SETGLOBAL


def globals_of(source: bytes) -> tuple[set[str], set[str]]:
    """Names that are read, names that are assigned; LuaError if it does not compile."""
    used = list(_Reader(bytes(DUMP(source))).function())
    return {n for code, n in used if code == GET}, {n for code, n in used if code == SET}


class _Reader:
    """Reads a dump by the layout of ldump.c of Lua 5.1, 64-bit."""

    def __init__(self, dump: bytes) -> None:
        self.dump, self.at = dump, HEADER

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(f"<{layout}", self.dump, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def number(self) -> int:
        return self.take("i")[0]

    def string(self) -> str:
        (size,) = self.take("q")
        self.at += size
        return self.dump[self.at - size : self.at - 1].decode("utf-8", "replace") if size else ""

    def constant(self) -> str:
        (kind,) = self.take("b")
        if kind == 4:
            return self.string()
        self.at += {0: 0, 1: 1, 3: 8}[kind]
        return ""

    def function(self) -> Iterator[tuple[int, str]]:
        self.string()
        self.at += 12  # lines and sizes
        code = self.take(f"{self.number()}I")
        constants = [self.constant() for _ in range(self.number())]
        for instruction in code:
            if instruction & 63 in (GET, SET):
                yield instruction & 63, constants[instruction >> 14]
        for _ in range(self.number()):
            yield from self.function()
        self.take(f"{self.number()}i")  # lines
        for _ in range(self.number()):
            self.string()
            self.at += 8
        for _ in range(self.number()):
            self.string()
