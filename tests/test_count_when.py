"""Counting only failures, shadow limits, and project callables and receivers that go wrong."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.decorators import rate_limit
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.rate_limiter import RateLimiter
from redis_atomic.signals import rate_limited
from redis_atomic.testing.limits import exhaust, reset_rate_limits

WHO = "ip:127.0.0.1"
LIMITS = {
    "login": {"RATE": "5/h", "COUNT_WHEN": lambda response: response.status_code >= 400},
    "site": {
        "RATE": "5/h",
        "PATH": "/site/",
        "COUNT_WHEN": lambda response: response.status_code >= 400,
    },
    "plain": {"RATE": "5/h"},
    "shadow": {"RATE": "2/h", "SHADOW": True},
}


class PasswordCheck:
    """Says who may log in, counts how often it was asked, and waits for ``go``."""

    def __init__(self):
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.start()

    def start(self, *, waiting=False):
        self.asked = 0
        self.go.clear() if waiting else self.go.set()

    def __call__(self, request):
        with self.lock:
            self.asked += 1
        assert self.go.wait(30)
        return HttpResponse(status=200 if request.GET["password"] == "right" else 401)


check = PasswordCheck()


@rate_limit("login")
def login(request):
    return check(request)


@rate_limit("login")
async def alogin(request):
    check.asked += 1
    await asyncio.sleep(0)
    return HttpResponse(status=200 if request.GET["password"] == "right" else 401)


@rate_limit("login")
def raising(request):
    raise ValueError("the view's own")


def converted(request, error):
    raise {"404": Http404, "403": PermissionDenied, "500": ValueError}[error]


def fine(request):
    return HttpResponse()


urlpatterns = [
    path("login", login),
    path("alogin", alogin),
    path("raising", raising),
    path("site/fine", fine),
    path("site/<error>", converted),
]


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["redis_atomic.middleware.RateLimitMiddleware"]
    settings.REDIS_ATOMIC = {"RATE_LIMITS": LIMITS, "RATE_LIMIT_TIMEOUT": 20}
    check.start()
    with reset_rate_limits():
        yield


@pytest.fixture
def listening():
    """What was told by the signal rate_limited."""
    told = []

    def receive(**kwargs):
        told.append(kwargs)

    rate_limited.connect(receive)
    yield told
    rate_limited.disconnect(receive)


def attempt(password):
    return Client().get(f"/login?password={password}").status_code


def remaining(name):
    return RateLimiter(name).peek(WHO).remaining


def test_of_a_hundred_parallel_failing_logins_five_reach_the_password_check():
    check.start(waiting=True)
    refused = threading.Semaphore(0)

    def one(_):
        status = attempt("wrong")
        if status == 429:
            refused.release()
        return status

    with ThreadPoolExecutor(100) as pool:
        found = pool.map(one, range(100))
        # Nobody has failed yet: the five are in the view, and the others must be out already.
        assert all(refused.acquire(timeout=30) for _ in range(95))
        assert check.asked == 5
        check.go.set()
        assert sorted(found) == [401] * 5 + [429] * 95
    assert check.asked == 5
    assert remaining("login") == 0


def test_of_a_hundred_good_logins_five_at_a_time_none_is_refused():
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(attempt, ["right"] * 100)) == [200] * 100
    assert remaining("login") == 5


def test_after_a_hundred_good_logins_in_parallel_nothing_is_left_counted():
    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(attempt, ["right"] * 100))
    assert found.count(200) >= 5
    assert set(found) <= {200, 429}
    assert remaining("login") == 5


async def test_of_a_hundred_concurrent_failing_logins_five_reach_the_password_check():
    client = AsyncClient()
    responses = await asyncio.gather(*[client.get("/alogin?password=wrong") for _ in range(100)])
    assert [response.status_code for response in responses].count(401) == 5
    assert check.asked == 5


async def test_after_a_hundred_concurrent_good_logins_nothing_is_left_counted():
    client = AsyncClient()
    responses = await asyncio.gather(*[client.get("/alogin?password=right") for _ in range(100)])
    assert {response.status_code for response in responses} <= {200, 429}
    assert remaining("login") == 5


def test_good_logins_do_not_wipe_out_failures():
    found = [attempt(password) for password in ["wrong", "right", "wrong", "right", "right"]]
    assert found == [401, 200, 401, 200, 200]
    assert remaining("login") == 3


def test_a_refusal_is_not_remembered_where_a_refund_may_come():
    """Another process's refund frees the limit; a remembered refusal would deny it for long."""
    limiter = RateLimiter("login")
    decisions = [limiter.hit(WHO) for _ in range(5)]
    assert attempt("right") == 429
    RateLimiter("login").refund(decisions[0])
    assert attempt("right") == 200


def test_a_view_that_raises_stays_counted_and_its_exception_passes():
    with pytest.raises(ValueError, match="the view's own"):
        Client().get("/raising")
    assert remaining("login") == 4


def test_the_middleware_sees_exceptions_as_responses():
    client = Client(raise_request_exception=False)
    assert [client.get(f"/site/{path}").status_code for path in ("404", "403", "500")] == [
        404,
        403,
        500,
    ]
    assert remaining("site") == 2
    assert [client.get("/site/fine").status_code for _ in range(9)] == [200] * 9
    assert remaining("site") == 2


def test_a_second_refund_gives_nothing_back():
    limiter = RateLimiter("plain")
    decision = limiter.hit(WHO, cost=2)
    limiter.hit(WHO, cost=2)
    limiter.refund(decision)
    limiter.refund(decision)
    assert limiter.peek(WHO).remaining == 3


def test_a_refund_of_a_refusal_gives_nothing_back():
    limiter = RateLimiter("plain")
    limiter.hit(WHO, cost=4)
    limiter.refund(limiter.hit(WHO, cost=2))
    assert limiter.peek(WHO).remaining == 1


def test_only_the_limits_that_say_so_give_back():
    @rate_limit("login", "plain")
    def both(request):
        return HttpResponse()

    both(request_of_client())
    assert (remaining("login"), remaining("plain")) == (5, 4)


def request_of_client():
    return Client().get("/site/fine").wsgi_request


# Shadow limits


@given(st.lists(st.integers(0, 6), max_size=12))
def test_a_shadowed_limit_changes_no_decision_and_counts_exactly(costs):
    who = f"user:{uuid4()}"
    enforced = Limit("9/h", name="enforced")
    alone = RateLimiter(enforced)
    beside = RateLimiter(enforced, Limit("5/h", name="shadowed", shadow=True))
    left = 5
    for cost in costs:
        one, other = alone.hit(f"{who}-alone", cost=cost), beside.hit(who, cost=cost)
        assert (other.allowed, other.limit, other.remaining) == (one.allowed, 9, one.remaining)
        if other.allowed:
            assert other.shadowed == (cost > left)
            left -= cost if cost <= left else 0
        assert beside.peek(who).limits[1].remaining == left


def test_a_shadowed_limit_of_a_view_reports_what_it_would_refuse(listening):
    @rate_limit("plain", "shadow")
    def view(request):
        return HttpResponse()

    found = [view(request_of_client()).status_code for _ in range(4)]
    assert found == [200] * 4
    assert [told["decision"].shadowed for told in listening] == [True, True]
    assert all(told["decision"].allowed for told in listening)
    assert (remaining("plain"), RateLimiter("shadow").peek(WHO).limits[0].remaining) == (1, 0)


def test_a_shadowed_limit_that_is_full_does_not_keep_the_enforced_one_from_refusing():
    @rate_limit("plain", "shadow")
    def view(request):
        return HttpResponse()

    found = [view(request_of_client()).status_code for _ in range(7)]
    assert found == [200] * 5 + [429] * 2


# What goes wrong in the project's own code


def test_a_receiver_that_raises_changes_nothing(caplog):
    def receive(**kwargs):
        raise RuntimeError("receiver")

    exhaust("login", WHO)
    rate_limited.connect(receive)
    try:
        assert attempt("right") == 429
    finally:
        rate_limited.disconnect(receive)


async def test_a_receiver_that_raises_changes_nothing_in_async_code():
    async def receive(**kwargs):
        raise RuntimeError("receiver")

    exhaust("login", WHO)
    rate_limited.connect(receive)
    try:
        assert (await AsyncClient().get("/alogin?password=right")).status_code == 429
    finally:
        rate_limited.disconnect(receive)


def goes_wrong(*args):
    raise RuntimeError("goes wrong")


async def agoes_wrong(*args):
    raise RuntimeError("goes wrong")


@pytest.mark.parametrize("function", [goes_wrong, agoes_wrong])
def test_a_count_when_that_raises_is_logged_and_the_charge_stays(function, caplog):
    @rate_limit(Limit("5/h", name="checked", count_when=function))
    def view(request):
        return HttpResponse("the view's")

    with caplog.at_level(logging.ERROR, logger="redis_atomic.rate_limits"):
        assert view(request_of_client()).content == b"the view's"
    assert "goes wrong" in caplog.text
    assert remaining_of(Limit("5/h", name="checked")) == 4


async def test_an_async_view_that_a_decorator_hides_is_judged_by_its_response(rf):
    async def view(request):
        return HttpResponse(status=200)

    limit = Limit("2/h", name=f"hidden-{uuid4()}", count_when=lambda r: r.status_code >= 400)
    limited = rate_limit(limit)(lambda request: view(request))
    responses = [await limited(rf.get("/")) for _ in range(4)]
    assert [each.status_code for each in responses] == [200] * 4
    assert all("RateLimit" in each.headers for each in responses)


async def test_a_count_when_that_raises_does_not_lose_an_async_views_response():
    @rate_limit(Limit("5/h", name="checked", count_when=agoes_wrong))
    async def view(request):
        return HttpResponse("the view's")

    request = (await AsyncClient().get("/site/fine")).asgi_request
    assert (await view(request)).content == b"the view's"
    assert remaining_of(Limit("5/h", name="checked")) == 4


def test_a_count_when_that_raises_does_not_lose_the_middlewares_response(settings):
    site = LIMITS["site"] | {"COUNT_WHEN": goes_wrong}
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"site": site}}
    assert Client().get("/site/fine").status_code == 200
    assert remaining("site") == 4


def remaining_of(limit):
    return RateLimiter(limit).peek(WHO).remaining


@pytest.mark.parametrize(
    ("garbage", "error"),
    [
        ("10/month", ValueError),
        ("plenty", ValueError),
        (5, TypeError),
        (b"5/m", TypeError),
        (("5/m",), TypeError),
        ("0/m", ValueError),
        ("999999999/s", ValueError),
    ],
)
def test_a_rate_callable_that_returns_garbage_is_an_error_before_the_view(garbage, error):
    ran = []

    @rate_limit("plain", Limit(lambda request: garbage, name="dynamic"))
    def view(request):
        ran.append(request)

    with pytest.raises(error):
        view(request_of_client())
    assert ran == []
    assert remaining("plain") == 5


@pytest.mark.parametrize("garbage", [-1, 1.5, True, "1", None])
def test_a_cost_callable_that_returns_garbage_is_an_error_before_the_view(garbage):
    ran = []

    @rate_limit("5/h", cost=lambda request: garbage)
    def view(request):
        ran.append(request)

    with pytest.raises((TypeError, ValueError), match="cost"):
        view(request_of_client())
    assert ran == []


@pytest.mark.parametrize("argument", ["rate", "cost", "key", "exempt"])
def test_a_callable_that_raises_before_the_view_is_an_error_and_nothing_is_charged(argument):
    options = {argument: goes_wrong}
    limit = Limit(options.pop("rate", "5/h"), name="other", **options)

    @rate_limit("plain", limit)
    def view(request):
        raise AssertionError("The view must not run.")

    with pytest.raises(RuntimeError, match="goes wrong"):
        view(request_of_client())
    assert remaining("plain") == 5


def test_a_rate_callable_may_say_that_there_is_no_limit():
    @rate_limit(Limit(lambda request: None, name="dynamic"))
    def view(request):
        return HttpResponse()

    assert [view(request_of_client()).status_code for _ in range(9)] == [200] * 9
