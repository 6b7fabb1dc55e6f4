"""
What can be said of a script without a server.

A lie of the head makes the script unusable: it is never sent. All else is advice.
Only what is certain is reported: a key that comes out
of a loop or a function is not followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .commands import WRITES
from .lua import read_tokens
from .parameters import Parameter
from .reading import Key, Reading, RedisCall, Uses
from .script import Script
from .signature import SERVER_FLAGS, Signature


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say of a script: by which rule, where, what, and what to type."""

    rule: str
    message: str
    hint: str
    line: int | None = None

    def told(self, path: str) -> str:
        """``"/shop/lua/reserve.lua:3: …"``"""
        where = path if self.line is None else f"{path}:{self.line}"
        return f"{where}: {self.message}"


def lies(script: Script, reading: Reading | None = None) -> list[Finding]:
    """What the head says untruly, in order of lines."""
    signature, reading = _signature(script), reading or read_tokens(script.source.decode())
    found = [*_beyond_the_head(signature, reading), *_writes(signature, reading)]
    return sorted(found, key=lambda each: each.line or 0)


def advice(script: Script, reading: Reading | None = None) -> list[Finding]:
    """What should be better, and is no reason not to call the script."""
    signature, source = _signature(script), script.source.decode()
    reading = reading or read_tokens(source)
    found = [*_unused(signature, reading), *_keys(signature, reading)]
    if "\r\n" in source:
        found.append(CRLF)
    if not source.startswith("#!"):
        found += _idle_flags(signature)
    return found


def _signature(script: Script) -> Signature:
    if script.signature is None:
        raise ValueError(f"Script {script.name!r} has no signature to compare its text with.")
    return script.signature


CRLF = Finding(
    "crlf",
    "its lines end with CR LF, so its SHA differs from the same file with LF.",
    "Save it with LF, and add '*.lua text eol=lf' to .gitattributes.",
)


def _beyond_the_head(signature: Signature, reading: Reading) -> Iterator[Finding]:
    tables = {"KEYS": (signature.keys, reading.keys), "ARGV": (signature.args, reading.args)}
    beyond = {table: dict(_beyond(table, *each)) for table, each in tables.items()}
    lines = [_to_paste(table, *tables[table]) for table, found in beyond.items() if found]
    hint = "\n".join(["Correct the number, or let the head say:", *lines])
    for found in beyond.values():
        for message, line in found.items():
            yield Finding("beyond-head", message, hint, line)


def _beyond(table: str, parameters: Sequence[Parameter], uses: Uses) -> Iterator[tuple[str, int]]:
    """What is said of each use that the head does not cover, and its line."""
    tail = bool(parameters and parameters[-1].tail)
    for number, line in uses.numbers.items():
        if number == 0 or (number > len(parameters) and not tail):
            declared = _count(parameters)
            yield f"{table}[{number}] is beyond the head, which declares {declared}.", line
    if uses.others and not parameters:
        yield f"{table} is used, and the head declares none.", uses.others[0]


def _count(parameters: Sequence[Parameter]) -> str:
    return " ".join(each.tail + each.name for each in parameters) or "none"


def _to_paste(table: str, parameters: Sequence[Parameter], uses: Uses) -> str:
    """The line of the head that would cover every use."""
    word, kind = ("keys", "") if table == "KEYS" else ("args", ":str")
    names = [each.declared for each in parameters]
    missing = range(len(parameters) + 1, max(uses.numbers, default=0) + 1)
    names += [f"{word[:-1]}{number}{kind}" for number in missing]
    if uses.others and not parameters:
        names.append(f"*{word}{kind}")
    return f"-- {word}: {' '.join(names)}"


def _unused(signature: Signature, reading: Reading) -> Iterator[Finding]:
    tables = (("KEYS", signature.keys, reading.keys), ("ARGV", signature.args, reading.args))
    for table, parameters, uses in tables:
        for number, parameter in enumerate(parameters, start=1):
            used = uses.others or number in uses.numbers
            if parameter.tail:
                used = uses.others or any(each >= number for each in uses.numbers)
            if not used:
                message = f"{parameter.name!r} is declared, and {table}[{number}] is never used."
                hint = f"Use it, or take {parameter.name!r} out of the head."
                yield Finding("unused", message, hint)
    for code in signature.errors:
        if not any(code in text for text in reading.texts):
            message = f"{code} is declared under 'errors:', and no text of the script has it."
            hint = f"Return it by redis.error_reply('{code} …'), or take it out of the head."
            yield Finding("unused", message, hint)
    keys = {key.text for call in reading.calls for key in call.keys}
    for name in signature.undeclared:
        if name not in keys:
            message = f"{name!r} is listed under 'undeclared:', and no call takes it for a key."
            yield Finding("unused", message, f"Take {name!r} out of the head.")


def _writes(signature: Signature, reading: Reading) -> Iterator[Finding]:
    if "no-writes" not in signature.flags:
        return
    for call in reading.calls:
        if call.command in WRITES:
            message = f"its flags say no-writes, and it calls {call.command}."
            yield Finding("writes", message, "Take 'no-writes' out of the flags.", call.line)


def _idle_flags(signature: Signature) -> Iterator[Finding]:
    # Without that line Redis sees no flag; we ourselves act on no-writes.
    idle = sorted(signature.flags & SERVER_FLAGS - {"no-writes"})
    if idle:
        message = f"its flags say {' '.join(idle)}, which Redis reads in a #!lua line only."
        first = f"#!lua flags={','.join(sorted(signature.flags & SERVER_FLAGS))}"
        yield Finding("idle-flag", message, f"Begin the file with {first!r} (Redis 7 and later).")


def _keys(signature: Signature, reading: Reading) -> Iterator[Finding]:
    told = set()  # of one call with several possible commands, one is named
    for call in reading.calls:
        for key in call.keys:
            allowed = key.kind != "local" and key.text in signature.undeclared
            if not allowed and (call.line, key) not in told:
                told.add((call.line, key))
                yield _key(call, key)


def _key(call: RedisCall, key: Key) -> Finding:
    if key.kind == "local":
        message = f"{call.command} takes its key from the local {key.text!r}."
        hint = "Write KEYS[n] in the call itself: some hosted clusters refuse anything else."
        return Finding("local-key", message, hint, call.line)
    where = "" if key.value_line == call.line else f" (line {key.value_line})"
    if key.kind == "literal":
        message = f"{call.command} takes the literal key {key.value}{where}."
    else:
        value = key.text if key.text == key.value else f"{key.text} = {key.value}{where}"
        message = f"{call.command} takes a key that the script computes: {value}."
    hint = PASS_IT
    if key.text.isidentifier():
        hint += f" Where that cannot be, say so in the head: '-- undeclared: {key.text}'."
    return Finding("undeclared-key", message, hint, call.line)


PASS_IT = "Declare it in '-- keys:' and pass it: a cluster and an ACL must know every key."
