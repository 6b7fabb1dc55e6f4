"""
Which scripts there are: files found by name, read, and believed only when sound.

``<folder of app>/<name>.lua`` is ``"<label>.<name>"``; in a folder without a label
``<name>.lua`` is ``"<name>"`` and ``<label>/<name>.lua`` is ``"<label>.<name>"``.
Nothing is looked for deeper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ..exceptions import InvalidScript
from .lint import Finding, lies
from .script import Script
from .signature import read_signature

NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)?[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A script that was found: ready for use, or with the fault that forbids it."""

    name: str
    path: str
    script: Script | None = None
    fault: Finding | None = None

    def usable(self) -> Script:
        """The script; InvalidScript, which tells the fault, when it must not be called."""
        if self.script is not None:
            return self.script
        assert self.fault is not None
        message = f"{self.fault.message} {self.fault.hint}".strip()
        raise InvalidScript(message, file=self.path, line=self.fault.line)


def discover(
    folders: Iterable[tuple[str | None, str | PathLike[str]]],
    overrides: Mapping[str, str | PathLike[str]],
) -> dict[str, Entry]:
    """
    Every script of these (label, folder) pairs, by name.

    ``overrides`` names files that win over what the folders hold. Two files for
    one name, or a file that can't be used, give an entry with a fault; nothing is
    raised.
    """
    found: dict[str, list[Path]] = {}
    for label, folder in folders:
        for name, path in _files(label, Path(folder)):
            paths = found.setdefault(name, [])
            if path not in paths:
                paths.append(path)
    found |= {name: [_resolved(Path(path))] for name, path in overrides.items()}
    return {name: _entry(name, found[name]) for name in sorted(found)}


def _files(label: str | None, folder: Path) -> Iterator[tuple[str, Path]]:
    patterns = ["*.lua"] if label else ["*.lua", "*/*.lua"]
    for pattern in patterns:
        for path in _matching(folder, pattern):
            owner = label or (path.parent.name if "/" in pattern else None)
            if not path.name.startswith("."):  # an editor's lock or back-up
                yield f"{owner}.{path.stem}" if owner else path.stem, path


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(_resolved(folder).glob(pattern))
    except ValueError:  # a null byte, from Python 3.13 on; a check tells of the folder
        return []


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a null byte
        return path


def _entry(name: str, paths: list[Path]) -> Entry:
    first, *others = [str(path) for path in paths]
    if not NAME.fullmatch(name):
        message = f"{name!r} is no name for a script."
        return Entry(name, first, fault=Finding("name", message, RENAME))
    if not others:
        return read_entry(name, paths[0])
    message = f"the name {name!r} is taken by {' and '.join(others)}, too."
    hint = f"Rename one, or choose in settings: REDIS_ATOMIC['SCRIPTS'] = {{{name!r}: {first!r}}}."
    return Entry(name, first, fault=Finding("duplicate", message, hint))


def read_entry(name: str, path: Path) -> Entry:
    """Read one file. Its fault, if any, stays on the entry."""
    try:
        return Entry(name, str(path), script=_read(name, path))
    except _Fault as fault:
        return Entry(name, str(path), fault=fault.finding)


def read_script(name: str, path: str | PathLike[str], *, builtin: bool = False) -> Script:
    """The script in a file, with its signature; InvalidScript when it can't be used."""
    try:
        return _read(name, Path(path), builtin=builtin)
    except _Fault as fault:
        return Entry(name, str(path), fault=fault.finding).usable()


class _Fault(Exception):
    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def _read(name: str, path: Path, *, builtin: bool = False) -> Script:
    source = _source(path)
    try:
        signature = read_signature(source.decode(), name, str(path))
        script = Script(
            name,
            source,
            str(path),
            read_only="no-writes" in signature.flags,
            idempotent="idempotent" in signature.flags,
            builtin=builtin,
            signature=signature,
        )
        for finding in lies(script):
            raise _Fault(finding)
    except InvalidScript as error:
        raise _Fault(Finding("head", error.message, HEAD, error.line)) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        raise _Fault(Finding("unreadable", f"it cannot be understood: {error}.", HEAD)) from error
    return script


def _source(path: Path) -> bytes:
    try:
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"the file cannot be read: {reason}."
        raise _Fault(Finding("unreadable", message, READABLE)) from error
    if source.startswith(b"\xef\xbb\xbf"):
        message = "the file begins with a byte order mark, which Redis refuses."
        raise _Fault(Finding("bom", message, "Save it as UTF-8 without BOM.", 1))
    try:
        source.decode()
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        message = f"the file is not UTF-8: byte {source[error.start]:#04x}."
        raise _Fault(Finding("encoding", message, "Save it as UTF-8.", line)) from error
    return source


RENAME = "Name it by letters, digits, '_' and '-', with one label before a dot at most."
HEAD = "A head reads: -- keys: stock, -- args: amount:int(1..), -- returns: applied:bool left:int."
READABLE = "Correct the path or permissions."
