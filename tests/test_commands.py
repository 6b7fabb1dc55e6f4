"""What we know of commands is what the server says of them."""

import pytest
import redis

from redis_atomic.scripting.commands import BLOCKING, COUNTS, KEYLESS, PLACES, WRITES, key_places
from tests.settings import REDIS_URL

#: Commands that a script cannot call anyway, or whose sub-commands write and not they.
APART = {"FUNCTION", "CLUSTER", "XGROUP", "EVAL", "EVALSHA", "SCRIPT", "HOST:", "POST"}
#: A way to write each command whose keys are not simply first.
CALLS = [
    "BLMPOP 0 2 a b LEFT",
    "BLPOP a b 0",
    "COPY a b REPLACE",
    "BITOP AND a b c",
    "EVAL script 2 a b c",
    "GEORADIUS a 0 0 1 m STORE b",
    "LMPOP 2 a b LEFT",
    "MEMORY USAGE a",
    "MGET a b",
    "MIGRATE host 1 a 0 5",
    "MSET a 1 b 2",
    "MSETEX 2 a 1 b 2 EX 5",
    "OBJECT ENCODING a",
    "SET a b EX 5",
    "SINTERCARD 2 a b LIMIT 1",
    "SORT a LIMIT 0 1 STORE b",
    "SMOVE a b member",
    "XGROUP CREATE a g 0",
    "XINFO STREAM a",
    "XREAD COUNT 1 STREAMS a b 0 0",
    "XREADGROUP GROUP g c STREAMS a b > >",
    "ZINTER 2 a b WITHSCORES",
    "ZRANGESTORE a b 0 1",
    "ZUNIONSTORE a 2 b c WEIGHTS 1 2",
]


def asked(*words):
    """What one server answers, as it is: redis-py would take it apart."""
    with redis.Redis.from_url(REDIS_URL) as client:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command(*words)
            return connection.read_response()
        finally:
            client.connection_pool.release(connection)


@pytest.fixture
def commands():
    """Name to flags and places of keys, as the server says."""
    return {
        each[0].decode().upper(): ({flag.decode() for flag in each[2]}, tuple(each[3:6]))
        for each in asked("COMMAND")
    }


def test_what_the_server_refuses_in_a_script_without_writes_is_known(commands):
    refused = {name for name, (flags, _) in commands.items() if flags & {"write", "may_replicate"}}
    assert refused - APART <= WRITES
    reads = {name for name, (flags, _) in commands.items() if "readonly" in flags}
    assert not reads & WRITES - {"PFCOUNT"}


def test_what_the_server_says_to_block_is_known(commands):
    blocking = {name for name, (flags, _) in commands.items() if "blocking" in flags}
    if not blocking:
        pytest.skip("Redis 6.2 does not say it")
    assert blocking <= BLOCKING


@pytest.mark.parametrize("call", ["PUBLISH a b", "SPUBLISH a b", "PFCOUNT a", "SORT a", "GETEX a"])
def test_a_command_that_only_seems_to_read_is_refused(call):
    assert call.split()[0] in WRITES
    words = ", ".join(repr(word) for word in call.split())
    with pytest.raises(redis.ResponseError) as caught:
        asked("EVAL_RO", f"return redis.call({words})", "0")
    if "unknown command" in str(caught.value).lower():
        pytest.skip(f"this server does not tell: {caught.value}")
    assert "Write commands are not allowed from read-only scripts" in str(caught.value)


def test_the_places_of_keys_are_the_server_s(commands):
    for name, (flags, places) in commands.items():
        if name in COUNTS or name in APART or "movablekeys" in flags or name == "MEMORY":
            continue
        ours = (0, 0, 0) if name in KEYLESS else PLACES.get(name, (1, 1, 1))
        if places != (0, 0, 0) or name not in PLACES:  # of sub-commands 7.0 and later say it
            assert ours == places, name


@pytest.mark.parametrize("call", CALLS)
def test_keys_are_found_where_the_server_finds_them(call):
    command, *words = call.split()
    try:
        keys = asked("COMMAND", "GETKEYS", command, *words)
    except redis.ResponseError as error:
        pytest.skip(f"this server does not tell: {error}")
    ours = [words[place] for place in key_places(command, words)]
    assert sorted(ours) == sorted(key.decode() for key in keys)
