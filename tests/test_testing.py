"""The testing kit: what it lets pass, what it catches, and what it leaves behind."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import SimpleTestCase

from redis_atomic import RawKey
from redis_atomic.conf import conf
from redis_atomic.exceptions import NotAnInteger, ReplyError, ScriptError, WrongType
from redis_atomic.operations import increment, increment_with_max
from redis_atomic.scripting.script import Call, PrefixedKey, Script
from redis_atomic.testing import (
    Expiring,
    ScriptTester,
    SortedSet,
    all_probes,
    declared_keys_only,
    embedded_server,
    no_partial_effect,
    override,
    server_log,
    survives_script_flush,
)

ROOT = Path(__file__).parent.parent

pytest_plugins = ["redis_atomic.testing.plugin"]


def script(source: str) -> Script:
    return Script("under-test", textwrap.dedent(source).encode())


TAKE = script("""
    local stock = tonumber(redis.call('GET', KEYS[1]) or 0)
    if stock < tonumber(ARGV[1]) then return redis.error_reply('SOLDOUT none left') end
    redis.call('EXPIRE', KEYS[1], 60)
    return redis.call('DECRBY', KEYS[1], ARGV[1])
    """)

#: Debits first; whether the other account can take the money shows too late.
PAY = script("""
    redis.call('DECRBY', KEYS[1], ARGV[1])
    redis.call('INCRBY', KEYS[2], ARGV[1])
    return 1
    """)


class EqualOnce:
    """Equal to a value the first time, and never again: a call that later ends differently."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        value, self.value = self.value, None
        return other == value

    def __repr__(self):
        return "2"


# Running a script


def test_a_script_is_run_and_its_result_state_and_ttl_are_compared(script_tester):
    answer = script_tester.run(
        TAKE,
        setup={"stock": 5},
        call={"keys": ["stock"], "args": [3]},
        result=2,
        state={"stock": 2, "other": None},
        ttl={"stock": 60},
    )
    assert answer == 2


@pytest.mark.parametrize(
    "wrong",
    [{"result": 3}, {"state": {"stock": 3}}, {"ttl": {"stock": 61}}, {"ttl": {"stock": None}}],
    ids=str,
)
def test_what_is_not_as_expected_fails_and_is_cleaned_up(script_tester, server_client, wrong):
    with pytest.raises(AssertionError):
        script_tester.run(TAKE, setup={"stock": 5}, call={"keys": ["stock"], "args": [3]}, **wrong)
    assert server_client.keys() == []


def test_wrong_expectations_fail_under_python_o_too():
    code = (
        "from redis_atomic.testing.trial import Expectation, Outcome, Trial\n"
        "class T(Trial):\n"
        "    def __init__(self): self.expected, self.call = Expectation(result=1), Trial\n"
        "Trial.name = 'x'\n"
        "try: T()._verify_end(Outcome(2))\n"
        "except AssertionError: print('caught')\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, check=False)
    assert done.stdout.strip() == b"caught", done.stderr


def test_an_expected_error_is_named_by_its_class_or_its_code(script_tester):
    sold_out = {"setup": {"stock": 1}, "call": {"keys": ["stock"], "args": [3]}}
    error = script_tester.run(TAKE, raises="SOLDOUT", state={"stock": 1}, **sold_out)
    assert isinstance(error, ScriptError)
    script_tester.run(TAKE, raises=ReplyError, **sold_out)
    with pytest.raises(AssertionError, match="should have raised OTHER"):
        script_tester.run(TAKE, raises="OTHER", **sold_out)
    with pytest.raises(ScriptError, match="SOLDOUT"):
        script_tester.run(TAKE, **sold_out)


def test_an_error_that_should_come_and_does_not_fails(script_tester):
    with pytest.raises(AssertionError, match="and returned 1"):
        script_tester.run(increment, call={"key": "k"}, raises=WrongType)


def test_an_argument_that_is_refused_before_sending_can_be_expected(script_tester):
    script_tester.run(increment, call={"key": "k", "amount": "1"}, raises=TypeError)
    with pytest.raises(TypeError):
        script_tester.run(increment, call={"key": "k", "amount": "1"})


def test_operations_and_calls_are_run_as_scripts_are(script_tester):
    script_tester.run(increment, setup={"k": 2**53}, call={"key": "k"}, result=2**53 + 1)
    script_tester.run(increment.call("k", 7), result=7, state={"k": 7})
    with pytest.raises(TypeError, match="built already"):
        script_tester.run(increment.call("k", 7), call={"key": "k"})


async def test_the_async_twin_awaits_the_call_and_its_probes(script_tester, server_client):
    case = {"setup": {"k": 4}, "call": {"key": "k", "maximum": 9}, "result": (True, 5)}
    assert await script_tester.arun(increment_with_max, probes=all_probes(), **case)
    with pytest.raises(NotAnInteger):
        await script_tester.arun(increment, setup={"k": "text"}, call={"key": "k"})
    with pytest.raises(AssertionError, match="changed"):
        await script_tester.arun(
            PAY,
            setup={"a": 1, "b": 2},
            call={"keys": ["a", "b"], "args": [1]},
            probes=[no_partial_effect()],
        )
    assert server_client.keys() == []


@pytest.mark.parametrize(
    "value",
    [b"\x00\xff", "text", 7, [1, "a", b"\xff"], {1, b"b"}, {"f": 1, "g": b""}, SortedSet(a=1.5)],
    ids=lambda value: type(value).__name__,
)
def test_every_type_is_planted_and_compared(script_tester, value):
    nothing = Call(script("return 1"), ("k",))
    script_tester.run(nothing, setup={"k": value}, state={"k": value}, ttl={"k": None})
    script_tester.run(
        nothing, setup={"k": Expiring(value, ttl=90)}, state={"k": value}, ttl={"k": 90}
    )
    with pytest.raises(AssertionError):
        script_tester.run(nothing, setup={"k": value}, state={"k": "another"})


@pytest.mark.parametrize(
    "value", [[], set(), {}, 1.5, True, object()], ids=lambda value: type(value).__name__
)
def test_what_redis_cannot_hold_is_refused(script_tester, server_client, value):
    with pytest.raises((TypeError, ValueError)):
        script_tester.run(increment, setup={"k": value}, call={"key": "k"})
    assert server_client.keys() == []


def test_keys_have_a_prefix_of_their_own_whatever_their_kind(script_tester, server_client):
    cache.set("k", 1)
    for key in ("k", RawKey("tests:1:k"), RawKey(b"tests:1:k"), PrefixedKey("1:k")):
        script_tester.run(Call("INCR", (key,)), result=1, state={key: 1})
        assert script_tester.prefix.encode() in script_tester.key(key)
    assert cache.get("k") == 1


def test_the_cache_and_the_version_of_a_call_are_kept(script_tester):
    call = increment.using(version=3).call("k")
    script_tester.run(call, setup={"k": 1}, result=2, state={"k": 2})
    assert b":3:" in script_tester.key("k", 3)


def test_a_key_that_exists_is_neither_touched_nor_deleted(script_tester, server_client):
    for names in ({"setup": {"k": 1}}, {"state": {"k": 1}}, {"call": {"keys": ["k"]}}):
        server_client.set(script_tester.key("k"), "precious")
        with pytest.raises(RuntimeError, match="exists already"):
            script_tester.run(script("return redis.call('SET', KEYS[1] or 'x', 1)"), **names)
        assert server_client.keys() == [script_tester.key("k")]
        assert server_client.get(script_tester.key("k")) == b"precious"


def test_keys_that_a_script_makes_of_its_keys_are_cleaned_up(script_tester, server_client):
    script_tester.run(
        script("return redis.call('SET', '{' .. KEYS[1] .. '}:log', 1)"), call={"keys": ["k"]}
    )
    assert server_client.keys() == []


def test_a_prefix_that_would_match_other_keys_is_refused():
    for prefix in ("", "*", "a[b]"):
        with pytest.raises(ValueError, match="prefix"):
            ScriptTester(prefix=prefix)


# Probes


def test_a_script_without_fault_passes_all_probes(script_tester):
    script_tester.run(
        increment_with_max,
        setup={"k": Expiring(4, ttl=100)},
        call={"key": "k", "amount": 2, "maximum": 9},
        result=(True, 6),
        ttl={"k": 100},
        probes=all_probes(),
    )


def test_a_transfer_that_debits_before_it_validates_is_caught(script_tester):
    case = {"setup": {"a": 10, "b": 1}, "call": {"keys": ["a", "b"], "args": [3]}, "result": 1}
    script_tester.run(PAY, **case)
    with pytest.raises(AssertionError, match=r"changed .*:a' from .*b'10'.* to .*b'7'"):
        script_tester.run(PAY, probes=[no_partial_effect()], **case)


@pytest.mark.parametrize(
    "fault",
    [
        "redis.call('EXPIRE', KEYS[1], 5)",  # only the TTL
        "redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]))",  # drops the TTL
        "redis.call('SET', KEYS[1] .. ':log', 1)",  # a key made of another
        "redis.call('DEL', KEYS[1])",
    ],
)
def test_every_kind_of_partial_effect_is_caught(script_tester, fault):
    with pytest.raises(AssertionError, match="Redis does not roll back"):
        script_tester.run(
            script(f"{fault}\nreturn redis.call('INCR', KEYS[2])"),
            setup={"a": Expiring("x", ttl=500), "b": 1},
            call={"keys": ["a", "b"]},
            probes=[no_partial_effect()],
        )


def test_a_partial_effect_among_the_fields_of_a_hash_is_caught(script_tester):
    with pytest.raises(AssertionError, match="changed"):
        script_tester.run(
            script("for i = 1, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], 1) end"),
            setup={"h": {"a": 1, "b": 1}},
            call={"keys": ["h"], "args": ["a", "b"]},
            probes=[no_partial_effect()],
        )


HIDDEN = {
    "a literal key, written": "redis.call('SET', 'hidden', 1) return 1",
    "a literal key, read": "redis.call('GET', 'hidden') return 1",
    "a key made of another": "redis.call('GET', KEYS[1] .. ':x') return 1",
    "an error that is swallowed": "redis.pcall('GET', 'hidden') return 1",
}


@pytest.mark.parametrize("fault", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_key_is_caught_and_named(script_tester, server_client, fault):
    with pytest.raises(AssertionError, match=r"uses the key '.*(hidden|:x)'"):
        script_tester.run(
            script(fault), call={"keys": ["k"]}, result=1, probes=[declared_keys_only()]
        )
    assert server_client.get("hidden") in (None, b"1")  # the plain run wrote it, the probe did not
    assert [user for user in server_client.acl_users() if user.startswith("script-test")] == []


def test_further_keys_may_be_allowed(script_tester, server_client):
    source = script("redis.call('GET', KEYS[1] .. ':x') redis.call('GET', 'config') return 1")
    script_tester.run(
        source, call={"keys": ["k"]}, probes=[declared_keys_only(["k:*", RawKey("config")])]
    )
    with pytest.raises(AssertionError, match="'config'"):
        script_tester.run(source, call={"keys": ["k"]}, probes=[declared_keys_only(["k:*"])])


@pytest.mark.parametrize("key", ["a b", "a[1]", "a?", "a\\", "a\0b"], ids=ascii)
def test_keys_that_are_meant_may_have_any_characters(script_tester, key):
    source = script("redis.call('SET', KEYS[1] .. ':x', 1) return 1")
    script_tester.run(source, call={"keys": [key]}, probes=[declared_keys_only([f"{key}:x"])])
    script_tester.run(source, call={"keys": [key]}, probes=[declared_keys_only([f"{key}:*"])])


@pytest.mark.parametrize("key", ["a*b", "a?b", "a[b]c", "a\\b", "a b", "a\x00b", "ü", "{t}:x"])
def test_any_name_of_a_key_is_allowed_itself_and_nothing_else(script_tester, key):
    script_tester.run(
        script("return redis.call('INCR', KEYS[1])"),
        call={"keys": [RawKey(key)]},
        result=1,
        probes=[declared_keys_only()],
    )
    with pytest.raises(AssertionError, match="uses the key"):
        script_tester.run(
            script("redis.call('GET', KEYS[1] .. 'b') return 1"),
            call={"keys": [RawKey(key)]},
            probes=[declared_keys_only()],
        )


def test_surviving_a_flush_means_the_same_result_and_state(script_tester, server_client):
    case = {"setup": {"k": 1}, "call": {"keys": ["k"]}, "result": 2, "state": {"k": 2}}
    once = script("return redis.call('INCR', KEYS[1])")
    other = server_client.script_load("return 'another'")
    script_tester.run(once, probes=[survives_script_flush()], **case)
    assert server_client.script_exists(other) == [False]
    with pytest.raises(AssertionError, match="should have returned 2"):
        script_tester.run(
            script("return redis.call('INCR', KEYS[1])"),
            probes=[survives_script_flush()],
            **{**case, "result": EqualOnce(2)},
        )


# The server's log


def test_the_server_log_holds_what_a_script_logs_in_the_block(script_tester):
    logging = script("redis.log(redis.LOG_NOTICE, 'seen ' .. ARGV[1])")
    script_tester.run(logging, call={"args": ["before"]})
    with server_log() as log:
        script_tester.run(logging, call={"args": ["inside"]})
    assert log.messages == ["seen inside"]
    assert "seen inside" in log.text


def test_the_server_log_shows_debug_lines_on_request_and_restores_the_level(
    script_tester, server_client
):
    debugging = script("redis.log(redis.LOG_DEBUG, 'detail')")
    with server_log() as log:
        script_tester.run(debugging)
    assert "detail" not in log.messages
    with server_log(level="debug") as log:
        script_tester.run(debugging)
    assert "detail" in log.messages
    assert server_client.config_get("loglevel") == {"loglevel": "notice"}


# Settings


def test_one_setting_is_changed_and_the_others_stay(settings):
    settings.REDIS_ATOMIC = {"LOCK_TTL": 7}
    with override(LOCK_WAIT=3):
        assert (conf.LOCK_TTL, conf.LOCK_WAIT) == (7, 3)
    assert (conf.LOCK_TTL, conf.LOCK_WAIT) == (7, 10)


@override(LOCK_WAIT=4)
def test_override_decorates_functions():
    assert conf.LOCK_WAIT == 4


@override(LOCK_WAIT=5)
class OverrideDecoratesClassesTests(SimpleTestCase):
    def test_it(self):
        assert conf.LOCK_WAIT == 5


def test_a_setting_that_does_not_exist_cannot_be_overridden():
    with pytest.raises(TypeError, match="LOCK_TTTL"):
        override(LOCK_TTTL=3)


# The plugin


def test_the_plugin_runs_tests_on_every_server_it_is_given(tmp_path):
    (tmp_path / "settings.py").write_text(
        "CACHES = {'default': {'BACKEND': 'django_redis.cache.RedisCache',"
        " 'LOCATION': 'redis://127.0.0.1:1'}}\n"
    )
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['redis_atomic.testing.plugin']\n")
    (tmp_path / "test_it.py").write_text(
        "from redis_atomic.operations import increment\n"
        "from redis_atomic.testing import all_probes\n"
        "def test_it(script_tester):\n"
        "    script_tester.run(increment, call={'key': 'k'}, result=1, probes=all_probes())\n"
        "async def test_async(script_tester):\n"
        "    await script_tester.arun(increment, call={'key': 'k'}, result=1)\n"
    )
    with embedded_server() as server:
        binary = server.binary
    done = subprocess.run(
        f"{sys.executable} -m pytest -q -p no:cacheprovider --ds=settings".split()
        + f"-o asyncio_mode=auto --redis-server={binary} --redis-server={binary}".split(),
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
