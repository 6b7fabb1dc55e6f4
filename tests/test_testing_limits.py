"""The helpers for tests of rate limits."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import AsyncClient, Client, TestCase, override_settings
from django.urls import path

from redis_atomic.conf import conf
from redis_atomic.decorators import rate_limit
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.rate_limiter import RateLimiter
from redis_atomic.testing import override
from redis_atomic.testing.limits import exhaust, rate_limits_disabled, reset_rate_limits
from tests import settings as test_settings

ROOT = Path(__file__).parent.parent
WHO = "ip:127.0.0.1"


@rate_limit("login")
def login(request):
    return HttpResponse()


@rate_limit("login")
async def alogin(request):
    return HttpResponse()


urlpatterns = [path("login", login), path("alogin", alogin)]

SETTINGS = {
    "ROOT_URLCONF": __name__,
    "REDIS_ATOMIC": {"RATE_LIMITS": {"login": {"RATE": "2/m"}}, "RATE_LIMIT_TIMEOUT": 20},
}


@pytest.fixture(autouse=True)
def _settings(request, settings):
    if request.cls is None:
        for name, value in SETTINGS.items():
            setattr(settings, name, value)


@pytest.fixture
def fresh():
    with reset_rate_limits():
        yield


def statuses(times):
    return [Client().get("/login").status_code for _ in range(times)]


def test_what_is_asked_by_hand_is_spent_as_it_stands():
    limiter = RateLimiter("3/h", name="by-hand")
    for identity in ("ip:2001:db8::1", "post:hello", "get:Page:ABC", "user:" + 300 * "x"):
        exhaust(limiter, identity)
        assert not limiter.hit(identity)


def test_disabled_limits_refuse_nothing_and_count_nothing(fresh, server_client):
    with rate_limits_disabled():
        assert statuses(5) == [200] * 5
    assert server_client.keys("*") == []
    assert statuses(3) == [200, 200, 429]


@rate_limits_disabled()
def test_disabled_limits_as_a_decorator(fresh):
    assert statuses(5) == [200] * 5


@rate_limits_disabled()
async def test_disabled_limits_as_a_decorator_of_an_async_test(fresh):
    assert [(await AsyncClient().get("/alogin")).status_code for _ in range(5)] == [200] * 5


def test_disabling_keeps_the_other_settings():
    with override(RATE_LIMIT_ON_ERROR="open"), rate_limits_disabled():
        assert "login" in conf.RATE_LIMITS
        assert conf.RATE_LIMIT_ON_ERROR == "open"
        assert conf.RATE_LIMIT_ENABLED is False
    assert conf.RATE_LIMIT_ENABLED is True
    assert conf.RATE_LIMIT_ON_ERROR == "local"


def test_an_exhausted_limit_refuses_the_next_request(fresh):
    decision = exhaust("login", WHO)
    assert decision.allowed
    assert decision.remaining == 0
    assert statuses(1) == [429]
    assert RateLimiter("login").hit("ip:127.0.0.2")


@pytest.mark.parametrize("identity", [("127.0.0.1",), ("user:7",), (WHO, "user:7")])
def test_what_the_limit_does_not_count_by_cannot_be_exhausted(fresh, identity):
    with pytest.raises(ValueError, match="'login' counts by ip: write ip:"):
        exhaust("login", *identity)


def test_exhausting_spends_what_is_left(fresh):
    assert statuses(1) == [200]
    exhaust("login", WHO)
    exhaust("login", WHO)
    assert statuses(1) == [429]


def test_of_several_rates_the_one_with_least_left_is_exhausted(fresh):
    with override(RATE_LIMITS={"login": {"RATE": ["2/m", "9/h"]}}):
        exhaust("login", WHO)
        assert [state.remaining for state in RateLimiter("login").peek(WHO).limits] == [0, 7]


def test_a_limiter_and_the_parts_of_a_tuple_key_can_be_exhausted(fresh):
    limiter = RateLimiter(Limit("5/m", name="pair", key=("ip", "user")))
    exhaust(limiter, "ip:127.0.0.1", "user:7")
    assert not limiter.hit(("ip:127.0.0.1", "user:7"))
    assert limiter.hit(("ip:127.0.0.1", "user:8"))


def test_a_bucket_can_be_exhausted(fresh):
    limiter = RateLimiter("6/m", name="bucket", algorithm="token_bucket", burst=20)
    exhaust(limiter, WHO)
    assert not limiter.hit(WHO)


@rate_limits_disabled()
def test_what_is_switched_off_can_not_be_exhausted():
    with pytest.raises(RuntimeError, match="RATE_LIMIT_ENABLED"):
        exhaust("login", WHO)


def test_what_can_not_be_reached_can_not_be_exhausted(fresh, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "unix:///nowhere/at/all?db=0",
        }
    }
    with pytest.raises(RuntimeError, match="does not answer"):
        exhaust("login", WHO)


def test_reset_forgets_what_was_counted_and_what_was_refused(fresh):
    assert statuses(3) == [200, 200, 429]
    reset_rate_limits()
    assert statuses(3) == [200, 200, 429]


def test_reset_forgets_what_was_counted_without_a_server(fresh, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "unix:///nowhere/at/all?db=0",
        }
    }
    assert statuses(3) == [200, 200, 429]
    reset_rate_limits()
    assert statuses(3) == [200, 200, 429]


def test_no_key_stays_behind(server_client):
    with reset_rate_limits():
        statuses(3)
        exhaust("login", "ip:192.0.2.7")
        exhaust(RateLimiter("9/d", name="other", algorithm="token_bucket"), "user:7")
        assert len(server_client.keys("*")) == 3
        assert all(server_client.ttl(key) > 0 for key in server_client.keys("*"))
    assert server_client.keys("*") == []


def test_after_the_block_limits_are_counted_as_usual(server_client):
    with reset_rate_limits():
        reset_rate_limits()
        with reset_rate_limits():
            statuses(1)
        statuses(1)
        assert all(b":test-" in key for key in server_client.keys("*"))
    statuses(1)
    assert [key.split(b":")[:2] for key in server_client.keys("*")] == [[b"tests", b"rl1"]]


def test_what_other_threads_counted_is_reset_too(server_client):
    with reset_rate_limits():
        thread = threading.Thread(target=statuses, args=(3,))
        thread.start()
        thread.join()
        assert server_client.keys("*") != []
    assert server_client.keys("*") == []


def test_keys_that_are_not_ours_stay(server_client):
    server_client.set("tests:rl1:{somebody}:login:w:m", "theirs")
    with reset_rate_limits():
        statuses(3)
    assert server_client.keys("*") == [b"tests:rl1:{somebody}:login:w:m"]


WORKER = """
    import json
    import sys
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="only for tests",
        CACHES=json.loads(sys.argv[1]),
        REDIS_ATOMIC={"RATE_LIMITS": {"login": {"RATE": "2/m"}}, "RATE_LIMIT_TIMEOUT": 20},
    )
    django.setup()
    from redis_atomic.ratelimit.rate_limiter import RateLimiter
    from redis_atomic.testing.limits import exhaust, reset_rate_limits

    for line in sys.stdin:
        match line.strip():
            case "exhaust":
                exhaust("login", "ip:127.0.0.1")
            case "reset":
                reset_rate_limits()
        print(RateLimiter("login").peek("ip:127.0.0.1").remaining, flush=True)
"""


@pytest.fixture
def workers():
    """Two processes on one server, with one setting and one limit, as xdist makes them."""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), json.dumps(test_settings.CACHES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env=environment,
        )
        for _ in range(2)
    ]

    def order(number, word):
        process = processes[number]
        process.stdin.write(f"{word}\n")
        return int(process.stdout.readline())

    order.processes = processes
    yield order
    for process in processes:
        if not process.stdin.closed:
            process.stdin.close()
        process.stdout.close()
        process.wait(20)


def test_workers_neither_see_nor_reset_each_others_counts(workers):
    assert workers(0, "exhaust") == 0
    assert workers(1, "reset") == 2
    assert workers(1, "exhaust") == 0
    assert workers(0, "reset") == 2
    assert workers(1, "look") == 0


def test_a_worker_that_ends_leaves_no_key(workers, server_client):
    workers(0, "exhaust")
    workers(1, "exhaust")
    assert len(server_client.keys("*")) == 2
    for process in workers.processes:
        process.stdin.close()
        process.wait(20)
    assert server_client.keys("*") == []


@override_settings(**SETTINGS)
class InATestCase(TestCase):
    def setUp(self):
        self.enterContext(reset_rate_limits())

    def test_one(self):
        assert statuses(3) == [200, 200, 429]

    def test_another_starts_anew(self):
        exhaust("login", WHO)
        assert statuses(1) == [429]

    @rate_limits_disabled()
    def test_without_limits(self):
        assert statuses(3) == [200] * 3


@rate_limits_disabled()
@override_settings(**SETTINGS)
class WithoutLimits(TestCase):
    def test_the_class_keeps_its_other_settings(self):
        assert "login" in conf.RATE_LIMITS
        assert statuses(3) == [200] * 3
