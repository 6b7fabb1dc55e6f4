"""Calls: what may be in them, before anything is sent."""

import pytest

from redis_atomic import Call, RawKey, operation


@pytest.mark.parametrize("arg", [None, True, 1.5, [1], {"a": 1}, object], ids=str)
def test_an_argument_that_redis_has_no_form_for_is_named_and_refused(arg):
    with pytest.raises(TypeError, match="Argument 2 of 'SADD' must be str, bytes or int"):
        Call("SADD", (RawKey("k"),), ("fine", arg))


@pytest.mark.parametrize("words", ["abc", b"abc"], ids=["str", "bytes"])
def test_a_forgotten_comma_does_not_make_a_key_of_each_letter(words):
    with pytest.raises(TypeError, match=r"keys of 'DEL' are a tuple: write \(b?'abc',\)"):
        Call("DEL", (words))
    with pytest.raises(TypeError, match=r"arguments of 'SADD' are a tuple: write \(b?'abc',\)"):
        Call("SADD", ("k",), (words))


@pytest.mark.parametrize("command", ["MULTI", "subscribe", "SELECT", "HELLO 3", "", "\tMULTI"])
def test_a_command_that_changes_the_connection_is_refused(command):
    with pytest.raises(ValueError, match="connection is shared"):
        Call(command)


def test_an_operation_that_returns_no_call_says_so():
    @operation
    def wrong(key):
        return "INCR"

    with pytest.raises(TypeError, match=r"<Operation .*wrong> must return a Call, .* 'INCR'"):
        wrong("k")
