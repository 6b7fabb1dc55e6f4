import asyncio
import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from redis_atomic import Limit, RateLimiter, rate_limit
from redis_atomic.exceptions import IndeterminateResult, NotExecuted
from redis_atomic.ratelimit import failure
from redis_atomic.ratelimit.breaker import _probe, breaker
from redis_atomic.ratelimit.deny_cache import deny_cache
from redis_atomic.ratelimit.failure import FAILURES, Breaker, local_limiter
from redis_atomic.ratelimit.limiter import adecide
from redis_atomic.ratelimit.requests import request_of
from redis_atomic.signals import rate_limit_degraded
from redis_atomic.testing import embedded_server, lost_reply_proxy
from tests.test_limiter import charges

BUDGET = 0.25
#: What a busy machine may add to a time before a test says that it was too long.
GRACE = 0.6


@pytest.fixture(autouse=True)
def _quick_recovery(monkeypatch):
    monkeypatch.setattr(failure, "PAUSE", 0.1)
    deny_cache.clear()
    local_limiter._counts.clear()
    breaker.renew()
    yield
    breaker.renew()


@pytest.fixture
def changes():
    """The changes of state that the signal told, as they come."""
    told = []

    def receive(sender, degraded, error, **kwargs):
        told.append(degraded)

    rate_limit_degraded.connect(receive)
    yield told
    rate_limit_degraded.disconnect(receive)


@contextmanager
def using(url, **options):
    caches = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
    with override_settings(CACHES=caches, REDIS_ATOMIC={"RATE_LIMIT_TIMEOUT": BUDGET} | options):
        yield


@pytest.fixture
def server():
    with embedded_server(tcp=True) as server:
        yield server


def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "It did not come to pass."
        time.sleep(0.01)


def timed_hits(limiter, count, identity="user:{}"):
    decisions = []
    for number in range(count):
        start = time.monotonic()
        decision = limiter.hit(identity.format(number))
        decisions.append((time.monotonic() - start, decision))
    return decisions


# -- The three policies


def test_local_keeps_limiting_with_the_same_rates(server):
    limiter = RateLimiter("5/h", name="export")
    with using(server.url):
        assert not limiter.hit("user:7").degraded
        server.kill()
        decisions = [limiter.hit("user:7") for _ in range(12)]
        assert all(decision.degraded for decision in decisions)
        assert sum(map(bool, decisions)) == 5
        assert decisions[-1].retry_after > 3000
        assert limiter.hit("user:8")


def test_open_allows_and_closed_refuses(server):
    limiter = RateLimiter("1/h", name="export")
    server.kill()
    with using(server.url, RATE_LIMIT_ON_ERROR="open"):
        assert all(limiter.hit("user:7") for _ in range(5))
    with using(server.url, RATE_LIMIT_ON_ERROR="closed"):
        decision = limiter.hit("user:7")
        assert not decision
        assert decision.degraded
        assert 0 < decision.retry_after < 10
        assert len(deny_cache) == 0


def test_closed_refuses_nothing_for_limits_in_shadow_mode(server):
    limiter = RateLimiter(Limit("5/h", key=None, name="trial", shadow=True))
    view = rate_limit("5/h", shadow=True)(lambda request: HttpResponse("ok"))
    server.kill()
    with using(server.url, RATE_LIMIT_ON_ERROR="closed"):
        for _ in range(2 * FAILURES):
            decision = limiter.hit("user:7")
            assert decision
            assert decision.degraded
            assert decision.shadowed
            limiter.refund(decision)
            assert view(RequestFactory().get("/")).status_code == 200
        assert not RateLimiter(Limit("5/h", key=None, shadow=True), "9/d").hit("user:7")


def test_local_refunds_what_was_counted_locally(server):
    limiter = RateLimiter("3/h", name="export")
    bucket = RateLimiter("3/h", name="export", algorithm="token_bucket")
    server.kill()
    with using(server.url):
        for each in (limiter, bucket):
            first = each.hit("user:7", cost=2)
            each.refund(first)
            each.refund(first)
            assert each.peek("user:7").remaining == 3
            assert each.hit("user:7", cost=3)


def test_a_refund_while_redis_is_away_is_lost_and_raises_nothing(server):
    limiter = RateLimiter("3/h", name="export")
    with using(server.url):
        decision = limiter.hit("user:7")
        server.kill()
        limiter.refund(decision)


def test_a_reset_says_that_redis_is_away(server):
    with using(server.url):
        server.kill()
        with pytest.raises((NotExecuted, IndeterminateResult)):
            RateLimiter("3/h", name="export").reset("user:7")


# -- The ways to fail


def break_by_killing(server):
    server.kill()
    return server.restart


def break_by_stopping(server):
    server.pause()
    return server.resume


def break_by_demoting(server):
    tell(server, "REPLICAOF", "127.0.0.1", "1")
    return lambda: tell(server, "REPLICAOF", "NO", "ONE")


def break_by_filling(server):
    tell(server, "CONFIG", "SET", "maxmemory", "1")
    return lambda: tell(server, "CONFIG", "SET", "maxmemory", "0")


def tell(server, *command):
    with redis.Redis.from_url(server.url) as client:
        client.execute_command(*command)


WAYS = pytest.mark.parametrize(
    "break_", [break_by_killing, break_by_stopping, break_by_demoting, break_by_filling]
)


@WAYS
def test_however_redis_fails_requests_are_answered_in_time(break_, server, changes, caplog):
    limiter = RateLimiter("1000/h", name="export")
    caplog.set_level("WARNING", "redis_atomic.rate_limits")
    with using(server.url):
        assert not limiter.hit("user:7").degraded
        mend = break_(server)
        first = timed_hits(limiter, FAILURES)
        assert breaker.open
        then = timed_hits(limiter, 200)
        assert all(decision.degraded for _, decision in first + then)
        assert max(seconds for seconds, _ in first) < BUDGET + GRACE
        assert sum(seconds for seconds, _ in then) < 10 * BUDGET, "Redis is not asked"
        mend()
        until(lambda: not breaker.open)
        assert not limiter.hit("user:7").degraded
    until(lambda: len(changes) == 2)
    assert changes == [True, False]
    assert len(caplog.records) == 2


@WAYS
def test_asyncio_is_answered_in_time_as_well(break_, server):
    asked = charges("1000/h")

    async def hits(count):
        took = []
        for _ in range(count):
            start = time.monotonic()
            assert (await adecide(request_of(asked))).degraded
            took.append(time.monotonic() - start)
        return took

    async def story():
        assert not (await adecide(request_of(asked))).degraded
        mend = break_(server)
        assert max(await hits(FAILURES)) < BUDGET + GRACE
        assert breaker.open
        assert sum(await hits(200)) < 10 * BUDGET, "Redis is not asked"
        mend()
        while breaker.open:
            await asyncio.sleep(0.02)
        assert not (await adecide(request_of(asked))).degraded

    with using(server.url):
        asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.parametrize("delay", [0.15, 1.0])
def test_a_slow_server_takes_no_longer_than_the_budget_in_all(delay, server):
    """At 0.15 s each reply is in time, but connecting and asking together are not."""
    limiter = RateLimiter("1000/h", name="export")
    with lost_reply_proxy(server.url) as proxy:
        proxy.delay = delay
        with using(proxy.url):
            for seconds, _ in timed_hits(limiter, FAILURES):
                assert seconds < BUDGET + GRACE / 2


async def test_a_slow_server_takes_no_longer_on_asyncio(server):
    with lost_reply_proxy(server.url) as proxy:
        proxy.delay = 0.15
        with using(proxy.url):
            start = time.monotonic()
            await adecide(request_of(charges("1000/h")))
            assert time.monotonic() - start < BUDGET + GRACE / 2


def test_one_lost_reply_is_one_degraded_decision_and_is_not_repeated(server, changes):
    limiter = RateLimiter("10/h", name="export")
    with lost_reply_proxy(server.url) as proxy, using(proxy.url):
        assert limiter.hit("user:7")
        proxy.lose_replies(containing=b"EVALSHA")
        assert limiter.hit("user:7").degraded
        decision = limiter.hit("user:7")
        assert not decision.degraded
        assert decision.remaining == 7  # the one whose reply was lost did count
    assert not changes


def test_a_flush_and_a_script_flush_go_unnoticed(server):
    limiter = RateLimiter("5/h", name="export")
    with using(server.url), redis.Redis.from_url(server.url) as client:
        for flush in (client.flushall, client.script_flush):
            limiter.hit("user:7")
            flush()
            assert not limiter.hit("user:7").degraded


@pytest.mark.parametrize("break_", [break_by_killing, break_by_stopping])
def test_in_the_middle_of_traffic_nothing_raises_and_it_is_told_once(
    break_, server, changes, caplog
):
    caplog.set_level("WARNING", "redis_atomic.rate_limits")
    limiter = RateLimiter("100000/h", name="export")
    stop = threading.Event()

    def traffic(number):
        seen = set()
        while not stop.is_set():
            start = time.monotonic()
            decision = limiter.hit(f"user:{number}")
            assert time.monotonic() - start < BUDGET + 2 * GRACE
            seen.add(decision.degraded)
        return seen

    with using(server.url), ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(traffic, number) for number in range(4)]
        try:
            time.sleep(0.1)
            mend = break_(server)
            until(lambda: breaker.open)
            time.sleep(0.3)
            mend()
            until(lambda: not breaker.open)
            time.sleep(0.1)
        finally:
            stop.set()
        assert all(worker.result() == {True, False} for worker in workers)
    until(lambda: len(changes) == 2)
    assert changes == [True, False]
    assert len(caplog.records) == 2


# -- The breaker


def test_the_breaker_opens_after_some_failures_and_asks_alone(server):
    asked = []
    answers = threading.Event()

    def probe():
        asked.append(threading.current_thread().name)
        if not answers.is_set():
            raise NotExecuted("still away")

    breaker = Breaker(probe)
    for _ in range(FAILURES - 1):
        breaker.failed(NotExecuted("away"))
        assert not breaker.open
    for _ in range(20):
        breaker.failed(NotExecuted("away"))
    assert breaker.open
    until(lambda: len(asked) >= 2)
    assert breaker.open
    assert len([t for t in threading.enumerate() if t.name == "redis_atomic.rate_limits"]) == 1
    answers.set()
    until(lambda: not breaker.open)
    seen = len(asked)
    time.sleep(3 * failure.PAUSE)
    assert len(asked) == seen


def test_failures_between_successes_add_up():
    breaker = Breaker(lambda: None)
    for _ in range(FAILURES):
        breaker.succeeded()
        breaker.failed(NotExecuted("away"))
    assert breaker.open
    breaker.renew()


def test_old_failures_are_forgiven(monkeypatch):
    monkeypatch.setattr(failure, "FORGIVEN", 0.0)
    breaker = Breaker(lambda: None)
    for _ in range(3 * FAILURES):
        breaker.failed(NotExecuted("away"))
        breaker.succeeded()
    assert not breaker.open


def test_a_receiver_that_raises_harms_nobody(server):
    def receive(**kwargs):
        raise RuntimeError("receiver")

    rate_limit_degraded.connect(receive)
    try:
        server.kill()
        with using(server.url):
            assert all(limiter.degraded for limiter in [RateLimiter("5/h").hit("a")] * 5)
    finally:
        rate_limit_degraded.disconnect(receive)


def test_a_receiver_that_hangs_does_not_keep_the_breaker_open(changes):
    told, may_go_on = threading.Event(), threading.Event()

    def receive(degraded, **kwargs):
        if degraded:
            told.set()
            may_go_on.wait(30)

    rate_limit_degraded.connect(receive)
    try:
        breaker = Breaker(lambda: None)
        for _ in range(FAILURES):
            breaker.failed(NotExecuted("away"))
        assert told.wait(15)
        until(lambda: not breaker.open)
        assert changes == [True]  # the end is told after the beginning
    finally:
        may_go_on.set()
        until(lambda: changes == [True, False])
        rate_limit_degraded.disconnect(receive)


def test_without_a_thread_to_close_it_the_breaker_stays_closed(monkeypatch, caplog):
    """As a process at its limit of threads finds out."""
    breaker = Breaker(lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(threading, "_start_new_thread", refuse_to_start, raising=False)
        patched.setattr(threading, "_start_joinable_thread", refuse_to_start, raising=False)
        for _ in range(2 * FAILURES):
            breaker.failed(NotExecuted("away"))
            assert not breaker.open
    assert "can't start new thread" in caplog.text
    breaker.failed(NotExecuted("away"))
    assert breaker.open
    until(lambda: not breaker.open)


def refuse_to_start(*args, **kwargs):
    raise RuntimeError("can't start new thread")


def test_a_breaker_that_is_done_with_is_not_kept():
    breaker = weakref.ref(Breaker(lambda: None))
    gc.collect()
    assert breaker() is None


async def test_an_asynchronous_receiver_is_told_by_asynchronous_code(server):
    told = threading.Event()

    async def receive(**kwargs):
        told.set()

    rate_limit_degraded.connect(receive)
    try:
        server.kill()
        with using(server.url):
            for _ in range(FAILURES):
                assert (await RateLimiter("5/h").ahit("a")).degraded
            assert await asyncio.to_thread(told.wait, 15)
    finally:
        rate_limit_degraded.disconnect(receive)


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_asks_anew(server):
    with using(server.url):
        server.kill()
        timed_hits(RateLimiter("1000/h", name="export"), FAILURES)
        assert breaker.open
        child = os.fork()
        if child == 0:
            os._exit(int(breaker.open))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_changed_setting_renews_the_breaker(server):
    with using(server.url):
        server.kill()
        timed_hits(RateLimiter("1000/h", name="export"), FAILURES)
        assert breaker.open
    assert not breaker.open
    assert not RateLimiter("1000/h", name="export").hit("user:7").degraded


def test_the_probe_leaves_a_key_that_goes_by_itself(server_client):
    _probe()
    (key,) = server_client.keys()
    assert 0 < server_client.pttl(key) <= 1000
