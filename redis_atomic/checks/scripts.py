"""
The project's scripts: what is wrong with their files, their heads and their text.

With the ``[lint]`` extra the text is parsed; without it, as much is told as its tokens show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from ..registry import script_folders, scripts
from ..scripting.lint import Finding, advice
from ..scripting.script import Script
from .problem import Problem, check


def _found(rule: str) -> Iterator[Problem]:
    """What this rule has to say of each script."""
    for entry in scripts.entries.values():
        if entry.script is not None:
            found = findings(entry.script)
        else:
            found = [entry.fault] if entry.fault is not None else []
        for finding in found:
            if finding.rule == rule:
                yield Problem(finding.told(entry.path), finding.hint)


@lru_cache(maxsize=1000)
def findings(script: Script) -> Sequence[Finding]:
    """All that is to be said of a script that can be called; looked for once, not for each id."""
    try:
        # Here, as only checks have time for it, and only few installations the packages.
        from ..scripting.deep import findings as deep_findings
    except ImportError:
        return advice(script)
    return deep_findings(script)


@check("E011")
def unreadable() -> Iterator[Problem]:
    """A script's file cannot be read."""
    yield from _found("unreadable")


@check("E012")
def byte_order_mark() -> Iterator[Problem]:
    """A script's file begins with a byte order mark."""
    yield from _found("bom")


@check("E013")
def not_utf8() -> Iterator[Problem]:
    """A script's file is not UTF-8."""
    yield from _found("encoding")


@check("E014")
def no_name() -> Iterator[Problem]:
    """A script's file has a name that cannot be the name of a script."""
    yield from _found("name")


@check("E015")
def duplicate_name() -> Iterator[Problem]:
    """Two files claim one script's name."""
    yield from _found("duplicate")


@check("E016")
def malformed_head() -> Iterator[Problem]:
    """A script's head comment cannot be understood."""
    yield from _found("head")


@check("E017")
def beyond_the_head() -> Iterator[Problem]:
    """A script uses KEYS or ARGV that its head does not declare."""
    yield from _found("beyond-head")


@check("E018")
def writes_against_its_flags() -> Iterator[Problem]:
    """A script with the flag no-writes calls a command that writes."""
    yield from _found("writes")


@check("E019")
def syntax_error() -> Iterator[Problem]:
    """A script is not Lua 5.1 (lint extra)."""
    yield from _found("syntax")


@check("E020")
def unknown_name() -> Iterator[Problem]:
    """A script uses a global, or a field of one, that Redis does not have (lint extra)."""
    yield from _found("unknown-name")


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
    yield from _found("undeclared-key")


@check("W013")
def unused_name() -> Iterator[Problem]:
    """A script's head declares what the script never uses."""
    yield from _found("unused")


@check("W014")
def crlf() -> Iterator[Problem]:
    """A script's lines end with CR LF."""
    yield from _found("crlf")


@check("W015")
def idle_flag() -> Iterator[Problem]:
    """A script's head has flags that Redis reads in a #!lua line only."""
    yield from _found("idle-flag")


@check("W016")
def known_to_some_servers() -> Iterator[Problem]:
    """A script uses a global that only some servers have (lint extra)."""
    yield from _found("some-servers")


@check("W017")
def bare_reply() -> Iterator[Problem]:
    """A script reckons with a reply or an argument as if it were a number (lint extra)."""
    yield from _found("bare-reply")


@check("W103", deploy=True)
def key_in_a_local() -> Iterator[Problem]:
    """A script keeps a key in a local, which some hosted clusters refuse."""
    yield from _found("local-key")
