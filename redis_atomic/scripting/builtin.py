"""The scripts that ship with the package, one file each in ``redis_atomic/lua``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .script import Script

FOLDER = Path(__file__).resolve().parent.parent / "lua"


@cache
def builtin(name: str) -> Script:
    """The built-in script of this name, read once; FileNotFoundError if there is none."""
    path = FOLDER / f"{name}.lua"
    return Script(f"redis_atomic:{name}", path.read_bytes(), str(path), builtin=True)


def builtins() -> list[Script]:
    """Every built-in script."""
    return [builtin(path.stem) for path in sorted(FOLDER.glob("*.lua"))]
