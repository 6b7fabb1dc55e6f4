"""The ready-made operations against models with exact integers, on a real server."""

import math
import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from enum import IntEnum

import pytest
from django.core.cache import cache
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from redis_atomic import RawKey
from redis_atomic import operations as op
from redis_atomic.client.connections import client_for
from redis_atomic.client.execution import run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.exceptions import (
    IndeterminateResult,
    IntegerOverflow,
    MaximumExceeded,
    NotAnInteger,
    ReplyError,
    ScriptError,
    WrongType,
)
from redis_atomic.scripting.companion import companion_key
from redis_atomic.testing import embedded_server, lost_reply_proxy
from redis_atomic.testing.values import SortedSet, comparable, plant, read
from tests.servers import cache_at, commands_sent, forget_commands, plain_client

LOWEST, HIGHEST = -(2**63), 2**63 - 1

#: Keys of one call: their hash tag lets a cluster keep them together.
A, B, C = "{t}a", "{t}b", "{t}c"

# What keys hold

around = [0, 10**14, 10**15, 2**53, 10**16, 10**18, 2**62, 2**63]
integers = st.one_of(
    st.integers(-3, 12),
    st.integers(LOWEST, HIGHEST),
    *(st.integers(sign * n - 2, sign * n + 2) for n in around for sign in (1, -1)),
).filter(lambda n: LOWEST <= n <= HIGHEST)
positive = integers.filter(lambda n: n > 0)

#: Numbers to Lua's tonumber, or to a reader, but not to INCRBY.
NO_INTEGERS = [b"", b"abc", b"1.5", b"1.0", b"007", b"+5", b"-0", b"00", b" 5", b"5 ", b"5\n", b"-"]
NO_INTEGERS += [b"0x10", b"1e3", b"nan", b"inf", b"-inf", b"5\x00", b"--5", b"\xff\x00", b"1" * 400]
NO_INTEGERS += [b"%d" % n for n in (2**63, -(2**63) - 1, 10**19, 10**20, -(10**19), 2**64)]

texts = st.sampled_from(NO_INTEGERS) | st.binary(max_size=4)
strings = st.one_of(integers.map(lambda n: b"%d" % n), texts)
hashes = st.dictionaries(st.sampled_from([b"a", b"b", b"\xff", b""]), strings, min_size=1)
others = st.sampled_from([[b"5"], {b"5"}, SortedSet({b"5": 5.0})])
ttls = st.none() | st.sampled_from([5000, 6000.5, timedelta(seconds=7000)])
keys = st.sampled_from([A, B])


def seconds(ttl):
    return ttl.total_seconds() if isinstance(ttl, timedelta) else ttl


def integer(text):
    """What a stored string means to INCRBY."""
    if not re.fullmatch(rb"0|-?[1-9][0-9]*", text) or not LOWEST <= int(text) <= HIGHEST:
        raise NotAnInteger("model")
    return int(text)


def checked(number):
    if not LOWEST <= number <= HIGHEST:
        raise IntegerOverflow("model")
    return number


def raw(field):
    return field.encode("utf-8", "surrogateescape")


class Model:
    """What a key holds and its TTL, in Python."""

    def __init__(self):
        self.values = {}
        self.ttls = {}

    def string(self, key):
        value = self.values.get(key)
        if value is not None and not isinstance(value, bytes):
            raise WrongType("model")
        return value

    def number(self, key):
        text = self.string(key)
        return 0 if text is None else integer(text)

    def hash(self, key):
        value = self.values.get(key, {})
        if not isinstance(value, dict) or isinstance(value, SortedSet):
            raise WrongType("model")
        return value

    def put(self, key, value, ttl=None, *, first_ttl=None):
        """Store a value: ttl replaces the key's TTL, first_ttl counts where it has none."""
        self.values[key] = b"%d" % value if isinstance(value, int) else value
        self.ttls[key] = seconds(ttl) or self.ttls.get(key) or seconds(first_ttl)

    def drop(self, key):
        del self.values[key], self.ttls[key]

    # The operations

    def increment(self, key, amount, *, ttl=None):
        value = checked(self.number(key) + amount)
        self.put(key, value, first_ttl=ttl)
        return value

    def increment_with_max(self, key, amount, *, maximum, ttl=None):
        value = self.number(key)
        if amount > 0 and value + amount > maximum:
            return (False, value)
        return (True, self.increment(key, amount, ttl=ttl))

    def validated_increment(self, key, amount, *, maximum):
        applied, value = self.increment_with_max(key, amount, maximum=maximum)
        if not applied:
            raise MaximumExceeded("model")
        return value

    def compare_and_swap(self, key, expected, new, *, ttl=None):
        current = self.string(key)
        if current != expected:
            return (False, current)
        if new is None:
            self.drop(key)
        else:
            self.put(key, new, ttl)
        return (True, new)

    def get_and_set(self, key, value, *, ttl):
        current = self.string(key)
        self.put(key, value, ttl)
        return current

    def set_if_greater(self, key, value, *, ttl=None):
        if key in self.values and self.number(key) >= value:
            return (False, self.number(key))
        self.put(key, value, ttl)
        return (True, value)

    def transfer(self, source, destination, amount, *, minimum):
        self.string(source), self.string(destination)  # wrong types are found first
        have, there = self.number(source), self.number(destination)
        if have - amount < minimum:
            return (False, have, there)
        checked(there + amount)
        self.put(source, have - amount)
        self.put(destination, there + amount)
        return (True, have - amount, there + amount)

    def hash_increment_multiple(self, key, amounts, *, ttl=None):
        old = self.hash(key)
        new = {
            name: checked(integer(old.get(raw(name), b"0")) + amount)
            for name, amount in amounts.items()
        }
        stored = {raw(name): b"%d" % value for name, value in new.items()}
        self.put(key, {**old, **stored}, first_ttl=ttl)
        return new

    def hash_get_or_create(self, key, defaults, *, ttl=None):
        old = self.hash(key)
        if not old:
            self.put(key, {raw(name): value for name, value in defaults.items()}, ttl)
        found = self.hash(key).items()
        return ({k.decode("utf-8", "surrogateescape"): v for k, v in found}, not old)


class Machine(RuleBasedStateMachine):
    """Plants values, calls one operation, and compares all that can be seen."""

    def __init__(self):
        super().__init__()
        self.server = plain_client()
        self.server.flushdb()
        self.model = Model()

    def teardown(self):
        self.server.close()

    @rule(
        key=keys,
        value=st.one_of(strings, strings, hashes, others),
        ttl=st.none() | st.sampled_from([1000, 2000]),
    )
    def plant(self, key, value, ttl):
        plant(self.server, self.sent(key), value)
        if ttl:
            self.server.expire(self.sent(key), ttl)
        self.model.values[key], self.model.ttls[key] = value, ttl

    def sent(self, key):
        return f"tests:1:{key}".encode()

    def compare(self, name, *args, **kwargs):
        try:
            expected = getattr(self.model, name)(*args, **kwargs)
        except ReplyError as error:
            with pytest.raises(type(error)) as raised:
                getattr(op, name)(*args, **kwargs)
            assert raised.value.key.startswith("tests:1:")
        else:
            result = getattr(op, name)(*args, **kwargs)
            assert result == expected
            if hasattr(result, "_fields"):
                assert bool(result) is result[0]
        self.compare_state()

    def compare_state(self):
        for key in (A, B):
            assert read(self.server, self.sent(key)) == comparable(self.model.values.get(key))
            left, ttl = self.server.pttl(self.sent(key)), self.model.ttls.get(key)
            if key not in self.model.values:
                assert left == -2
            elif ttl is None:
                assert left == -1
            else:
                assert ttl - 120 <= left / 1000 <= ttl


class IncrementMachine(Machine):
    @rule(key=keys, amount=integers, ttl=ttls)
    def call(self, key, amount, ttl):
        self.compare("increment", key, amount, ttl=ttl)


class IncrementWithMaxMachine(Machine):
    @rule(key=keys, amount=integers, maximum=integers, ttl=ttls)
    def call(self, key, amount, maximum, ttl):
        self.compare("increment_with_max", key, amount, maximum=maximum, ttl=ttl)


class ValidatedIncrementMachine(Machine):
    @rule(key=keys, amount=positive, maximum=integers)
    def call(self, key, amount, maximum):
        self.compare("validated_increment", key, amount, maximum=maximum)


class CompareAndSwapMachine(Machine):
    @rule(key=keys, expected=st.none() | strings, new=strings, ttl=ttls)
    def call(self, key, expected, new, ttl):
        self.compare("compare_and_swap", key, expected, new, ttl=ttl)

    @rule(key=keys, new=strings, ttl=ttls)
    def call_with_the_current_value(self, key, new, ttl):
        current = self.model.values.get(key)
        expected = current if isinstance(current, bytes) else None
        self.compare("compare_and_swap", key, expected, new, ttl=ttl)

    @rule(key=keys)
    def delete(self, key):
        current = self.model.values.get(key)
        expected = current if isinstance(current, bytes) else b"x"
        self.compare("compare_and_swap", key, expected, None)


class GetAndSetMachine(Machine):
    @rule(key=keys, value=strings, ttl=ttls.filter(bool))
    def call(self, key, value, ttl):
        self.compare("get_and_set", key, value, ttl=ttl)


class SetIfGreaterMachine(Machine):
    @rule(key=keys, value=integers, ttl=ttls)
    def call(self, key, value, ttl):
        self.compare("set_if_greater", key, value, ttl=ttl)


class TransferMachine(Machine):
    requests = 0

    @rule(source=keys, amount=positive, minimum=st.just(0) | integers, once=st.booleans())
    def call(self, source, amount, minimum, once):
        destination = {A: B, B: A}[source]
        if once:
            return self.ask_twice(source, destination, amount, minimum)
        return self.compare("transfer", source, destination, amount, minimum=minimum)

    def ask_twice(self, source, destination, amount, minimum):
        self.requests += 1
        request = {"minimum": minimum, "request_id": f"r{self.requests}", "request_ttl": 900}
        try:
            expected = self.model.transfer(source, destination, amount, minimum=minimum)
        except ReplyError as error:
            with pytest.raises(type(error)):
                op.transfer(source, destination, amount, **request)
        else:
            for _ in range(2):
                assert op.transfer(source, destination, amount, **request) == expected
            (key,) = self.server.keys(f"*{source}:transfer:r{self.requests}")
            assert 800_000 < self.server.pttl(key) <= 900_000
        self.compare_state()


fields = st.sampled_from(["a", "b", "c", "", "ü", "\udcff"])


class HashIncrementMultipleMachine(Machine):
    @rule(key=keys, amounts=st.dictionaries(fields, integers, min_size=1), ttl=ttls)
    def call(self, key, amounts, ttl):
        self.compare("hash_increment_multiple", key, amounts, ttl=ttl)

    @rule(key=keys, values=st.dictionaries(fields, integers, min_size=1))
    def plant_numbers(self, key, values):
        values = {raw(name): b"%d" % value for name, value in values.items()}
        self.plant(key, values, None)


class HashGetOrCreateMachine(Machine):
    @rule(key=keys, defaults=st.dictionaries(fields, strings, min_size=1), ttl=ttls)
    def call(self, key, defaults, ttl):
        self.compare("hash_get_or_create", key, defaults, ttl=ttl)

    @rule(key=keys)
    def forget(self, key):
        self.server.delete(self.sent(key))
        if key in self.model.values:
            self.model.drop(key)


MACHINES = Machine.__subclasses__()


def run_machine(machine, examples, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_an_operation_does_what_its_model_does(machine):
    run_machine(machine, examples=25, steps=25)


@pytest.mark.stress
@pytest.mark.parametrize("machine", MACHINES)
def test_an_operation_does_what_its_model_does_for_thousands_of_steps(machine):
    run_machine(machine, examples=100, steps=50)


def edges():
    """Where a comparison may go wrong: neighbours that are one double, or of two lengths."""
    near = [n + step for n in (0, 10**15, 2**53, 10**16, 10**18) for step in (-1, 0, 1)]
    return sorted({*near, *(-n for n in near), LOWEST, LOWEST + 1, HIGHEST - 1, HIGHEST})


def test_all_orders_of_edge_values_are_exact(server_client):
    for old in edges():
        for new in edges():
            server_client.set("tests:1:k", old)
            assert op.set_if_greater("k", new) == (new > old, max(old, new))
            server_client.set("tests:1:k", old)
            assert op.increment_with_max("k", 1, maximum=new) == (old < new, old + (old < new))
            server_client.set(f"tests:1:{A}", old)
            server_client.delete(f"tests:1:{B}")
            enough = old - 1 >= new
            assert op.transfer(A, B, 1, minimum=new) == (enough, old - enough, enough)


@pytest.mark.parametrize(
    "call",
    [
        op.increment.call(A),
        op.increment.call(A, ttl=9),
        op.increment_with_max.call(A, maximum=HIGHEST),
        op.increment_with_max.call(A, maximum=LOWEST),
        op.validated_increment.call(A, 1, maximum=LOWEST),
        op.set_if_greater.call(A, HIGHEST),
        op.set_if_greater.call(A, LOWEST),
        op.transfer.call(A, B, 1, minimum=LOWEST),
        op.transfer.call(A, B, 1, minimum=HIGHEST),
        op.transfer.call(B, A, 1, minimum=LOWEST),
        op.transfer.call(B, A, 1, request_id="r"),
        op.hash_increment_multiple.call(C, {"a": 1, "f": 1, "z": 1}),
    ],
    ids=lambda call: f"{call.name} {call.keys} {call.args[:3]}",
)
def test_no_other_text_is_taken_for_an_integer(server_client, call):
    for text in NO_INTEGERS:
        server_client.set(f"tests:1:{A}", text, px=90_000)
        server_client.hset(f"tests:1:{C}", mapping={"f": text})
        with pytest.raises(NotAnInteger):
            run(client_for("default"), call)
        assert sorted(server_client.keys()) == [b"tests:1:{t}a", b"tests:1:{t}c"]
        assert server_client.get(f"tests:1:{A}") == text
        assert server_client.hgetall(f"tests:1:{C}") == {b"f": text}
        assert 80_000 < server_client.pttl(f"tests:1:{A}") <= 90_000


# Keys


def test_operations_and_the_cache_meet_on_one_key(settings, server_client):
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "KEY_PREFIX": "shop", "VERSION": 7}
    }
    assert op.increment("{t}hits") == 1
    assert cache.get("{t}hits") == 1
    cache.set("{t}hits", 5)
    assert op.increment("{t}hits", 2**53) == 2**53 + 5 == cache.get("{t}hits")
    assert op.increment_with_max("{t}hits", 1, maximum=2**60) == (True, cache.get("{t}hits"))
    assert op.set_if_greater("{t}hits", HIGHEST)
    assert cache.get("{t}hits") == HIGHEST
    assert op.compare_and_swap("{t}hits", HIGHEST, 3)
    assert (
        op.transfer("{t}hits", "{t}others", 2)
        == (True, 1, 2)
        == (True, *cache.get_many(["{t}hits", "{t}others"]).values())
    )
    assert sorted(server_client.keys()) == [b"shop:7:{t}hits", b"shop:7:{t}others"]


def test_the_ttl_of_the_cache_is_kept():
    cache.set("hits", 5, timeout=100)
    op.increment("hits")
    op.set_if_greater("hits", 50)
    assert 0 < cache.ttl("hits") <= 100


def test_text_is_not_shared_with_the_cache():
    cache.set("greeting", "hello")  # pickled
    assert op.compare_and_swap("greeting", "hello", "hi") == (False, pickle.dumps("hello"))
    with pytest.raises(NotAnInteger):
        op.increment("greeting")
    op.get_and_set("plain", "hello", ttl=9)
    with pytest.raises(pickle.UnpicklingError):
        cache.get("plain")
    assert op.get_and_set("plain", "hi", ttl=9) == b"hello"


def test_a_raw_key_is_sent_as_it_stands(server_client):
    assert op.increment(RawKey("hits")) == op.increment(RawKey(b"\xff")) == 1
    assert sorted(server_client.keys()) == [b"hits", b"\xff"]


def test_another_version_or_cache_is_another_key(server_client, settings):
    settings.CACHES = {
        **settings.CACHES,
        "stock": {**settings.CACHES["default"], "KEY_PREFIX": "stock"},
    }
    op.increment.using(version=9)("k")
    op.increment.using(cache="stock")("k", 2)
    assert (server_client.get("tests:9:k"), server_client.get("stock:1:k")) == (b"1", b"2")


@pytest.mark.parametrize(
    ("key", "companion"),
    [
        ("a", "{a}:x"),
        ("{a}", "{a}:x"),
        ("u:{a}:b", "u:{a}:b:x"),
        ("a{}b", "{a{}b}:x"),
        (RawKey("a"), RawKey(b"{a}:x")),
        (RawKey(b"\xff{a}"), RawKey(b"\xff{a}:x")),
    ],
    ids=repr,
)
def test_a_companion_key_lies_in_the_slot_of_its_key(key, companion):
    assert companion_key(key, ":x") == companion


# Plain commands, pipelines, asyncio


def test_a_plain_command_is_used_where_one_does_the_job():
    forget_commands()
    op.increment("k", 3)
    op.increment_with_max("k", -1, maximum=0)
    op.get_and_set("k", 1, ttl=3)
    assert set(commands_sent()) == {"set", "incrby"}


async def test_every_operation_has_an_async_twin():
    names = [name for name in op.__all__ if isinstance(getattr(op, name), op.increment.__class__)]
    assert {f"a{name}" for name in names} < set(op.__all__)
    assert await op.aincrement(A, 2**53) == 2**53
    assert await op.aincrement_with_max(A, 1, maximum=5) == (False, 2**53)
    with pytest.raises(MaximumExceeded):
        await op.avalidated_increment(A, 1, maximum=5)
    assert await op.acompare_and_swap("v", None, "x") == (True, b"x")
    assert await op.aget_and_set("v", "y", ttl=5) == b"x"
    assert await op.aset_if_greater(A, 5) == (False, 2**53)
    assert await op.atransfer(A, B, 1) == (True, 2**53 - 1, 1)
    assert await op.ahash_increment_multiple("h", {"a": 2}) == {"a": 2}
    assert await op.ahash_get_or_create("h", {"b": 1}) == ({"a": b"2"}, False)


def test_operations_travel_in_a_pipeline():
    with Pipeline(client_for("default")) as pipeline:
        first = pipeline.add(op.increment.call("k", 2, ttl=9))
        second = pipeline.add(op.increment_with_max.call("k", 2, maximum=3))
        third = pipeline.add(op.hash_get_or_create.call("h", {"a": 1}))
    assert (first.value, second.value) == (2, (False, 2))
    assert third.value == ({"a": b"1"}, True)


def test_a_mapping_may_change_while_its_call_waits_in_a_pipeline():
    amounts = {"a": 1, "b": 2}
    defaults = {"x": 1}
    with Pipeline(client_for("default")) as pipeline:
        sums = pipeline.add(op.hash_increment_multiple.call("h", amounts))
        created = pipeline.add(op.hash_get_or_create.call("g", defaults))
        amounts["c"] = 3
        defaults.clear()
    assert sums.value == {"a": 1, "b": 2}
    assert created.value == ({"x": b"1"}, True)


def test_many_fields_are_no_problem():
    amounts = {f"f{n}": n for n in range(20_000)}
    assert op.hash_increment_multiple("h", amounts) == amounts
    defaults = {name: b"%d" % n for name, n in amounts.items()}
    assert op.hash_get_or_create("h", {"other": 1}) == (defaults, False)
    assert op.hash_get_or_create("g", amounts) == (defaults, True)
    assert op.hash_get_or_create("g", {"other": 1}) == (defaults, False)


# Exactly once


def test_a_request_is_answered_alike_however_often_it_is_sent(server_client):
    cache.set(A, 10)
    first = op.transfer(A, B, 4, request_id="r")
    cache.set(A, 0)
    assert op.transfer(A, B, 4, request_id="r") == first == (True, 6, 4)
    assert (cache.get(A), cache.get(B)) == (0, 4)


@pytest.mark.parametrize("near", [10**14, 10**15, 2**53, 2**62])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_answer_is_remembered_to_the_last_digit(near, sign):
    for n, start in enumerate(range(sign * near - 3, sign * near + 4)):
        request = {"minimum": LOWEST, "request_id": f"r{n}"}
        cache.set_many({A: start, B: start})
        answers = {op.transfer(A, B, 1, **request) for _ in range(2)}
        assert answers == {(True, start - 1, start + 1)}


def test_a_refusal_is_an_answer_too():
    assert op.transfer(A, B, 4, request_id="r") == (False, 0, 0)
    cache.set(A, 10)
    assert op.transfer(A, B, 4, request_id="r") == (False, 0, 0)
    assert op.transfer(A, B, 4, request_id="s") == (True, 6, 4)


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 5},
        {"minimum": 1},
        {"minimum": -5},
        {"destination": C},
        {"amount": 5, "minimum": -1},
    ],
    ids=str,
)
def test_a_request_id_that_comes_with_other_arguments_is_refused(other, server_client):
    cache.set(A, 10)
    request = {"source": A, "destination": B, "amount": 4, "request_id": "r"}
    op.transfer(**request)
    before = {key: server_client.get(key) for key in server_client.scan_iter()}
    with pytest.raises(ScriptError, match="another destination, amount or minimum") as raised:
        op.transfer(**request | other)
    assert raised.value.code == "REQUESTREUSED"
    assert {key: server_client.get(key) for key in server_client.scan_iter()} == before


def test_a_transfer_whose_reply_was_lost_is_asked_again_and_moved_once(settings):
    with embedded_server(tcp=True) as server, lost_reply_proxy(server.tcp_url) as proxy:
        settings.CACHES = {"default": cache_at(proxy.url)}
        op.increment(A, 10)
        op.transfer(A, B, 1)  # loads the script
        for lose in (proxy.lose_replies, proxy.lose_requests):
            request_id = lose.__name__
            lose(1, containing=b"EVALSHA")
            with pytest.raises(IndeterminateResult):
                op.transfer(A, B, 3, request_id=request_id)
            answers = {op.transfer(A, B, 3, request_id=request_id) for _ in range(3)}
            assert len(answers) == 1
        assert answers == {(True, 3, 7)}


def test_threads_that_race_with_one_request_move_it_once():
    cache.set(A, 1000)
    barrier = threading.Barrier(8)

    def ask(n):
        barrier.wait()
        return op.transfer(A, B, 1, request_id=f"r{n // 8}")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(160)))
    assert all(len(set(answers[n : n + 8])) == 1 for n in range(0, 160, 8))
    assert (cache.get(A), cache.get(B)) == (980, 20)


def test_one_key_under_two_names_is_no_transfer(server_client):
    cache.set(A, 10)
    with pytest.raises(ScriptError, match="must be different"):
        op.transfer(A, RawKey(f"tests:1:{A}"), 3)
    with pytest.raises(ScriptError, match="must be different"):
        op.transfer(A, f"{A}:transfer:r", 3, request_id="r")
    assert server_client.keys() == [f"tests:1:{A}".encode()]


# Bad input


NOT_INTS = [True, 1.0, "1", b"1", None, math.nan, Decimal(1)]
NOT_TIMES = [True, "1", Decimal(1), [1]]
BAD_TIMES = [
    0,
    -1,
    -0.5,
    0.0004,
    math.nan,
    math.inf,
    2**53,
    1e300,
    10**400,
    timedelta(0),
    timedelta(-1),
    timedelta.max,
]
BAD_KEYS = [None, 5, b"k", ["k"]]
BAD = [
    *((op.increment, ("k", amount), {}, TypeError, "amount") for amount in NOT_INTS),
    *((op.increment, ("k", amount), {}, ValueError, "amount") for amount in (2**63, -(2**63) - 1)),
    *((op.increment, ("k",), {"ttl": ttl}, TypeError, "ttl") for ttl in NOT_TIMES),
    *((op.increment, ("k",), {"ttl": ttl}, ValueError, "ttl") for ttl in BAD_TIMES),
    *((op.increment, (key,), {}, TypeError, "key") for key in BAD_KEYS),
    *((op.increment_with_max, ("k", n), {"maximum": 1}, TypeError, "amount") for n in NOT_INTS),
    *((op.increment_with_max, ("k",), {"maximum": n}, TypeError, "maximum") for n in NOT_INTS),
    (op.increment_with_max, ("k",), {"maximum": 2**63}, ValueError, "maximum"),
    (op.increment_with_max, (b"k",), {"maximum": 2}, TypeError, "key"),
    *((op.validated_increment, ("k", n), {"maximum": 9}, ValueError, "amount") for n in (0, -1)),
    *((op.validated_increment, ("k", n), {"maximum": 9}, TypeError, "amount") for n in NOT_INTS),
    *((op.compare_and_swap, ("k", v, "x"), {}, TypeError, "expected") for v in (True, 1.5, [])),
    *((op.compare_and_swap, ("k", "x", v), {}, TypeError, "new") for v in (True, 1.5, [])),
    (op.compare_and_swap, ("k", "x", "\ud800"), {}, ValueError, "new"),
    (op.compare_and_swap, ("k", None, None), {}, ValueError, "expected and new"),
    (op.compare_and_swap, ("k", "x", None), {"ttl": 5}, ValueError, "ttl"),
    *((op.compare_and_swap, ("k", "x", "y"), {"ttl": t}, ValueError, "ttl") for t in BAD_TIMES),
    *((op.get_and_set, ("k", v), {"ttl": 5}, TypeError, "value") for v in (None, True, 1.5)),
    *((op.get_and_set, ("k", "v"), {"ttl": t}, TypeError, "ttl") for t in [None, *NOT_TIMES]),
    *((op.get_and_set, ("k", "v"), {"ttl": t}, ValueError, "ttl") for t in BAD_TIMES),
    *((op.set_if_greater, ("k", n), {}, TypeError, "value") for n in NOT_INTS),
    (op.set_if_greater, ("k", 2**63), {}, ValueError, "value"),
    *((op.transfer, ("a", "b", n), {}, TypeError, "amount") for n in NOT_INTS),
    *((op.transfer, ("a", "b", n), {}, ValueError, "amount") for n in (0, -1, 2**63)),
    *((op.transfer, ("a", "b", 1), {"minimum": n}, TypeError, "minimum") for n in NOT_INTS),
    (op.transfer, ("a", "a", 1), {}, ValueError, "source and destination are"),
    (op.transfer, (RawKey("a"), RawKey("a"), 1), {}, ValueError, "source and destination are"),
    (op.transfer, (b"a", "b", 1), {}, TypeError, "source"),
    (op.transfer, ("a", None, 1), {}, TypeError, "destination"),
    *((op.transfer, ("a", "b", 1), {"request_id": r}, TypeError, "request_id") for r in (5, b"r")),
    (op.transfer, ("a", "b", 1), {"request_id": ""}, ValueError, "request_id"),
    *(
        (
            op.transfer,
            ("a", "b", 1),
            {"request_id": "r", "request_ttl": t},
            ValueError,
            "request_ttl",
        )
        for t in BAD_TIMES
    ),
    (
        op.transfer,
        ("a", "b", 1),
        {"request_id": "r", "request_ttl": None},
        TypeError,
        "request_ttl",
    ),
    *(
        (op.hash_increment_multiple, ("k", {"f": n}), {}, TypeError, r"amounts\['f'\]")
        for n in NOT_INTS
    ),
    (op.hash_increment_multiple, ("k", {"f": 2**63}), {}, ValueError, r"amounts\['f'\]"),
    (op.hash_increment_multiple, ("k", {}), {}, ValueError, "amounts"),
    *(
        (op.hash_increment_multiple, ("k", m), {}, TypeError, "amounts")
        for m in (None, [("a", 1)], {b"a": 1}, {1: 1})
    ),
    (op.hash_increment_multiple, ("k", {"é": 1, "\udcc3\udca9": 2}), {}, ValueError, "amounts"),
    *(
        (op.hash_increment_multiple, ("k", {"a": 1}), {"ttl": t}, ValueError, "ttl")
        for t in BAD_TIMES
    ),
    (op.hash_get_or_create, ("k", {}), {}, ValueError, "defaults"),
    *(
        (op.hash_get_or_create, ("k", {"f": v}), {}, TypeError, r"defaults\['f'\]")
        for v in (None, True, 1.5)
    ),
    *(
        (op.hash_get_or_create, ("k", m), {}, TypeError, "defaults")
        for m in (None, [("a", 1)], {b"a": 1})
    ),
    (op.hash_get_or_create, ("k", {"é": 1, "\udcc3\udca9": 2}), {}, ValueError, "defaults"),
    *((op.hash_get_or_create, ("k", {"f": 1}), {"ttl": t}, ValueError, "ttl") for t in BAD_TIMES),
]


@pytest.mark.parametrize(("operation", "args", "kwargs", "kind", "name"), BAD)
def test_bad_input_names_the_argument(operation, args, kwargs, kind, name):
    with pytest.raises(kind, match=rf"^{name}( |:)"):
        operation.call(*args, **kwargs)


async def test_nothing_is_sent_of_bad_input():
    forget_commands()
    for operation, args, kwargs, kind, _ in BAD:
        with pytest.raises(kind):
            operation(*args, **kwargs)
        with pytest.raises(kind):
            await operation.acall(*args, **kwargs)
    assert not commands_sent()


def test_an_int_that_prints_itself_otherwise_is_sent_as_a_number():
    class Amount(IntEnum):
        FIVE = 5

    assert op.increment("k", Amount.FIVE) == 5
    assert op.compare_and_swap("k", Amount.FIVE, Amount.FIVE)
    assert op.hash_increment_multiple("h", {"f": Amount.FIVE}) == {"f": 5}


@pytest.mark.parametrize(
    ("operation", "args"),
    [
        (op.increment, ("{t}k",)),
        (op.transfer, ("{t}k", "{t}other", 1)),
        (op.transfer, ("{t}other", "{t}k", 1)),
    ],
)
def test_errors_carry_the_key_they_are_about(server_client, operation, args):
    for value, kind in ((["x"], WrongType), ("x", NotAnInteger), (HIGHEST, IntegerOverflow)):
        plant(server_client, b"tests:1:{t}k", value)
        if value == HIGHEST and args[0] == "{t}k" and operation is op.transfer:
            continue
        cache.set("{t}other", 5)
        with pytest.raises(kind, match=re.escape("tests:1:{t}k")) as raised:
            operation(*args)
        assert raised.value.key == "tests:1:{t}k"
        assert read(server_client, b"tests:1:{t}k") == comparable(value)
