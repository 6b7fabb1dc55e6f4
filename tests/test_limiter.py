import asyncio
import math
import multiprocessing
import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from redis_atomic import Limit, RateLimiter, rate_limit
from redis_atomic.client.connections import client_for
from redis_atomic.client.execution import run
from redis_atomic.exceptions import CrossSlot, NotExecuted, WrongType
from redis_atomic.ratelimit import limiter, slots
from redis_atomic.ratelimit.charge import Charge
from redis_atomic.ratelimit.deny_cache import deny_cache
from redis_atomic.ratelimit.keys import keys_of
from redis_atomic.ratelimit.limiter import adecide, peek, refund, reset
from redis_atomic.ratelimit.protocol import ask, tag_of
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.ratelimit.requests import request_of
from redis_atomic.scripting.builtin import builtin
from redis_atomic.testing.cluster import embedded_cluster
from tests import settings as test_settings
from tests.servers import commands_sent, forget_commands

BUCKET = {"algorithm": "token_bucket"}
BOTH = pytest.mark.parametrize("options", [{}, BUCKET], ids=["window", "bucket"])


@pytest.fixture(autouse=True)
def _nothing_remembered():
    deny_cache.clear()
    limiter.breaker.renew()


def charges(*limits, identity="user:7", cost=1, scope="view"):
    made = [limit if isinstance(limit, Limit) else Limit(limit, key=None) for limit in limits]
    return [Charge(limit, limit.rate, scope, identity, cost) for limit in made]


def decide(charges):
    return limiter.decide(request_of(charges))


def changed(**options):
    return override_settings(REDIS_ATOMIC=options)


# -- One call, several limits


@BOTH
def test_the_amount_is_admitted_and_not_one_more(options):
    limiter = RateLimiter("5/h", name="export", **options)
    decisions = [limiter.hit("user:7") for _ in range(8)]
    assert [bool(decision) for decision in decisions] == [True] * 5 + [False] * 3
    assert [decision.remaining for decision in decisions] == [4, 3, 2, 1, 0, 0, 0, 0]
    assert limiter.hit("user:8")


def test_a_refusal_by_one_limit_charges_none_of_the_others():
    asked = charges("2/h", Limit("100/d", **BUCKET), Limit("1000/w", key=None))
    for _ in range(2):
        assert decide(asked)
    for _ in range(20):
        assert not decide(asked)
        deny_cache.clear()
    assert [state.remaining for state in peek(asked).limits] == [0, 98, 998]


def test_a_refusal_and_a_peek_write_nothing(server_client):
    asked = charges("2/h", Limit("100/d", **BUCKET))
    decide(asked)
    decide(asked)
    before = contents(server_client)
    forget_commands()
    for _ in range(5):
        deny_cache.clear()
        assert not decide(asked)
        assert not peek(asked)
    assert contents(server_client) == before
    assert not {"set", "setrange", "pexpire"} & set(commands_sent())


def contents(server_client):
    return {key: server_client.get(key) for key in server_client.scan_iter()}


def test_a_cost_takes_as_many_units():
    limiter = RateLimiter("10/h", name="export")
    assert [bool(limiter.hit("user:7", cost=cost)) for cost in (8, 8, 1, 1, 1)] == [
        *(True, False, True, True, False)
    ]


@BOTH
def test_a_cost_above_the_limit_is_refused_for_good(options):
    limiter = RateLimiter("10/h", name="export", **options)
    for cost in (11, 10**9, 10**30):
        decision = limiter.hit("user:7", cost=cost)
        assert not decision
        assert decision.retry_after is None
        assert decision.remaining == 10
    assert limiter.hit("user:7", cost=10)


@BOTH
def test_a_cost_of_nothing_looks_and_writes_nothing(options, server_client):
    limiter = RateLimiter("2/h", name="export", **options)
    assert limiter.hit("user:7", cost=0).remaining == 2
    assert not server_client.keys()
    limiter.hit("user:7", cost=2)
    assert limiter.hit("user:7", cost=0)


@pytest.mark.parametrize("cost", [-1, 1.5, True, "2"])
def test_a_bad_cost_is_named_before_anything_is_sent(cost, server_client):
    with pytest.raises((TypeError, ValueError), match="cost"):
        RateLimiter("5/m", name="export").hit("user:7", cost=cost)
    assert not server_client.keys()


@pytest.mark.parametrize("identity", ["", None, 7, b"user:7", (), ("user:7", ""), ("user:7", 7)])
def test_a_bad_identity_is_named(identity):
    with pytest.raises(TypeError, match="identity"):
        RateLimiter("5/m", name="export").hit(identity)


class Team:
    def __call__(self, request):
        return request.headers.get("Team")


@pytest.mark.parametrize("key", [Team(), partial(Team.__call__, Team()), Team().__call__])
def test_a_key_without_a_name_may_have_no_value(key):
    view = rate_limit("2/h", key=key)(lambda request: HttpResponse("ok"))
    requests = [RequestFactory().get("/") for _ in range(3)]
    assert [view(request).status_code for request in requests] == [200, 200, 429]


def test_two_charges_that_meet_on_one_key_are_refused_by_name():
    with pytest.raises(ValueError, match=r"5/m.*9/m.*share one count"):
        decide(charges("5/m", "9/m"))
    with pytest.raises(ValueError, match="share one count"):
        RateLimiter("5/m", "9/60s", name="export")


def test_no_charges_are_an_error():
    with pytest.raises(ValueError, match="charges"):
        decide([])


def test_a_limit_in_shadow_mode_refuses_nothing_and_reports():
    shadow = Limit("1/h", key=None, shadow=True)
    asked = charges(shadow, "5/d")
    decisions = [decide(asked) for _ in range(6)]
    assert [bool(decision) for decision in decisions] == [True] * 5 + [False]
    assert [decision.shadowed for decision in decisions] == [False] + [True] * 5
    assert decisions[1].limits[0].refuses


@BOTH
def test_async_and_sync_share_one_count(options):
    limiter = RateLimiter("4/h", name="export", **options)

    async def both():
        return [bool(await limiter.ahit("user:7")), bool(limiter.hit("user:7"))]

    assert asyncio.run(both()) + asyncio.run(both()) == [True] * 4
    assert asyncio.run(both()) == [False] * 2
    asked = charges(Limit("4/h", key=None, **options), scope="export")
    assert not asyncio.run(adecide(request_of(asked)))


@pytest.mark.parametrize("enabled", [True, False])
def test_limits_can_be_switched_off(enabled, server_client):
    with changed(RATE_LIMIT_ENABLED=enabled):
        decisions = [bool(RateLimiter("1/h", name="export").hit("user:7")) for _ in range(3)]
    assert decisions == [True, not enabled, not enabled]
    assert bool(server_client.keys()) is enabled


# -- What is in Redis


def test_every_key_has_a_ttl_that_is_not_longer_than_its_window(server_client):
    asked = charges("5/s", "5/m", Limit("5/h", **BUCKET), Limit("1/w", **BUCKET))
    assert decide(asked)
    ttls = {
        key.partition(b"}:view:")[2]: server_client.pttl(key) for key in server_client.scan_iter()
    }
    assert set(ttls) == {b"w:s", b"w:m", b"b:5/h", b"b:1/w"}
    for ending, seconds in ((b"w:s", 1), (b"w:m", 60), (b"b:5/h", 720), (b"b:1/w", 604_800)):
        assert 0 < ttls[ending] <= seconds * 1000


def test_a_bucket_of_less_than_a_millisecond_has_a_ttl():
    limiter = RateLimiter("100000/s", name="export", burst=4, **BUCKET)
    assert sum(bool(limiter.hit("user:7", cost=4)) for _ in range(3)) >= 1


def test_the_key_takes_the_prefix_and_not_the_version(server_client):
    RateLimiter("5/m", name="export").hit("user:7")
    (key,) = server_client.keys()
    assert re.fullmatch(rb"tests:(test-\w+:)?rl1:\{[\w-]{22}\}:export:w:m", key)


@pytest.mark.parametrize(("options", "ending"), [({}, b"w:m"), (BUCKET, b"b:5/m")])
@pytest.mark.parametrize(
    "foreign", [b"hello", b"hello, world, how are you?", b"x" * 16, b"\0" * 40, b"\xff" * 16, ["a"]]
)
def test_a_foreign_value_under_the_key_is_told_by_name(options, ending, foreign, server_client):
    asked = charges(Limit("9/h", key=None), Limit("5/m", key=None, **options))
    keys = keys_of(asked)
    name = client_for("default").make_key(keys[1])
    assert name.endswith(ending)
    if isinstance(foreign, list):
        server_client.rpush(name, *foreign)
    else:
        server_client.set(name, foreign)
    with pytest.raises(WrongType, match=r"rate limit|wrong kind"):
        run(client_for("default"), ask(asked, keys))
    assert server_client.keys() == [name]  # the first was not charged
    decision = decide(asked)
    assert decision.degraded
    assert decide(charges("9/h", scope="other")).degraded is False


@pytest.mark.parametrize(("limit", "most"), [(100, 500), (1000, 4000), (10_000, 40_000)])
def test_a_full_log_with_realistic_gaps_is_small(limit, most, server_client):
    moments = sorted(random.Random(limit).uniform(0, 3600e6) for _ in range(limit))
    fill(moments, Limit(f"{limit}/h", key=None, name="api"))
    (key,) = server_client.keys()
    assert server_client.memory_usage(key, samples=0) <= most


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.8])
def test_a_log_that_is_filled_in_part_is_at_most_half_as_large_again(part, server_client):
    moments = sorted(random.Random(7).uniform(0, part * 3600e6) for _ in range(int(part * 1000)))
    fill(moments, Limit("1000/h", key=None, name="api"))
    (key,) = server_client.keys()
    assert server_client.memory_usage(key, samples=0) <= 1.5 * 4 * len(moments) + 100


def fill(moments, limit, server=None):
    """Charge at these moments of an injected clock."""
    client = client_for("default")
    (charge,) = charges(limit, scope=limit.name)
    call = ask([charge], keys_of([charge]))
    for moment in moments:
        answer = run(client, replace(call, args=(*call.args, 10**15 + int(moment), 3_600_000)))
        assert answer.allowed
    return call


def test_a_million_units_that_expire_at_once_are_passed_over_quickly():
    limit = Limit("1000000/d", key=None, name="api")
    (charge,) = charges(limit)
    key = keys_of([charge])
    client, day = client_for("default"), 86_400 * 10**6
    commands_per_call = 60  # a search by leaps and halves, and not a walk

    def at(moment, cost):
        call = ask([Charge(charge.limit, charge.rate, charge.scope, charge.identity, cost)], key)
        return run(client, replace(call, args=(*call.args, 10**15 + moment, 10**8)))

    assert at(0, 500_000).allowed
    assert at(day // 2, 499_990).allowed
    assert at(day - 1, 10).states[0].remaining == 0
    forget_commands()
    (state,) = at(day + day // 2 + 10**6, 5).states
    assert state.remaining == 1_000_000 - 15
    assert commands_sent()["getrange"] < commands_per_call


# -- Time


def test_two_bursts_around_any_edge_never_exceed_the_limit():
    """On the real clock: in no span of a window are there more than the limit."""
    window = 0.2
    limit = Limit(Rate(5, int(window * 1e6)), key=None)
    admitted, end = [], time.monotonic() + 1.5
    while time.monotonic() < end:
        before = time.monotonic()
        decision = decide(charges(limit))
        if decision:
            admitted.append((before, time.monotonic()))
        time.sleep(random.uniform(0, 0.02))
        deny_cache.clear()
    assert len(admitted) > 10
    for i in range(len(admitted) - 5):
        # The sixth was executed before it returned, the first after it was sent.
        assert admitted[i + 5][1] - admitted[i][0] >= window


def test_the_clients_clocks_make_no_difference(monkeypatch):
    limiter = RateLimiter("5/m", name="export")
    counts = []
    for skew in (0, -60, 60, 3600):
        with monkeypatch.context() as patched:
            real = time.time()
            patched.setattr(time, "time", lambda real=real, skew=skew: real + skew)
            counts.append(sum(bool(limiter.hit("user:7")) for _ in range(5)))
            deny_cache.clear()
    assert counts == [5, 0, 0, 0]


@BOTH
def test_after_the_time_told_the_next_request_passes_and_not_before(options):
    limit = Limit(Rate(3, 600_000), key=None, **options)
    asked = charges(limit)
    for _ in range(3):
        assert decide(asked)
    refused = decide(asked)
    told = time.monotonic()
    assert not refused
    time.sleep(refused.retry_after - 0.05)
    if time.monotonic() - told < refused.retry_after:
        assert not decide(asked)
    time.sleep(max(told + refused.retry_after - time.monotonic(), 0))
    assert decide(asked)


@BOTH
def test_a_client_that_never_pauses_comes_back_as_soon_as_one_that_waited(options):
    limit = Limit(Rate(4, 400_000), key=None, **options)

    def admitted(identity, pause):
        count, end = 0, time.monotonic() + 1.1
        while time.monotonic() < end:
            count += bool(decide(charges(limit, identity=identity)))
            time.sleep(pause)
        return count

    with ThreadPoolExecutor(2) as pool:
        hasty, patient = pool.map(admitted, ("user:hasty", "user:patient"), (0.0005, 0.02))
    assert hasty >= patient - 1 >= 7


def test_the_reset_told_is_when_nothing_is_left():
    limit = Limit(Rate(3, 300_000), key=None)
    decision = decide(charges(limit, cost=2))
    time.sleep(decision.reset_after)
    assert peek(charges(limit)).remaining == 3
    assert peek(charges(limit)).reset_after == 0


# -- Many at once


def test_sixteen_threads_and_two_limits_are_exact():
    asked = charges("100/h", "250/d")

    def hammer(_):
        return sum(bool(decide(asked)) for _ in range(40))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(hammer, range(16))) == 100
    deny_cache.clear()
    assert [state.remaining for state in peek(asked).limits] == [0, 150]


def hammer(size, requests, barrier, results):
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    with override_settings(
        REDIS_ATOMIC={"RATE_LIMIT_DENY_CACHE_SIZE": size, "RATE_LIMIT_TIMEOUT": 30}
    ):
        limiter = RateLimiter("100/60s", name="hammered")
        barrier.wait()
        decisions = [limiter.hit("user:7") for _ in range(requests)]
    results.put((sum(map(bool, decisions)), any(decision.degraded for decision in decisions)))


@pytest.mark.stress
@pytest.mark.everywhere
@pytest.mark.parametrize("size", [0, 10_000], ids=["without deny cache", "with deny cache"])
def test_eight_processes_admit_exactly_the_limit(size, monkeypatch):
    monkeypatch.setenv("REDIS_URL", test_settings.REDIS_URL)  # for the children's settings
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(8), context.Queue()
    workers = [
        context.Process(target=hammer, args=(size, 2000, barrier, results)) for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    counts = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(30)
    assert sum(count for count, _ in counts) == 100
    assert not any(degraded for _, degraded in counts)


# -- Refund and reset


@BOTH
def test_a_refund_gives_back_once(options):
    limiter = RateLimiter("5/h", name="export", **options)
    first, second = limiter.hit("user:7", cost=2), limiter.hit("user:7", cost=2)
    limiter.refund(first)
    limiter.refund(first)
    assert limiter.peek("user:7").remaining == 3
    limiter.refund(second)
    assert limiter.peek("user:7").remaining == 5


def test_a_refund_of_everything_leaves_no_key(server_client):
    limiter = RateLimiter("5/h", name="export")
    limiter.refund(limiter.hit("user:7"))
    assert not server_client.keys()


def test_a_refund_may_be_of_some_limits_only():
    asked = charges("5/h", "9/d")
    decision = decide(asked)
    refund(decision, decision._charges[1:])
    assert [state.remaining for state in peek(asked).limits] == [4, 9]
    refund(decision)
    assert [state.remaining for state in peek(asked).limits] == [5, 9]


def test_a_refusal_has_nothing_to_give_back():
    asked = charges("1/h")
    decide(asked)
    refund(decide(asked))
    assert peek(asked).remaining == 0


def test_the_refunds_of_two_threads_count_once():
    asked = charges("9/h", cost=3)
    decision = decide(asked)
    decide(asked)
    threads = [threading.Thread(target=refund, args=(decision,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peek(asked).remaining == 6


def test_a_reset_forgets_one_identity_and_no_other(server_client):
    limiter = RateLimiter("1/h", "2/d", name="export")
    for identity in ("user:7", "user:8"):
        assert limiter.hit(identity)
        assert not limiter.hit(identity)
    limiter.reset("user:7")
    assert limiter.hit("user:7")
    assert not limiter.hit("user:8")
    asyncio.run(limiter.areset("user:8"))
    assert limiter.hit("user:8")


# -- RateLimiter


def test_a_named_limit_is_read_when_it_is_used():
    limiter = RateLimiter("login")
    with pytest.raises(ImproperlyConfigured, match="login"):
        limiter.hit("ip:192.0.2.1")
    for amount in (1, 3):
        with changed(RATE_LIMITS={"login": {"RATE": f"{amount}/m", "KEY": "ip"}}):
            assert limiter.peek("ip:192.0.2.1").limit == amount


def test_a_named_limit_and_its_name_share_one_count():
    with changed(RATE_LIMITS={"login": {"RATE": ["5/m", "50/h"], "COST": 2}}):
        assert RateLimiter("login").hit("ip:192.0.2.1").remaining == 3
        assert RateLimiter("5/m", name="login").hit("ip:192.0.2.1").remaining == 2
        assert [s.remaining for s in RateLimiter("login").peek("ip:192.0.2.1").limits] == [2, 48]


def test_a_rate_that_takes_a_request_is_refused():
    with pytest.raises(TypeError, match="request"):
        RateLimiter(Limit(lambda request: "5/m"))


@pytest.mark.parametrize("arguments", [(), ("5/month",), ("no such name!",)])
def test_a_bad_definition_is_an_error_at_once(arguments):
    with pytest.raises((TypeError, ValueError)):
        RateLimiter(*arguments)


def test_options_belong_to_rates():
    with pytest.raises(TypeError, match="Limit"):
        RateLimiter(Limit("5/m"), burst=3)
    with pytest.raises(TypeError, match="RATE_LIMITS"):
        RateLimiter("login", burst=3)


def test_waiting_passes_when_its_time_has_come():
    limiter = RateLimiter(Rate(2, 300_000), name="export")
    start = time.monotonic()
    decisions = [limiter.wait("user:7", timeout=10) for _ in range(4)]
    assert all(decisions)
    assert 0.3 <= time.monotonic() - start < 5


async def test_waiting_is_the_same_on_asyncio():
    limiter = RateLimiter(Rate(2, 300_000), name="export")
    start = time.monotonic()
    decisions = await asyncio.gather(*(limiter.await_("user:7", timeout=10) for _ in range(4)))
    assert all(decisions)
    assert 0.29 <= time.monotonic() - start < 5


def test_waiting_in_vain_ends_at_once():
    limiter = RateLimiter("1/h", name="export")
    assert limiter.wait("user:7", timeout=0)
    start = time.monotonic()
    assert not limiter.wait("user:7", timeout=5)
    assert not limiter.wait("user:8", timeout=5, cost=2)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("timeout", [-1, math.inf, math.nan, None, "5", True])
def test_a_bad_timeout_is_named(timeout):
    with pytest.raises(ValueError, match="timeout"):
        RateLimiter("5/m", name="export").wait("user:7", timeout)


# -- On a cluster, identities lie in different slots


def walk_as_on_a_cluster(steps, lost=lambda call: False):
    """Drive a decision against the server, refusing calls as a cluster would; some get lost."""
    client = client_for("default")
    try:
        call = next(steps)
        while True:
            if len({tag_of(key) for key in call.keys}) > 1:
                call = steps.throw(CrossSlot("two slots"))
            elif lost(call):
                call = steps.throw(NotExecuted("the slot's server is away"))
            else:
                call = steps.send(run(client, call))
    except StopIteration as stop:
        return stop.value


def test_slot_by_slot_nothing_is_charged_when_a_later_one_refuses():
    asked = [
        *charges("5/h", identity="user:7"),
        *charges("2/h", identity="ip:192.0.2.1"),
        *charges("9/d", identity="user:7"),
    ]
    decisions = [walk_as_on_a_cluster(limiter._charge(asked)) for _ in range(4)]
    assert [bool(decision) for decision in decisions] == [True, True, False, False]
    assert [state.remaining for state in decisions[2].limits] == [3, 0, 7]
    assert decisions[2].limits[1].refuses
    seen = walk_as_on_a_cluster(limiter._peek(asked))
    assert [state.remaining for state in seen.limits] == [3, 0, 7]
    walk_as_on_a_cluster(limiter._refund(decisions[0], None))
    seen = walk_as_on_a_cluster(limiter._peek(asked))
    assert [state.remaining for state in seen.limits] == [4, 1, 8]
    walk_as_on_a_cluster(limiter._reset(asked))
    assert [s.remaining for s in walk_as_on_a_cluster(limiter._peek(asked)).limits] == [5, 2, 9]
    assert reset(asked) is None


def test_slot_by_slot_nobody_stays_refused_for_what_was_given_back():
    def refused_meanwhile(call):
        if call.command is builtin("rate_limit_refund"):
            assert not decide(user)
        return False

    user, address = charges("1/h", identity="user:7"), charges("1/h", identity="ip:192.0.2.1")
    assert decide(address)
    assert not walk_as_on_a_cluster(limiter._charge([*user, *address]), lost=refused_meanwhile)
    assert decide(user)


@pytest.mark.stress
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "asyncio"])
def test_a_real_cluster_is_asked_slot_by_slot(asynchronous):
    def call(function, *arguments):
        if asynchronous:
            return asyncio.run(getattr(limiter, f"a{function}")(*arguments))
        return getattr(limiter, function)(*arguments)

    with embedded_cluster() as cluster:
        cache = {**test_settings.CACHES["default"], "LOCATION": cluster.urls}
        cache["OPTIONS"] = {"CONNECTION_FACTORY": "redis_atomic.cluster.ClusterConnectionFactory"}
        options = {"RATE_LIMIT_TIMEOUT": 10, "RATE_LIMIT_DENY_CACHE_SIZE": 0}
        with override_settings(CACHES={"default": cache}, REDIS_ATOMIC=options):
            for number in range(5):
                asked = [
                    *charges("5/h", identity=f"user:{number}"),
                    *charges("2/h", "9/d", identity=f"ip:192.0.2.{number}"),
                ]
                decisions = [call("decide", request_of(asked)) for _ in range(4)]
                assert not any(decision.degraded for decision in decisions)
                assert [bool(decision) for decision in decisions] == [True, True, False, False]
                assert [s.remaining for s in call("peek", asked).limits] == [3, 0, 7]
                call("refund", decisions[0])
                assert [s.remaining for s in call("peek", asked).limits] == [4, 1, 8]
                call("reset", asked)
                assert [s.remaining for s in call("peek", asked).limits] == [5, 2, 9]


@pytest.mark.parametrize("timeout", ["x", 0, True, None, 1e300, 10**400, float("nan")])
async def test_a_wrong_timeout_is_named_when_a_limit_is_used(timeout):
    told = r"REDIS_ATOMIC\['RATE_LIMIT_TIMEOUT'\] must be a number of seconds"
    with override_settings(REDIS_ATOMIC={"RATE_LIMIT_TIMEOUT": timeout}):
        with pytest.raises(ImproperlyConfigured, match=told):
            RateLimiter("5/m").hit("user:7")
        with pytest.raises(ImproperlyConfigured, match=told):
            await RateLimiter("5/m").ahit("user:7")
    with override_settings(REDIS_ATOMIC={"RATE_LIMIT_TIMEOUT": timedelta(seconds=20)}):
        assert RateLimiter("5/m").hit("user:7").degraded is False


def in_two_slots():
    return [*charges("5/h", identity="user:7"), *charges("1/h", identity="ip:192.0.2.1")]


def slot_of(charge):
    return tag_of(*keys_of([charge]))


def test_a_refusal_stands_when_what_was_granted_cant_be_given_back():
    asked = in_two_slots()
    assert walk_as_on_a_cluster(limiter._charge(asked))
    decision = walk_as_on_a_cluster(
        limiter._charge(asked), lost=lambda call: call.command is builtin("rate_limit_refund")
    )
    assert not decision
    assert not decision.degraded
    assert [state.remaining for state in decision.limits] == [3, 0]  # it stays charged
    seen = walk_as_on_a_cluster(limiter._peek(asked))
    assert [state.remaining for state in seen.limits] == [3, 0]


def test_a_refusal_stands_when_a_later_slot_does_not_answer():
    asked = [*in_two_slots(), *charges("9/h", identity="user:8")]
    assert walk_as_on_a_cluster(limiter._charge(asked))
    decision = walk_as_on_a_cluster(
        limiter._charge(asked), lost=lambda call: tag_of(call.keys[0]) == slot_of(asked[2])
    )
    assert not decision
    assert not decision.degraded
    assert decision.retry_after > 3000
    seen = walk_as_on_a_cluster(limiter._peek(asked))
    assert [state.remaining for state in seen.limits] == [4, 0, 8]


def test_what_one_slot_granted_is_given_back_when_another_does_not_answer():
    asked = in_two_slots()
    decision = walk_as_on_a_cluster(
        limiter._charge(asked), lost=lambda call: tag_of(call.keys[0]) == slot_of(asked[1])
    )
    assert decision.degraded
    seen = walk_as_on_a_cluster(limiter._peek(asked))
    assert [state.remaining for state in seen.limits] == [5, 1]


def test_a_refund_reaches_the_slots_that_answer():
    asked = in_two_slots()
    decision = walk_as_on_a_cluster(limiter._charge(asked))
    walk_as_on_a_cluster(
        limiter._refund(decision, None), lost=lambda call: tag_of(call.keys[0]) == slot_of(asked[0])
    )
    seen = walk_as_on_a_cluster(limiter._peek(asked))
    assert [state.remaining for state in seen.limits] == [4, 1]


# What charged nothing gives nothing back


@pytest.mark.parametrize("algorithm", ["sliding_window", "token_bucket"])
def test_a_look_cannot_be_refunded(algorithm):
    limiter = RateLimiter("3/h", name="looked-at", algorithm=algorithm)
    allowed = 0
    for _ in range(9):
        look = limiter.peek("user:7")
        allowed += bool(limiter.hit("user:7"))
        limiter.refund(look)
    assert allowed == 3


def test_who_is_refused_while_a_refund_is_under_way_is_let_in_after_it(monkeypatch):
    def give_back(owed, keys):
        assert not refused.hit("user:7")
        return (yield from slots.give_back(owed, keys))

    refused = RateLimiter("1/h", name="given-back")
    decision = refused.hit("user:7")
    monkeypatch.setattr(limiter, "give_back", give_back)
    refused.refund(decision)
    assert refused.hit("user:7")
