"""The throttle and the decorator of redis_atomic.contrib.ninja, in the real framework."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.rate_limiter import RateLimiter
from redis_atomic.testing.limits import reset_rate_limits

pytest.importorskip("ninja", exc_type=ImportError)

from ninja import NinjaAPI, Router
from ninja.security import APIKeyHeader
from ninja.testing import TestClient

from redis_atomic.contrib.ninja import RateLimitThrottle, auth, rate_limit


class Key(APIKeyHeader):
    param_name = "X-Key"

    def authenticate(self, request, key):
        return key


api = NinjaAPI(throttle=RateLimitThrottle("2/m", key=auth), urls_namespace="limited")
large = Limit("50/m", name="large")
small = Limit("2/m", name="small")


@api.get("/of-the-api", auth=Key())
def of_the_api(request):
    return {}


@api.get("/one-throttle", throttle=RateLimitThrottle(large, small))
def one_throttle(request):
    return {}


@api.get("/two-throttles", throttle=[RateLimitThrottle(large), RateLimitThrottle(small)])
def two_throttles(request):
    return {}


@api.get("/refused-first", throttle=[RateLimitThrottle(small), RateLimitThrottle(large)])
def refused_first(request):
    return {}


@api.get("/awaited", throttle=RateLimitThrottle("20/m"))
async def awaited(request):
    return {}


@api.get("/awaited-user", throttle=RateLimitThrottle("20/m", key="user"))
async def awaited_user(request):
    return {}


@api.get("/never", throttle=RateLimitThrottle(Limit("5/m", cost=lambda request: 9)))
def never(request):
    return {}


@api.get("/twenty", throttle=RateLimitThrottle("20/m"))
def twenty(request):
    return {}


@api.post("/twenty", throttle=RateLimitThrottle("20/m"))
def post_twenty(request):
    return {}


@api.get("/items/{item}", throttle=RateLimitThrottle("1/m", key="path:item"))
def items(request, item: str):
    return {}


@api.get("/exempt", throttle=RateLimitThrottle("1/m", exempt=["127.0.0.0/8"]))
def exempt(request):
    return {}


@api.get("/named", throttle=RateLimitThrottle("export"))
def named(request):
    return {}


@api.get("/decorated", throttle=[])
@rate_limit("2/m")
def decorated(request):
    return {}


@rate_limit("2/m")
@api.get("/decorated-above", throttle=[])
def decorated_above(request):
    return {}


@api.get("/awaited-decorated", throttle=[])
@rate_limit("20/m")
async def awaited_decorated(request):
    return {}


@api.post("/login", throttle=[])
@rate_limit("3/m", count_when=lambda response: response.status_code >= 400)
async def login(request, password: str):
    return api.create_response(request, {}, status=200 if password == "right" else 400)


router = Router()


@router.get("/routed", throttle=[])
@rate_limit("1/m")
def routed(request):
    return {}


api.add_router("/router", router)
urlpatterns = [path("", api.urls), path("plain", lambda request: HttpResponse())]


@pytest.fixture(autouse=True)
def _limits():
    with reset_rate_limits():
        yield


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ROOT_URLCONF = __name__
    settings.REDIS_ATOMIC = {"RATE_LIMIT_TIMEOUT": 20}
    settings.MIDDLEWARE = ["redis_atomic.middleware.RateLimitMiddleware"]


def statuses(client, url, times, **extra):
    return [client.get(url, **extra).status_code for _ in range(times)]


def remaining(limit):
    return RateLimiter(limit).peek("ip:127.0.0.1").remaining


def test_a_throttle_of_the_api_counts_by_what_authentication_found(client):
    assert statuses(client, "/of-the-api", 3, HTTP_X_KEY="a") == [200, 200, 429]
    assert statuses(client, "/of-the-api", 3, HTTP_X_KEY="b") == [200, 200, 429]
    assert statuses(client, "/of-the-api", 1) == [401]


def test_a_refused_request_is_charged_to_none_of_a_throttles_limits(client):
    assert statuses(client, "/one-throttle", 50) == [200, 200] + [429] * 48
    assert remaining(large) == 48


def test_what_earlier_throttles_charged_for_a_refused_request_is_given_back(client):
    assert statuses(client, "/two-throttles", 50) == [200, 200] + [429] * 48
    assert remaining(large) == 48


def test_later_throttles_of_a_refused_request_are_not_asked(client):
    assert statuses(client, "/refused-first", 50) == [200, 200] + [429] * 48
    assert remaining(large) == 48


def test_sixteen_threads_get_exactly_the_limit():
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: Client().get("/twenty").status_code, range(160)))
    assert found.count(200) == 20
    assert found.count(429) == 140


def test_a_refusal_tells_when_to_retry_and_a_cost_that_never_fits_does_not(client):
    response = [client.get("/one-throttle") for _ in range(3)][-1]
    assert response.status_code == 429
    # Old versions of the framework don't write the field.
    assert 50 <= int(response.get("Retry-After", 60)) <= 61
    response = client.get("/never")
    assert response.status_code == 429
    assert "Retry-After" not in response


def test_the_wait_is_that_of_the_request_just_refused():
    throttle = RateLimitThrottle("1/m", "2/h", key="header:X-Key")
    requests = [RequestFactory().get("/", HTTP_X_KEY=key) for key in "aabbb"]
    for request in requests:
        request.resolver_match = None
    assert [throttle.allow_request(request) for request in requests[:2]] == [True, False]
    assert 50 < throttle.wait() < 60.1
    RateLimiter(Limit("2/h", key="header:X-Key", scope="view:GET ")).hit("header:X-Key:b")
    assert [throttle.allow_request(request) for request in requests[2:4]] == [True, False]
    assert 3500 < throttle.wait() < 3600.1


def test_the_middleware_adds_the_header_fields_of_a_throttle(client):
    response = client.get("/one-throttle")
    assert response["RateLimit-Policy"] == '"large";q=50;w=60, "small";q=2;w=60'
    assert response.wsgi_request.rate_limit.remaining == 1


def test_each_operation_counts_for_itself(client):
    assert statuses(client, "/twenty", 21)[-1] == 429
    assert client.post("/twenty").status_code == 200


def test_a_key_may_be_an_argument_of_the_url(client):
    assert statuses(client, "/items/a", 2) == [200, 429]
    assert statuses(client, "/items/b", 1) == [200]


def test_exempt_networks_are_not_limited(client):
    assert statuses(client, "/exempt", 3) == [200, 200, 200]


def test_a_throttle_may_be_a_name_of_the_settings(client, settings):
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"export": {"RATE": ["1/m", "9/d"]}}}
    assert statuses(client, "/named", 2) == [200, 429]
    settings.REDIS_ATOMIC = {}
    with pytest.raises(ImproperlyConfigured, match="export"):
        client.get("/named")


def test_a_throttle_with_count_when_is_an_error_that_says_what_to_use(client, settings):
    with pytest.raises(ImproperlyConfigured, match=r"contrib\.ninja\.rate_limit"):
        RateLimitThrottle(Limit("5/m", count_when=bool))
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"export": {"RATE": "1/m", "COUNT_WHEN": bool}}}
    with pytest.raises(ImproperlyConfigured, match=r"contrib\.ninja\.rate_limit"):
        client.get("/named")


def test_bad_arguments_are_errors_when_the_throttle_is_made():
    with pytest.raises(TypeError, match="needs a limit"):
        RateLimitThrottle()
    with pytest.raises(ValueError, match="'10/month'"):
        RateLimitThrottle("10/month")
    with pytest.raises(ValueError, match="share one count"):
        RateLimitThrottle("5/m", "9/m")


def test_the_frameworks_own_test_client_is_limited():
    client = TestClient(router)
    assert client.get("/routed").status_code == 200
    assert client.get("/routed").status_code == 429


async def test_a_throttle_limits_an_async_operation():
    client = AsyncClient()
    responses = await asyncio.gather(*[client.get("/awaited") for _ in range(30)])
    assert [response.status_code for response in responses].count(200) == 20


@pytest.mark.django_db
async def test_a_user_that_can_not_be_loaded_is_an_error_that_says_what_to_use(settings):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sessions"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    client = AsyncClient()
    client.cookies[settings.SESSION_COOKIE_NAME] = "a" * 32
    with pytest.raises(ImproperlyConfigured, match=r"contrib\.ninja\.rate_limit"):
        await client.get("/awaited-user")


def test_decorated_operations_count_for_themselves(client):
    assert statuses(client, "/decorated", 3) == [200, 200, 429]
    assert statuses(client, "/decorated-above", 3) == [200, 200, 429]
    assert statuses(client, "/router/routed", 2) == [200, 429]


async def test_a_decorated_async_operation_awaits_and_tells_its_limit():
    client = AsyncClient()
    responses = await asyncio.gather(*[client.get("/awaited-decorated") for _ in range(30)])
    assert [response.status_code for response in responses].count(200) == 20
    assert all("RateLimit" in response for response in responses)


async def test_a_decorated_operation_may_count_only_failures():
    client = AsyncClient()

    async def attempt(password):
        return (await client.post(f"/login?password={password}")).status_code

    assert [await attempt("right") for _ in range(9)] == [200] * 9
    assert [await attempt("wrong") for _ in range(4)] == [400, 400, 400, 429]
