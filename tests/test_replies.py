"""Error replies as five servers word them, recorded; and the exceptions they become."""

import hashlib

import pytest
from redis._parsers.base import BaseParser

from redis_atomic import Call
from redis_atomic.client.replies import parse_error, translate
from redis_atomic.exceptions import (
    IntegerOverflow,
    NotAnInteger,
    NotExecuted,
    ReplyError,
    ScriptError,
    WrongType,
)
from redis_atomic.scripting.script import Script

SHA = hashlib.sha1(b"any").hexdigest()

# (what was run, 6.2, 7.0 to 8 and Valkey 8, Valkey 9, code, message, line)
RECORDED = [
    (
        "a command that fails in a script",
        f"ERR Error running script (call to f_{SHA}): @user_script:3: ERR value is not an integer or out of range",
        f"ERR value is not an integer or out of range script: {SHA}, on @user_script:3.",
        "ERR value is not an integer or out of range script: on @user_script:3.",
        ("ERR", "value is not an integer or out of range", 3),
    ),
    (
        "a key of another type",
        f"ERR Error running script (call to f_{SHA}): @user_script:2: WRONGTYPE Operation against a key holding the wrong kind of value",
        f"WRONGTYPE Operation against a key holding the wrong kind of value script: {SHA}, on @user_script:2.",
        "WRONGTYPE Operation against a key holding the wrong kind of value script: on @user_script:2.",
        ("WRONGTYPE", "Operation against a key holding the wrong kind of value", 2),
    ),
    (
        "an error of Lua itself",
        f"ERR Error running script (call to f_{SHA}): @user_script:1: user_script:1: attempt to perform arithmetic on a nil value",
        f"ERR user_script:1: attempt to perform arithmetic on a nil value script: {SHA}, on @user_script:1.",
        "ERR user_script:1: attempt to perform arithmetic on a nil value script: on @user_script:1.",
        ("ERR", "attempt to perform arithmetic on a nil value", 1),
    ),
    (
        "no memory left",
        f"ERR Error running script (call to f_{SHA}): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
        f"OOM command not allowed when used memory > 'maxmemory'. script: {SHA}, on @user_script:1.",
        "OOM command not allowed when used memory > 'maxmemory'. script: on @user_script:1.",
        ("OOM", "command not allowed when used memory > 'maxmemory'.", 1),
    ),
    (
        "a script that does not compile",
        "ERR Error compiling script (new function): user_script:1: '=' expected near '1'",
        "ERR Error compiling script (new function): user_script:1: '=' expected near '1'",
        "ERR Error compiling script (new function): user_script:1: '=' expected near '1'",
        ("ERR", "'=' expected near '1'", 1),
    ),
    (
        "an error returned by the script",
        "OUT_OF_STOCK three left",
        "OUT_OF_STOCK three left",
        "OUT_OF_STOCK three left",
        ("OUT_OF_STOCK", "three left", None),
    ),
    (
        "an error returned with a dash in front",
        "-OUT_OF_STOCK three left",
        "OUT_OF_STOCK three left",
        "OUT_OF_STOCK three left",
        ("OUT_OF_STOCK", "three left", None),
    ),
]
CASES = [
    pytest.param(text, expected, id=f"{what}, {server}")
    for what, *texts, expected in RECORDED
    for server, text in zip(["6.2", "7 and 8", "Valkey 9"], texts, strict=True)
]


def as_raised(text: str) -> Exception:
    """What redis-py makes of the line: it may cut the code off and choose a class."""
    return BaseParser.parse_error(text)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_code_message_and_line_are_found_on_every_server(text, expected):
    assert parse_error(as_raised(text)) == expected


def test_a_failing_script_shows_three_lines_of_its_source():
    script = Script(
        "shop.reserve", b"local a\nlocal b\nreturn a + b\n-- end", path="lua/reserve.lua"
    )
    text = f"ERR user_script:3: attempt to perform arithmetic script: {SHA}, on @user_script:3."
    error = translate(as_raised(text), Call(script, ("k",)), [b"app:1:k"])
    assert isinstance(error, ScriptError)
    assert (error.script, error.file, error.line, error.code, error.key) == (
        "shop.reserve",
        "lua/reserve.lua",
        3,
        "ERR",
        "app:1:k",
    )
    assert error.context == "     2 local b\n>    3 return a + b\n     4 -- end"
    assert "lua/reserve.lua:3" in str(error)
    assert error.context in str(error)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", WrongType),
        ("ERR value is not an integer or out of range", NotAnInteger),
        ("ERR hash value is not an integer", NotAnInteger),
        ("ERR increment or decrement would overflow", IntegerOverflow),
        ("ERR something new", ReplyError),
    ],
)
def test_a_plain_command_raises_the_kind_with_its_key(text, kind):
    error = translate(as_raised(text), Call("INCRBY", ("hits",), (1,)), [b"app:1:hits"])
    assert type(error) is kind
    assert error.key == "app:1:hits"
    assert "'app:1:hits'" in str(error)


def test_a_script_of_ours_names_the_key_it_means():
    script = Script("redis_atomic:transfer", b"", builtin=True)
    error = translate(
        as_raised("NOTANINTEGER KEYS[2] holds no integer"), Call(script), [b"app:1:a", b"app:1:b"]
    )
    assert isinstance(error, NotAnInteger)
    assert error.key == "app:1:b"
    assert "'app:1:b' holds no integer" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOAUTH Authentication required.",
    ],
)
def test_a_refusal_was_certainly_not_executed(text):
    error = translate(as_raised(text), Call("INCRBY", ("n",), (1,)), [b"n"])
    assert isinstance(error, NotExecuted)
    assert text.split()[0] in str(error)
