"""
What can be said of a script without a server.

A lie of the head makes the script unusable: it is never sent. All else is advice.
Only what is certain is reported: a key that comes out
of a loop or a function is not followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .lua import RedisCall, Token, assignments, redis_calls, tokens_of
from .parameters import Parameter
from .script import Script
from .signature import SERVER_FLAGS, Signature


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Commands whose first argument is not a key.
KEYLESS = _words(
    "ACL BITOP CLIENT CLUSTER COMMAND CONFIG DBSIZE ECHO EVAL EVALSHA FCALL FLUSHALL FLUSHDB "
    "FUNCTION INFO KEYS LMPOP LOLWUT MEMORY MSETNX OBJECT PING PUBLISH PUBSUB RANDOMKEY ROLE SCAN "
    "SCRIPT SELECT SPUBLISH TIME WAIT XGROUP XINFO XREAD XREADGROUP "
    "BLMPOP BZMPOP ZMPOP SINTERCARD ZDIFF ZINTER ZINTERCARD ZUNION"
)
#: Common commands that write; a "no-writes" script that calls one is refused by Redis.
WRITES = _words(
    "APPEND BITFIELD BITOP COPY DECR DECRBY DEL EXPIRE EXPIREAT FLUSHALL FLUSHDB GEOADD GETDEL "
    "GETEX GETSET HDEL HINCRBY HINCRBYFLOAT HMSET HSET HSETNX INCR INCRBY INCRBYFLOAT LINSERT "
    "LMOVE LPOP LPUSH LPUSHX LREM LSET LTRIM MIGRATE MOVE MSET MSETNX PERSIST PEXPIRE PEXPIREAT "
    "PFADD PFMERGE PSETEX RENAME RENAMENX RESTORE RPOP RPOPLPUSH RPUSH RPUSHX SADD SDIFFSTORE "
    "SET SETBIT SETEX SETNX SETRANGE SINTERSTORE SMOVE SPOP SREM SUNIONSTORE UNLINK XACK XADD "
    "XDEL XTRIM ZADD ZINCRBY ZINTERSTORE ZPOPMAX ZPOPMIN ZREM ZUNIONSTORE"
)


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


def lies(script: Script) -> list[Finding]:
    """What the head says untruly, in order of lines."""
    signature, tokens = _signature(script), tokens_of(script.source.decode())
    found = [*_beyond_the_head(signature, tokens), *_writes(signature, tokens)]
    return sorted(found, key=lambda each: each.line or 0)


def advice(script: Script) -> list[Finding]:
    """What should be better, and is no reason not to call the script."""
    signature, source = _signature(script), script.source.decode()
    tokens = tokens_of(source)
    found = [*_unused(signature, tokens), *_keys(tokens)]
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


@dataclass(frozen=True, slots=True)
class Uses:
    """How a script uses KEYS or ARGV: each number with its line, and lines of other uses."""

    numbers: dict[int, int]
    others: list[int]

    @classmethod
    def of(cls, table: str, tokens: list[Token]) -> Uses:
        numbers: dict[int, int] = {}
        others = []
        for index, token in enumerate(tokens):
            before = tokens[index - 1].text if index else ""
            if token.kind != "name" or token.text != table or before in (".", "#"):
                continue
            match [each.text for each in tokens[index + 1 : index + 4]]:
                case ["[", number, "]"] if number.isdecimal():
                    numbers.setdefault(int(number), token.line)
                case _:
                    others.append(token.line)
        return cls(numbers, others)


def _beyond_the_head(signature: Signature, tokens: list[Token]) -> Iterator[Finding]:
    tables = {
        "KEYS": (signature.keys, Uses.of("KEYS", tokens)),
        "ARGV": (signature.args, Uses.of("ARGV", tokens)),
    }
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


def _unused(signature: Signature, tokens: list[Token]) -> Iterator[Finding]:
    for table, parameters in (("KEYS", signature.keys), ("ARGV", signature.args)):
        uses = Uses.of(table, tokens)
        for number, parameter in enumerate(parameters, start=1):
            used = uses.others or number in uses.numbers
            if parameter.tail:
                used = uses.others or any(each >= number for each in uses.numbers)
            if not used:
                message = f"{parameter.name!r} is declared, and {table}[{number}] is never used."
                hint = f"Use it, or take {parameter.name!r} out of the head."
                yield Finding("unused", message, hint)
    texts = [each.content for each in tokens if each.kind == "string"]
    for code in signature.errors:
        if not any(code in text for text in texts):
            message = f"{code} is declared under 'errors:', and no text of the script has it."
            hint = f"Return it by redis.error_reply('{code} …'), or take it out of the head."
            yield Finding("unused", message, hint)


def _writes(signature: Signature, tokens: list[Token]) -> Iterator[Finding]:
    if "no-writes" not in signature.flags:
        return
    for call in redis_calls(tokens):
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


def _keys(tokens: list[Token]) -> Iterator[Finding]:
    values = assignments(tokens)
    for call in redis_calls(tokens):
        if not call.command or call.command in KEYLESS or len(call.arguments) < 2:
            continue
        yield from _key(call, call.arguments[1], values)


def _key(call: RedisCall, key: list[Token], values: dict[str, list[Token]]) -> Iterator[Finding]:
    text = "".join(each.text for each in key)
    is_name = len(key) == 1 and key[0].kind == "name"
    value = values.get(key[0].text, key) if is_name else key
    if len(value) == 1 and value[0].kind == "string":
        message = f"{call.command} takes the literal key {value[0].text}."
        yield Finding("undeclared-key", message, PASS_IT, call.line)
    elif value and (value[0].text == "ARGV" or any(each.text == ".." for each in value)):
        message = f"{call.command} takes a key that the script computes: {text}."
        yield Finding("undeclared-key", message, PASS_IT, call.line)
    elif is_name:
        message = f"{call.command} takes its key from the local {text!r}."
        hint = "Write KEYS[n] in the call itself: some hosted clusters refuse anything else."
        yield Finding("local-key", message, hint, call.line)


PASS_IT = "Declare it in '-- keys:' and pass it: a cluster and an ACL must know every key."
