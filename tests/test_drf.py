"""The throttles of redis_atomic.contrib.drf, in the real framework."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import method_decorator

from redis_atomic.decorators import rate_limit
from redis_atomic.ratelimit.limit import Limit

pytest.importorskip("rest_framework", exc_type=ImportError)

from rest_framework import throttling as frameworks_own
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, throttle_classes
from rest_framework.exceptions import ParseError
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from redis_atomic.contrib.drf import AnonRateThrottle, RateLimitThrottle, UserRateThrottle
from redis_atomic.contrib.throttling import limits_of
from redis_atomic.ratelimit.charging import _plan
from redis_atomic.ratelimit.rate_limiter import RateLimiter
from redis_atomic.testing.limits import reset_rate_limits
from tests.servers import ON_CLUSTER, commands_sent, forget_commands


class ByHeader(BaseAuthentication):
    """Whoever names a user is that user."""

    def authenticate(self, request):
        pk = request.META.get("HTTP_X_USER")
        return (SimpleNamespace(pk=pk, is_authenticated=True), None) if pk else None


class Small(RateLimitThrottle):
    rate = "2/m"


class Large(RateLimitThrottle):
    rate = Limit("50/m", key="ip", name="large")


class Twenty(RateLimitThrottle):
    rate = "20/m"


class View(APIView):
    authentication_classes = (ByHeader,)

    def get(self, request, **kwargs):
        return Response({"who": getattr(request.user, "pk", None)})

    post = get


class SmallAndLarge(View):
    throttle_classes = (Large, Small)


class Scoped(View):
    throttle_classes = (RateLimitThrottle,)
    throttle_scope = "uploads"


class Unscoped(View):
    throttle_classes = (RateLimitThrottle,)


class AnonAndUser(View):
    throttle_classes = (AnonRateThrottle, UserRateThrottle)


class TwentyAMinute(View):
    throttle_classes = (Twenty,)


class OfTheFramework(View):
    throttle_classes = (type("Own", (frameworks_own.UserRateThrottle,), {"rate": "3/m"}), Large)


class Failures(RateLimitThrottle):
    rate = Limit("3/m", key="ip", count_when=lambda response: response.status_code >= 400)


class Login(View):
    throttle_classes = (Failures,)

    def post(self, request):
        if request.data.get("password") != "right":
            raise ParseError("wrong")
        return Response({})


class TooDear(View):
    throttle_classes = (
        type("Dear", (RateLimitThrottle,), {"rate": Limit("5/m", cost=lambda request: 9)}),
    )


class ByTenant(View):
    class Throttle(RateLimitThrottle):
        rate = "1/m"
        key = staticmethod(lambda request: request.query_params["tenant"])

    throttle_classes = (Throttle,)


class Form(View):
    class Throttle(RateLimitThrottle):
        rate = Limit("1/m", key="post:name", missing="skip")

    throttle_classes = (Throttle,)


class Boxes(ViewSet):
    throttle_classes = (Small,)

    def list(self, request):
        return Response([])

    def retrieve(self, request, pk):
        return Response(pk)


class Crates(ViewSet):
    @method_decorator(rate_limit("crates"))
    def retrieve(self, request, pk):
        return Response(pk)


@api_view()
@throttle_classes([Small])
def one(request):
    return Response({})


@api_view()
@throttle_classes([Small])
def other(request):
    return Response({})


@api_view()
def unthrottled(request):
    return Response({})


@api_view()
def unthrottled_too(request):
    return Response({})


urlpatterns = [
    path("both", SmallAndLarge.as_view()),
    path("scoped", Scoped.as_view()),
    path("unscoped", Unscoped.as_view()),
    path("anon-and-user", AnonAndUser.as_view()),
    path("twenty", TwentyAMinute.as_view()),
    path("of-the-framework", OfTheFramework.as_view()),
    path("login", Login.as_view()),
    path("dear", TooDear.as_view()),
    path("by-tenant", ByTenant.as_view()),
    path("form", Form.as_view()),
    path("boxes", Boxes.as_view({"get": "list"})),
    path("crates/<pk>", Crates.as_view({"get": "retrieve"})),
    path("boxes/<pk>", Boxes.as_view({"get": "retrieve"})),
    path("one", one),
    path("other", other),
]


@pytest.fixture(autouse=True)
def _limits():
    with reset_rate_limits():
        yield


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ROOT_URLCONF = __name__
    settings.REDIS_ATOMIC = {"RATE_LIMIT_TIMEOUT": 20}
    settings.REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_RATES": {"anon": "2/d", "user": "3/d", "uploads": "2/hour", "off": None},
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    }


@pytest.fixture
def client():
    return Client(raise_request_exception=True)


def statuses(client, url, times, **extra):
    return [client.get(url, **extra).status_code for _ in range(times)]


def test_a_refused_request_is_charged_to_none_of_the_views_throttles(client):
    assert statuses(client, "/both", 50) == [200, 200] + [429] * 48
    assert RateLimiter(Large.rate).peek("ip:127.0.0.1").remaining == 48


def test_all_throttles_of_a_view_are_one_call(client):
    client.get("/both")
    forget_commands()
    client.get("/both")
    identities = 2
    assert commands_sent()["evalsha"] == (identities if ON_CLUSTER else 1)


def test_rules_of_a_single_request_are_not_remembered(client):
    """They know the view, and it knows the request."""
    before = _plan.cache_info()
    assert client.get("/twenty").headers["RateLimit"]
    assert _plan.cache_info() == before


def test_sixteen_threads_get_exactly_the_limit():
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: Client().get("/twenty").status_code, range(160)))
    assert found.count(200) == 20
    assert found.count(429) == 140


def test_the_frameworks_rates_and_the_views_scope_are_accepted(client):
    assert statuses(client, "/scoped", 3) == [200, 200, 429]
    response = client.get("/scoped")
    assert response["RateLimit-Policy"] == '"uploads";q=2;w=3600'


def test_anonymous_requests_are_counted_by_address_and_users_by_themselves(client):
    # The tighter of "anon", 2/d, and "user", 3/d, which counts addresses, too.
    assert statuses(client, "/anon-and-user", 3) == [200, 200, 429]
    assert statuses(client, "/anon-and-user", 4, HTTP_X_USER="7") == [200, 200, 200, 429]
    assert statuses(client, "/anon-and-user", 1, HTTP_X_USER="8") == [200]


def test_a_view_without_a_scope_is_not_limited(client):
    response = client.get("/unscoped")
    assert response.status_code == 200
    assert "RateLimit" not in response


def test_a_scope_whose_rate_is_none_is_not_limited(client, monkeypatch):
    monkeypatch.setattr(Scoped, "throttle_scope", "off")
    assert statuses(client, "/scoped", 5) == [200] * 5


def test_a_scope_may_name_a_limit_of_ours(client, settings, monkeypatch):
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"export": {"RATE": ["1/m", "9/d"], "KEY": "ip"}}}
    monkeypatch.setattr(Scoped, "throttle_scope", "export")
    assert statuses(client, "/scoped", 2) == [200, 429]
    assert RateLimiter("export").peek("ip:127.0.0.1").remaining == 0


def test_our_limit_is_taken_where_both_settings_have_the_name(client, settings):
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"uploads": {"RATE": "1/m"}}}
    assert statuses(client, "/scoped", 2) == [200, 429]


def test_a_scope_without_a_rate_is_an_error_that_says_where_to_add_it(client, monkeypatch):
    monkeypatch.setattr(Scoped, "throttle_scope", "unknown")
    with pytest.raises(ImproperlyConfigured, match="'unknown' has no rate"):
        client.get("/scoped")


def test_a_bad_rate_is_an_error_that_names_the_setting(client, settings):
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"uploads": "10/month"}}
    with pytest.raises(
        ImproperlyConfigured, match=r"DEFAULT_THROTTLE_RATES'\]\['uploads'\]: '10/m"
    ):
        client.get("/scoped")


def test_the_wait_is_the_time_after_which_all_limits_let_it_pass(client):
    class Longer(RateLimitThrottle):
        rate = "2/h"

    class Both(View):
        throttle_classes = (Small, Longer)

    view = Both.as_view()
    requests = APIRequestFactory()
    for _ in range(2):
        view(requests.get("/"))
    response = view(requests.get("/"))
    assert response.status_code == 429
    assert 3590 <= int(response["Retry-After"]) <= 3600
    assert f"{response['Retry-After']} seconds" in response.data["detail"]
    assert response["Cache-Control"] == "no-store"


def test_a_cost_that_never_fits_has_no_time_to_retry(client):
    response = client.get("/dear")
    assert response.status_code == 429
    assert "Retry-After" not in response


def test_the_header_fields_are_on_every_response(client):
    allowed = client.get("/both")
    assert allowed["RateLimit"].startswith('"large";r=49;t=')
    refused = [client.get("/both") for _ in range(2)][-1]
    assert refused.status_code == 429
    assert '"large";r=48' in refused["RateLimit"]
    assert refused["RateLimit-Policy"].startswith('"large";q=50;w=60, "user-per-m";q=2;w=60')


def test_the_decision_is_on_both_requests():
    seen = []

    class Looking(View):
        throttle_classes = (Small,)

        def get(self, request):
            seen.extend([request.rate_limit, request._request.rate_limit])
            return Response({})

    Looking.as_view()(APIRequestFactory().get("/"))
    assert seen[0].remaining == 1
    assert seen[0] is seen[1]


def test_only_failures_count_where_the_limit_says_so(client):
    def login(password):
        return client.post("/login", {"password": password}).status_code

    assert [login("right") for _ in range(10)] == [200] * 10
    assert [login("wrong") for _ in range(4)] == [400, 400, 400, 429]
    assert login("right") == 429


def test_throttles_of_the_framework_work_beside_ours(client):
    from django.core.cache import cache

    cache.clear()
    assert statuses(client, "/of-the-framework", 5) == [200, 200, 200, 429, 429]


def test_a_callable_key_is_given_the_frameworks_request(client):
    assert statuses(client, "/by-tenant?tenant=a", 2) == [200, 429]
    assert statuses(client, "/by-tenant?tenant=b", 1) == [200]


def test_a_form_field_is_found_and_left_for_the_view(client):
    form = "application/x-www-form-urlencoded"
    for content_type in (form, f"{form}; charset=utf-8"):
        who = f"name={len(content_type)}"
        found = [client.post("/form", who, content_type=content_type).status_code for _ in range(2)]
        assert found == [200, 429]


def test_views_without_a_scope_count_for_themselves(client):
    assert statuses(client, "/one", 3) == [200, 200, 429]
    assert statuses(client, "/other", 3) == [200, 200, 429]
    assert statuses(client, "/boxes", 1) + statuses(client, "/boxes/1", 2) == [200, 200, 429]


def test_decorated_function_views_count_for_themselves():
    views = [rate_limit("1/m")(view) for view in (unthrottled, unthrottled_too)]
    request = APIRequestFactory().get("/")
    assert [view(request).status_code for view in views] == [200, 200]
    assert [view(request).status_code for view in views] == [429, 429]


def test_a_view_that_asks_twice_is_charged_once():
    class Twice(View):
        throttle_classes = (Small,)

        def get(self, request):
            self.check_throttles(request)
            return Response(request.rate_limit.remaining)

    assert Twice.as_view()(APIRequestFactory().get("/")).data == 1


def test_settings_changed_in_a_test_take_effect_at_once(client, settings):
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"uploads": "1/s"}}
    assert client.get("/scoped")["RateLimit-Policy"] == '"uploads";q=1;w=1'


def test_nothing_is_limited_where_limits_are_switched_off(client, settings):
    settings.REDIS_ATOMIC = {"RATE_LIMIT_ENABLED": False}
    assert statuses(client, "/both", 5) == [200] * 5


async def test_the_views_are_limited_under_asgi_too():
    client = AsyncClient()
    responses = await asyncio.gather(*[client.get("/twenty") for _ in range(30)])
    assert [response.status_code for response in responses].count(200) == 20


async def test_async_views_of_adrf_are_limited():
    adrf = pytest.importorskip("adrf.views", exc_type=ImportError)

    class Awaited(adrf.APIView):
        throttle_classes = (Failures, Small)

        async def get(self, request):
            return Response({})

    request = APIRequestFactory().get("/")
    responses = [await Awaited.as_view()(request) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert RateLimiter(Failures.rate).peek("ip:127.0.0.1").remaining == 3


def test_what_a_rate_may_be(settings):
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"export": {"RATE": ["1/m", "9/d"]}}}
    own = Limit("1/s", key="user")
    limits = limits_of(["5/m", "export", own], key="user", scope="a scope")
    assert [str(limit.rate) for limit in limits] == ["5/m", "1/m", "9/d", "1/s"]
    assert [limit.key for limit in limits] == ["user", "ip", "ip", "user"]
    assert limits[0].scope == "a scope"
    assert limits[0].name is None  # it can't travel in a header
    with pytest.raises(TypeError):
        limits_of(5)
