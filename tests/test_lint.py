import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.exceptions import InvalidScript
from redis_atomic.scripting.lint import advice, lies
from redis_atomic.scripting.lua import redis_calls, tokens_of
from redis_atomic.scripting.script import Script
from redis_atomic.scripting.signature import read_signature


def findings(source):
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    return lies(script) + advice(script)


def said_of(source):
    return [(each.rule, each.line, each.message) for each in findings(source)]


def rules(source):
    return [rule for rule, _, _ in said_of(source)]


SOUND = """\
-- Everything that may stand in a script, and is right.
-- keys: stock *holds
-- args: amount:int reason:str? *tags:str
-- errors: OUT_OF_STOCK
--[[ KEYS[99] ARGV[99] in a block comment ]]
local text = "KEYS[98]" .. [==[ redis.call('SET', 'a', 1) ]==] -- KEYS[97]
for i = 2, #KEYS do redis.call('SADD', KEYS[1], unpack(KEYS)) end
if redis.call('TIME')[1] then
  return redis.error_reply('OUT_OF_STOCK \\' none left')
end
redis.call('PUBLISH', 'channel', ARGV[1])
return {ARGV[2], ARGV[7], KEYS[3], self.KEYS[50]}
"""


def test_a_sound_script_gives_nothing_to_say():
    assert said_of(SOUND) == []


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        (
            "-- keys: a\nreturn {KEYS[1],\nKEYS[2]}",
            3,
            "KEYS[2] is beyond the head, which declares a.",
        ),
        ("return ARGV [ 1 ]", 1, "ARGV[1] is beyond the head, which declares none."),
        (
            "-- keys: *a\nreturn {KEYS[0], KEYS[1]}",
            2,
            "KEYS[0] is beyond the head, which declares *a.",
        ),
        ("return unpack(KEYS)", 1, "KEYS is used, and the head declares none."),
        ("return ARGV[#ARGV]", 1, "ARGV is used, and the head declares none."),
    ],
)
def test_a_use_beyond_the_head_is_a_lie(source, line, message):
    assert ("beyond-head", line, message) in said_of(source)


def test_the_hint_is_what_to_paste():
    source = "local n = ARGV[2]\nreturn redis.call('GET', KEYS[1], unpack(ARGV))"
    hints = {each.hint for each in findings(source)}
    assert hints == {
        (
            "Correct the number, or let the head say:\n"
            "-- keys: key1\n-- args: arg1:str arg2:str *args:str"
        )
    }
    head = "-- keys: key1\n-- args: arg1:str arg2:str *args:str\n"
    assert rules(head + source) == []
    (finding,) = findings("return redis.call('DEL', unpack(KEYS))")
    assert finding.hint.endswith("say:\n-- keys: *keys")


def test_lies_come_in_the_order_of_their_lines():
    assert [line for _, line, _ in said_of("x = ARGV[1]\n\ny = KEYS[1]\nz = ARGV[2]")] == [1, 3, 4]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("'stock'", "GET takes the literal key 'stock'."),
        ("[[stock]]", "GET takes the literal key [[stock]]."),
        ("name", "GET takes the literal key 'stock'."),
        ("KEYS[1] .. ':x'", "GET takes a key that the script computes: KEYS[1]..':x'."),
        ("ARGV[1]", "GET takes a key that the script computes: ARGV[1]."),
        ("'x:' .. ARGV[1]", "GET takes a key that the script computes: 'x:'..ARGV[1]."),
        ("derived", "GET takes a key that the script computes: derived."),
    ],
)
def test_a_key_that_is_not_declared_is_told(key, message):
    source = (
        "-- keys: k\n-- args: a:str\nlocal name = 'stock'\nlocal derived = KEYS[1]\n  .. ARGV[1]\n"
        f"local x = redis.pcall('get', {key}, f(1, 2))\nreturn x"
    )
    assert said_of(source) == [("undeclared-key", 6, message)]


def test_a_key_kept_in_a_local_is_told_for_clusters_that_refuse_it():
    source = "-- keys: k\nlocal key = KEYS[1]\nreturn redis.call('GET', key)"
    assert said_of(source) == [("local-key", 3, "GET takes its key from the local 'key'.")]


def test_a_key_that_cannot_be_declared_is_allowed_by_name():
    source = "-- keys: k\n{}local wake = KEYS[1] .. ARGV[1]\nredis.call('DEL', wake)"
    source = "-- args: a:str\n" + source
    (finding,) = findings(source.format(""))
    assert finding.hint.endswith("say so in the head: '-- undeclared: wake'.")
    assert rules(source.format("-- undeclared: wake\n")) == []
    assert said_of(source.format("-- undeclared: wake awake\n")) == [
        ("unused", None, "'awake' is listed under 'undeclared:', and no call takes it for a key.")
    ]
    with pytest.raises(InvalidScript, match=r"'a\.b' is no local of the script"):
        findings("-- undeclared: a.b")


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ("'MGET', KEYS[1], 'second'", "'second'"),
        ("'MSET', KEYS[1], 'value', 'second', 1", "'second'"),
        ("'BITOP', 'AND', KEYS[1], 'second'", "'second'"),
        ("'ZUNIONSTORE', KEYS[1], 2, KEYS[1], 'second', 'WEIGHTS', 1, 2", "'second'"),
        ("'XREAD', 'COUNT', 1, 'STREAMS', KEYS[1], 'second', '0', '0'", "'second'"),
        ("'OBJECT', 'ENCODING', 'second'", "'second'"),
        ("'SORT', KEYS[1], 'STORE', 'second'", "'second'"),
    ],
)
def test_every_key_of_a_command_is_looked_at(call, key):
    source = f"-- keys: k\nreturn {{KEYS[1], redis.call({call})}}"
    command = call.split("'")[1]
    assert said_of(source) == [("undeclared-key", 2, f"{command} takes the literal key {key}.")]


def test_what_is_declared_and_never_used_is_told():
    source = "-- keys: a b *c\n-- args: d:int **e:str\n-- errors: GONE\nreturn KEYS[2] or 'OTHER x'"
    assert {message for _, _, message in said_of(source)} == {
        "'a' is declared, and KEYS[1] is never used.",
        "'c' is declared, and KEYS[3] is never used.",
        "'d' is declared, and ARGV[1] is never used.",
        "'e' is declared, and ARGV[2] is never used.",
        "GONE is declared under 'errors:', and no text of the script has it.",
    }
    assert rules("-- keys: a b\nfor i, key in ipairs(KEYS) do end") == []
    assert rules("-- keys: *a\n-- args: b:int *c:int\nreturn {KEYS[1], ARGV[1], ARGV[2]}") == []


def test_a_write_of_a_script_without_writes_is_a_lie():
    reads = "-- keys: a\n-- flags: no-writes\nlocal v = redis.call('GET', KEYS[1])\n"
    assert rules(reads) == []
    assert said_of(f"{reads}redis.pcall('hset', KEYS[1], 'f', 1)") == [
        ("writes", 4, "its flags say no-writes, and it calls HSET.")
    ]


def test_flags_that_redis_will_not_see_are_told():
    assert rules("-- flags: no-writes idempotent\nreturn 1") == []
    assert rules("-- flags: allow-oom\nreturn 1") == ["idle-flag"]
    assert rules("#!lua flags=allow-oom\nreturn 1") == []


def test_crlf_is_told():
    assert rules("return 1\r\nreturn 2") == ["crlf"]


def test_a_script_without_a_signature_cannot_be_judged():
    with pytest.raises(ValueError, match="'s' has no signature"):
        lies(Script("s", b"return 1"))


def test_calls_are_found_with_their_arguments():
    (call,) = redis_calls(tokens_of("x = redis . call('SET', {KEYS[1], 2}, f(a, b))"))
    texts = ["".join(token.text for token in argument) for argument in call.arguments]
    assert texts == ["'SET'", "{KEYS[1],2}", "f(a,b)"]


@given(st.text(alphabet=st.sampled_from("-[]='\"\\\nrK .(),a1"), max_size=60))
def test_any_text_can_be_looked_at(source):
    tokens = tokens_of(source)
    assert all(1 <= token.line <= source.count("\n") + 1 for token in tokens)
    list(redis_calls(tokens))
