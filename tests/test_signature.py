import inspect
import itertools
import pickle
from contextlib import suppress
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import _HiredisParser, _RESP2Parser, _RESP3Parser

from redis_atomic import RawKey
from redis_atomic.exceptions import InvalidScript, ScriptError, UnexpectedReply
from redis_atomic.scripting.signature import FLAGS, read_signature
from redis_atomic.scripting.values import MAX_STRING
from tests.settings import REDIS_URL

RESERVE = """\
-- Take units from stock, never below zero.
-- keys: stock *holds     -- the holds of one customer
-- args: amount:int(1..) reason:str?
-- args: *tags:str
-- returns: applied:bool left:int
-- errors: OUT_OF_STOCK
-- flags: no-writes idempotent
return {1, 2}
"""


def signature(*head, name="shop.reserve"):
    return read_signature("\n".join(f"-- {line}" for line in head), name, "shop/lua/reserve.lua")


def sent(head, **arguments):
    return signature(*head).bind(arguments)


# The head


def test_a_head_declares_everything():
    found = read_signature(RESERVE, "shop.reserve")
    assert found.usage == "stock, holds=(), amount, reason=None, tags=()"
    assert found.result.declared == "applied:bool left:int"
    assert found.errors == ("OUT_OF_STOCK",)
    assert found.flags == {"no-writes", "idempotent"}


def test_a_script_without_a_head_takes_nothing_and_returns_anything():
    found = read_signature("local x = 1 -- keys: stock\nreturn x", "plain")
    assert not found.declared
    assert found.bind({}) == ((), ())
    assert found.parse([1, [b"x"]]) == [1, [b"x"]]


def test_block_comments_and_blank_lines_belong_to_the_head():
    text = "--[==[\nA licence.\nkeys: stock\n]==]\n\n--- args: amount:int\r\nreturn 1"
    assert read_signature(text, "s").usage == "stock, amount"


def test_the_signature_reads_well_in_python():
    found = read_signature(RESERVE, "shop.reserve").in_python()
    parameters = found.parameters
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in parameters.values())
    assert parameters["amount"].annotation is int
    assert parameters["reason"].annotation == str | None
    assert parameters["stock"].annotation == str | RawKey
    assert found.return_annotation.__name__ == "Reserve"
    assert signature("returns: int?").in_python().return_annotation == int | None
    assert signature("returns: map").in_python().return_annotation == dict[str, Any]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keys: stock, holds", "'stock,' is no name of a key: write names parted by spaces"),
        ("keys: *stock holds", "nothing can follow *stock: put it last."),
        ("keys: class", "'class' cannot be the name of an argument in Python."),
        ("keys: self", "'self' cannot be the name"),
        ("keys: a a", "'a' is declared twice: give one of them another name."),
        ("args: amount", "'amount' is no argument: write name:type without a space"),
        ("args: amount: int", "'amount:' is no argument"),
        ("args: amount:itn", "not 'itn'. Did you mean 'int'?"),
        ("args: rows:list", "an argument is one of str bytes int float bool json, not 'list'."),
        ("args: a:str(1..)", "only int and float have a range."),
        ("args: a:int(5..1)", "no number is in that range: write 1..5."),
        ("args: a:int(0.5..)", "the bounds of an int are signed 64-bit integers."),
        ("args: a:int(..9223372036854775808)", "the bounds of an int are signed 64-bit"),
        ("args: a:str? b:str", "a may be absent: put it after b."),
        ("args: *a:str?", "a * may be empty as it is: leave out the '?'."),
        ("args: *a:str *b:str", "nothing can follow *a: put it last."),
        ("returns: integer", "not 'integer'. Did you mean 'int'?"),
        ("returns: left:int", "one value has no name: write 'returns: int'."),
        ("returns: applied:bool int", "several results have names: write 'name:int'."),
        ("returns: a:int a:int", "'a' cannot be the name of this result"),
        ("returns: bool?", "'bool' reads nil already: leave out the '?'."),
        ("returns: true when done.", "not 'true'."),
        ("returns: 1", "'1' is no result: write one type, '-- returns: int', or several"),
        ("errors: out_of_stock", "'out_of_stock' is no error code: write capitals"),
        ("flags: no-write", "not 'no-write'. Did you mean 'no-writes'?"),
        ("Keys: stock", "'Keys:' declares nothing: write 'keys:'"),
        ("arguments: a:int", "'arguments:' declares nothing: write 'args:'"),
    ],
)
def test_a_wrong_head_says_where_and_what_to_type(line, message):
    with pytest.raises(InvalidScript) as caught:
        signature("A script.", line)
    assert message in str(caught.value)
    assert str(caught.value).startswith("shop/lua/reserve.lua:2: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!lua flags=no-writes\n-- flags: allow-oom", "write '#!lua flags=allow-oom'"),
        ("#!lua\n-- flags: no-writes", "the #!lua line and '-- flags:' disagree"),
        ("#!lua flags=no-writes\n-- flags:", "write '#!lua' or correct"),
        ("\n#!lua\n", "'#!lua' must be the very first line"),
        ("#!python\n", "Redis refuses '#!python': write '#!lua'"),
        ("#!lua name=x\n", "Redis refuses '#!lua name=x'"),
        ("#!lua flags=readonly\n", "not 'readonly'"),
    ],
)
def test_a_first_line_that_contradicts_the_head_is_refused(text, message):
    with pytest.raises(InvalidScript, match=r"^x\.lua:1: ") as caught:
        read_signature(text, "x", "x.lua")
    assert message in str(caught.value)


def test_the_flags_of_the_first_line_are_honoured():
    assert read_signature("#!lua flags=no-writes\nreturn 1", "x").flags == {"no-writes"}
    both = read_signature("#!lua flags=no-writes\r\n-- flags: no-writes idempotent\r\n", "x")
    assert both.flags == {"no-writes", "idempotent"}
    assert both.flags < FLAGS


# Arguments


def test_arguments_are_sent_in_the_declared_order():
    found = read_signature(RESERVE, "shop.reserve")
    given = {"tags": ("x", "y"), "reason": "gift", "amount": 3, "holds": iter("ab"), "stock": "s"}
    assert found.bind(given) == (("s", "a", "b"), (3, b"gift", b"x", b"y"))
    assert found.bind({"stock": "s", "amount": 1}) == (("s",), (1,))
    assert found.bind({"stock": "s", "amount": 1, "reason": None, "tags": []}) == (("s",), (1,))


def test_a_mapping_is_sent_field_value_field_value():
    fields = {"a": 1, b"\xff": -2}
    assert sent(["args: **fields:int"], fields=fields) == ((), (b"a", 1, b"\xff", -2))


@pytest.mark.parametrize(
    ("head", "value", "words"),
    [
        ("str", "é", "é".encode()),
        ("bytes", bytearray(b"\0\xff"), b"\0\xff"),
        ("int", -(2**63), -(2**63)),
        ("int", 2**63 - 1, 2**63 - 1),
        ("float", 0.1, "0.1"),
        ("float", 3, "3.0"),
        ("bool", True, 1),
        ("json", {"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'.encode()),
        ("json", None, b"null"),
        ("float(0..1.5)", 1.5, "1.5"),
        ("int(..-1)", -1, -1),
    ],
)
def test_each_type_has_its_text(head, value, words):
    assert sent([f"args: a:{head}"], a=value) == ((), (words,))


@pytest.mark.parametrize(
    ("head", "value", "error", "message"),
    [
        ("str", 1, TypeError, "a must be str, not 1 (int)."),
        ("str", b"x", TypeError, "a must be str"),
        ("str", "\ud800", ValueError, "a cannot be sent as UTF-8"),
        ("bytes", "x", TypeError, "a must be bytes, not 'x' (str)."),
        ("int", True, TypeError, "a must be int, not True (bool)."),
        ("int", 1.0, TypeError, "a must be int, not 1.0 (float)."),
        ("int", "1", TypeError, "a must be int, not '1' (str)."),
        ("int", None, TypeError, "a must be int, not None (NoneType)."),
        ("int", 2**63, ValueError, "a must be a signed 64-bit integer, not 9223372036854775808."),
        ("int", -(2**63) - 1, ValueError, "a must be a signed 64-bit integer"),
        ("int(1..5)", 6, ValueError, "a must be at most 5, not 6."),
        ("int(1..5)", 0, ValueError, "a must be at least 1, not 0."),
        ("float", float("nan"), ValueError, "a must be a finite number, not nan."),
        ("float", float("inf"), ValueError, "a must be a finite number, not inf."),
        ("float", 10**400, ValueError, "a must be a finite number"),
        ("float", True, TypeError, "a must be float"),
        ("float(0..)", -0.1, ValueError, "a must be at least 0.0, not -0.1."),
        ("bool", 1, TypeError, "a must be bool, not 1 (int)."),
        ("json", {1, 2}, TypeError, "a cannot be written as JSON"),
        ("json", float("nan"), ValueError, "a cannot be written as JSON"),
    ],
)
def test_a_wrong_argument_is_named(head, value, error, message):
    with pytest.raises(error) as caught:
        sent([f"args: a:{head}"], a=value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("head", "value", "message"),
    [
        ("*a:int", "12", "a must be a list, not '12' (str)."),
        ("*a:int", 5, "a must be a list, not 5 (int)."),
        ("*a:int", [1, "2"], "a[1] must be int, not '2' (str)."),
        ("**a:int", [1], "a must be a mapping, not [1] (list)."),
        ("**a:int", {"x": "1"}, "a['x'] must be int, not '1' (str)."),
        ("**a:int", {1: 1}, "a field of a must be str, not 1 (int)."),
    ],
)
def test_a_wrong_item_is_named(head, value, message):
    with pytest.raises(TypeError) as caught:
        sent([f"args: {head}"], a=value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amount": 1}, "stock is missing: shop.reserve takes stock, holds=(), amount, "),
        ({"stock": "s"}, "amount is missing: "),
        ({"stock": "s", "amuont": 1}, "amuont is unknown: shop.reserve takes stock, holds=(), "),
        ({"stock": "s", "amuont": 1}, "Did you mean 'amount'?"),
        ({"stock": "s", "amount": 1, "tags": ["x"]}, "reason is missing: it is sent before tags."),
        ({"stock": b"s", "amount": 1}, "stock must be a key, str or RawKey, not b's' (bytes)."),
        ({"stock": None, "amount": 1}, "stock must be a key, str or RawKey, not None"),
        ({"stock": "s", "holds": "abc", "amount": 1}, "holds must be a list, not 'abc' (str)."),
        ({"stock": "s", "holds": [1], "amount": 1}, "holds[0] must be a key"),
    ],
)
def test_what_is_missing_unknown_or_no_key_is_named(arguments, message):
    with pytest.raises(TypeError) as caught:
        read_signature(RESERVE, "shop.reserve").bind(arguments)
    assert message in str(caught.value)


def test_a_string_longer_than_redis_takes_is_refused(monkeypatch):
    assert MAX_STRING == 512 * 2**20
    monkeypatch.setattr("redis_atomic.scripting.values.MAX_STRING", 4)
    for head, value in [("args: a:bytes", b"12345"), ("args: a:json", "123"), ("keys: a", "12345")]:
        with pytest.raises(ValueError, match="a has 5 bytes; Redis takes at most 4"):
            sent([head], a=value)
    assert sent(["keys: a"], a=RawKey(b"1234"))


# Replies


@pytest.fixture(params=["RESP2", "RESP3", "hiredis RESP2", "hiredis RESP3"])
def client(request):
    words = request.param.split()
    protocol = 3 if words[-1] == "RESP3" else 2
    python = _RESP3Parser if protocol == 3 else _RESP2Parser
    pool = redis.ConnectionPool.from_url(
        REDIS_URL,
        protocol=protocol,
        parser_class=_HiredisParser if "hiredis" in words else python,
    )
    with redis.Redis(connection_pool=pool) as client:
        yield client
    pool.disconnect()


def is_redis_6(client):
    return client.info("server")["redis_version"].startswith("6.")


REPLIES = [
    ("int", "return 5", 5),
    ("int", "return '9007199254740993'", 2**53 + 1),
    ("int?", "return false", None),
    ("str", "return 'é'", "é"),
    ("str", "return redis.call('SET', 'k', 1)", "OK"),
    ("str?", "return redis.call('GET', 'missing')", None),
    ("bytes", "return '\\255'", b"\xff"),
    ("bool", "return true", True),
    ("bool", "return false", False),
    ("bool", "return nil", False),
    ("bool", "return 0", False),
    ("float", "return tostring(0.5)", 0.5),
    ("float", "return {double=3.5}", 3.5),
    ("float", "return {double=3}", 3.0),
    ("int", "return {double=3}", 3),
    ("json", "return cjson.encode({a=1})", {"a": 1}),
    ("json?", "return false", None),
    ("list", "return {1, 'a', {2, false, 3}}", [1, b"a", [2, None, 3]]),
    ("list", "return {1, {double=2.5}, {map={a=1}}}", [1, b"2.5", [b"a", 1]]),
    ("list", "redis.setresp(3); return {true, false}", [1, 0]),
    ("map", "redis.call('HSET', 'h', 'f', 1); return redis.call('HGETALL', 'h')", {"f": b"1"}),
    (
        "map",
        "redis.call('HSET', 'h', 'f', 1); redis.setresp(3); return redis.call('HGETALL', 'h')",
        {"f": b"1"},
    ),
    ("map", "return {map={a=1}}", {"a": 1}),
    ("map", "return {}", {}),
    ("map", "return {'a', 1, 2, {3}}", {"a": 1, "2": [3]}),
    ("str", "return {verbatim_string={string='é', format='txt'}}", "é"),
    ("int", "return {big_number='1234567890123456789'}", 1234567890123456789),
    ("list", "return {{big_number='9223372036854775808'}}", [b"9223372036854775808"]),
    ("none", "return nil", None),
    ("done:bool left:int who:str?", "return {1, '12', false}", (True, 12, None)),
]


@pytest.mark.parametrize(("returns", "source", "value"), REPLIES)
def test_a_reply_is_the_same_value_on_every_protocol_and_parser(client, returns, source, value):
    if ("verbatim" in source or "big_number" in source) and is_redis_6(client):
        pytest.skip("Redis 6.2 does not know these replies.")
    found = signature(f"returns: {returns}").parse(client.eval(source, 0))
    assert repr(found) == repr(value) or (isinstance(value, tuple) and found == value)


@pytest.mark.parametrize(
    ("returns", "source"),
    [
        ("int", "return 'x'"),
        ("int", "return nil"),
        ("int", "return {double=3.5}"),
        ("str", "return 5"),
        ("str", "return '\\255'"),
        ("bool", "return 2"),
        ("bool", "return 'yes'"),
        ("float", "return 3.99"),
        ("json", "return '{'"),
        ("list", "return 'x'"),
        ("map", "return {'a'}"),
        ("map", "return {{}, 1}"),
        ("none", "return 1"),
        ("a:int b:int?", "return {1, nil}"),
        ("a:int b:int", "return {1, 2, 3}"),
        ("a:int b:int", "return 1"),
    ],
)
def test_a_reply_that_does_not_fit_shows_both(client, returns, source):
    reply = client.eval(source, 0)
    with pytest.raises(UnexpectedReply) as caught:
        signature(f"returns: {returns}").parse(reply)
    assert f"should return {returns}, and returned {reply!r}" in str(caught.value)


def test_a_reply_that_a_client_has_decoded_is_the_same_value():
    assert signature("returns: bytes").parse("é") == "é".encode()
    assert signature("returns: map").parse(["a", "1"]) == {"a": b"1"}


def test_an_error_within_a_reply_is_raised(client):
    reply = client.eval("return {1, {redis.error_reply('OUT_OF_STOCK none left')}}", 0)
    for head in (["returns: list"], []):
        with pytest.raises(ScriptError, match="none left") as caught:
            signature(*head).parse(reply)
        assert (caught.value.code, caught.value.script) == ("OUT_OF_STOCK", "shop.reserve")


def test_a_named_tuple_is_true_when_its_first_bool_is_and_can_be_cached():
    parse = signature("returns: applied:bool left:int").parse
    done, refused = parse([1, 2]), parse([None, 0])
    assert (bool(done), bool(refused)) == (True, False)
    assert repr(done) == "Reserve(applied=True, left=2)"
    again = pickle.loads(pickle.dumps(refused))
    assert (again, again.left, bool(again)) == (refused, 0, False)
    assert signature("returns: left:int more:bool").parse([0, None])


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1), st.floats(allow_nan=False))
def test_numbers_survive_the_way_out_and_back(number, fraction):
    ((_, words), result) = sent(["args: n:int"], n=number), signature("returns: int")
    assert result.parse(str(words[0]).encode()) == number
    if abs(fraction) != float("inf"):
        _, (text,) = sent(["args: n:float"], n=fraction)
        assert signature("returns: float").parse(text.encode()) == fraction


@given(st.text(max_size=80))
def test_any_text_is_a_head_or_an_invalid_script(text):
    for section, prefix in itertools.product(("keys", "args", "returns", "flags"), ("-- ", "--[[")):
        with suppress(InvalidScript):
            read_signature(f"{prefix}{section}: {text}", "s", "s.lua")
