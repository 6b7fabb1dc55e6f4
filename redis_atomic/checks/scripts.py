"""The project's scripts: what is wrong with their files, their heads and their text."""

from __future__ import annotations

from collections.abc import Iterator

from ..registry import script_folders, scripts
from ..scripting.discovery import Entry
from ..scripting.lint import Finding, advice
from .problem import Problem, check


def _faults(rule: str) -> Iterator[Problem]:
    for entry in scripts.entries.values():
        if entry.fault is not None and entry.fault.rule == rule:
            yield _problem(entry, entry.fault)


def _advice(rule: str) -> Iterator[Problem]:
    for entry in scripts.entries.values():
        if entry.script is not None:
            for finding in advice(entry.script):
                if finding.rule == rule:
                    yield _problem(entry, finding)


def _problem(entry: Entry, finding: Finding) -> Problem:
    return Problem(finding.told(entry.path), finding.hint)


@check("E011")
def unreadable() -> Iterator[Problem]:
    """A script's file cannot be read."""
    yield from _faults("unreadable")


@check("E012")
def byte_order_mark() -> Iterator[Problem]:
    """A script's file begins with a byte order mark."""
    yield from _faults("bom")


@check("E013")
def not_utf8() -> Iterator[Problem]:
    """A script's file is not UTF-8."""
    yield from _faults("encoding")


@check("E014")
def no_name() -> Iterator[Problem]:
    """A script's file has a name that cannot be the name of a script."""
    yield from _faults("name")


@check("E015")
def duplicate_name() -> Iterator[Problem]:
    """Two files claim one script's name."""
    yield from _faults("duplicate")


@check("E016")
def malformed_head() -> Iterator[Problem]:
    """A script's head comment cannot be understood."""
    yield from _faults("head")


@check("E017")
def beyond_the_head() -> Iterator[Problem]:
    """A script uses KEYS or ARGV that its head does not declare."""
    yield from _faults("beyond-head")


@check("E018")
def writes_against_its_flags() -> Iterator[Problem]:
    """A script with the flag no-writes calls a command that writes."""
    yield from _faults("writes")


@check("W011")
def missing_folder() -> Iterator[Problem]:
    """A folder of SCRIPT_DIRS does not exist."""
    for label, folder in script_folders():
        if label is None and not folder.is_dir():
            yield Problem(
                f"REDIS_ATOMIC['SCRIPT_DIRS'] names {str(folder)!r}, which is no folder.",
                "Create it, or correct the path.",
            )


@check("W012")
def undeclared_key() -> Iterator[Problem]:
    """A script uses a key that is written in it or computed by it."""
    yield from _advice("undeclared-key")


@check("W013")
def unused_name() -> Iterator[Problem]:
    """A script's head declares what the script never uses."""
    yield from _advice("unused")


@check("W014")
def crlf() -> Iterator[Problem]:
    """A script's lines end with CR LF."""
    yield from _advice("crlf")


@check("W015")
def idle_flag() -> Iterator[Problem]:
    """A script's head has flags that Redis reads in a #!lua line only."""
    yield from _advice("idle-flag")


@check("W103", deploy=True)
def key_in_a_local() -> Iterator[Problem]:
    """A script keeps a key in a local, which some hosted clusters refuse."""
    yield from _advice("local-key")
