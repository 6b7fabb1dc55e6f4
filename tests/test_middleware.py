"""RateLimitMiddleware, sync and async, through Django's own handlers."""

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory

from redis_atomic.middleware import RateLimitMiddleware
from tests.servers import ON_CLUSTER, commands_sent, forget_commands
from tests.test_decorators import HOSTILE, PATIENT

MIDDLEWARE = "redis_atomic.middleware.RateLimitMiddleware"


@pytest.fixture
def site(settings):
    """Set RATE_LIMITS and return a client."""

    def site(limits, *, client=Client, **more):
        settings.ROOT_URLCONF = "tests.urls_limited"
        settings.MIDDLEWARE = [MIDDLEWARE]
        settings.REDIS_ATOMIC = PATIENT | {"RATE_LIMITS": limits} | more
        return client(raise_request_exception=False)

    return site


def codes(client, *paths, **extra):
    return [client.get(path, **extra).status_code for path in paths]


# Which requests


def test_a_path_is_a_prefix_of_whole_segments(site):
    client = site({"api": {"RATE": "2/m", "PATH": "/api/"}})
    assert codes(client, "/apiary/", "/apiary/", "/apiary/", "/plain/") == [200] * 4
    assert codes(client, "/api/", "/api/users/1/", "/api/users/2/") == [200, 200, 429]
    assert codes(client, "/api", "/api/nowhere/", "/apiary/") == [429, 429, 200]


def test_a_path_may_be_written_without_its_last_slash(site):
    client = site({"api": {"RATE": "1/m", "PATH": "/api"}})
    assert codes(client, "/apiary/", "/api/", "/api/users/1/") == [200, 200, 429]


def test_the_root_is_everything(site):
    client = site({"site": {"RATE": "2/m", "PATH": "/"}})
    assert codes(client, "/plain/", "/nowhere/", "/api/") == [200, 404, 429]


def test_the_root_is_what_has_no_slash_too(site):
    client = site({"site": {"RATE": "1/m", "PATH": "/"}})
    for code in (404, 429):
        assert client.generic("OPTIONS", "/", PATH_INFO="*").status_code == code


def test_limits_that_are_no_dictionary_stop_the_start(site):
    with pytest.raises(ImproperlyConfigured, match="dictionary of named limits"):
        codes(site(["5/m"]), "/")


def test_a_regex_is_searched_in_the_path(site):
    client = site({"users": {"RATE": "1/m", "PATH_REGEX": r"^/api/users/\d+/$"}})
    assert codes(client, "/api/", "/api/", "/api/users/1/", "/api/users/2/") == [200, 200, 200, 429]


def test_url_names_have_their_namespaces(site):
    client = site({"items": {"RATE": "1/m", "URL_NAMES": ["shop:item", "shop:aitem"]}})
    assert codes(client, "/plain/", "/plain/", "/nowhere/") == [200, 200, 404]
    assert codes(client, "/shop/item/1/", "/shop/aitem/2/") == [200, 429]


def test_several_places_must_all_fit(site):
    client = site({"items": {"RATE": "1/m", "PATH": "/shop/", "URL_NAMES": ["shop:item", "plain"]}})
    assert codes(client, "/plain/", "/plain/", "/shop/aitem/1/") == [200] * 3
    assert codes(client, "/shop/item/1/", "/shop/item/1/") == [200, 429]


def test_methods_narrow_a_rule(site):
    client = site({"api": {"RATE": "1/m", "PATH": "/", "METHODS": ["POST"]}})
    assert codes(client, "/plain/", "/plain/") == [200, 200]
    assert [client.post("/plain/").status_code for _ in range(2)] == [200, 429]


def test_methods_narrow_a_named_limit_in_a_decorator_too(site):
    client = site({"named": {"RATE": "1/m", "METHODS": ["get"]}})
    assert [client.post("/named/").status_code for _ in range(2)] == [200, 200]
    assert codes(client, "/named/", "/named/") == [200, 429]
    assert client.head("/named/").status_code == 429


def test_a_limit_without_place_is_only_a_name(site):
    client = site({"named": {"RATE": "1/m"}})
    assert codes(client, "/plain/", "/plain/") == [200, 200]
    assert codes(client, "/named/", "/named/") == [200, 429]


def test_an_argument_of_the_url_is_known_before_the_view(site):
    client = site({"item": {"RATE": "1/m", "KEY": "path:pk", "PATH": "/shop/"}})
    paths = ["/shop/item/1/", "/shop/item/2/", "/shop/aitem/1/", "/shop/item/2/"]
    assert codes(client, *paths) == [200, 200, 429, 429]


def tenant(request):
    return request.GET.get("tenant")


def price(request):
    return int(request.GET.get("price", 1))


def is_staff(request):
    return "staff" in request.GET


async def failed(response):
    return response.status_code >= 400


def test_callables_are_dotted_paths(site):
    here = "tests.test_middleware"
    client = site(
        {
            "api": {
                "RATE": "5/m",
                "PATH": "/",
                "KEY": f"{here}.tenant",
                "COST": f"{here}.price",
                "EXEMPT": f"{here}.is_staff",
                "COUNT_WHEN": f"{here}.failed",
            }
        }
    )
    assert codes(client, *["/plain/?tenant=a&price=5"] * 3) == [200] * 3
    assert codes(client, "/no/?tenant=a&price=5", "/no/?tenant=a") == [404, 429]
    assert codes(client, "/no/?tenant=b", "/no/?tenant=a&staff") == [404, 404]


# Several rules


def test_all_rules_that_apply_make_one_call(site):
    client = site(
        {
            "site": {"RATE": "9/m", "PATH": "/"},
            "api": {"RATE": ["5/m", "50/h"], "KEY": "header:X-Key", "PATH": "/api/"},
        }
    )
    client.get("/api/")
    forget_commands()
    response = client.get("/api/", headers={"X-Key": "a"})
    identities = 2
    assert commands_sent()["evalsha"] == (identities if ON_CLUSTER else 1)
    assert response["RateLimit-Policy"] == (
        '"site";q=9;w=60, "api-m";q=5;w=60, "api-h";q=50;w=3600'
    )
    assert [state.limit for state in response.wsgi_request.rate_limit.limits] == [9, 5, 50]


def test_a_refusal_by_one_rule_charges_none(site):
    limits = {"site": {"RATE": "9/m", "PATH": "/"}, "api": {"RATE": "1/m", "PATH": "/api/"}}
    client = site(limits)
    assert codes(client, *["/api/"] * 5) == [200, 429, 429, 429, 429]
    assert client.get("/plain/")["RateLimit"].startswith('"site";r=7;')


@pytest.mark.parametrize("paths", [["/named/", "/anamed/", "/plain/"], ["/failing/"] * 3])
def test_middleware_and_decorators_charge_a_limit_once(site, paths):
    client = site({"named": {"RATE": "3/m", "PATH": "/"}})
    assert 429 not in codes(client, *paths)
    response = client.get(paths[0])
    assert response.status_code == 429


def test_fields_of_both_are_told_once(site):
    client = site(
        {"site": {"RATE": "9/m", "PATH": "/"}, "named": {"RATE": "3/m", "PATH": "/named/"}}
    )
    response = client.get("/inline/")
    assert response["RateLimit-Policy"] == '"site";q=9;w=60, "ip-per-m";q=3;w=60'
    assert client.get("/named/")["RateLimit-Policy"] == '"site";q=9;w=60, "named";q=3;w=60'


def test_a_refusal_by_a_decorator_tells_of_both(site):
    client = site({"site": {"RATE": "9/m", "PATH": "/"}})
    codes(client, *["/inline/"] * 3)
    response = client.get("/inline/")
    assert response.status_code == 429
    assert response["RateLimit"].startswith('"site";r=5, "ip-per-m";r=0;t=')
    assert not response.wsgi_request.rate_limit
    assert response.wsgi_request.rate_limit.limit == 3


# What comes of it


def test_the_fields_are_told_when_the_view_raises(site):
    client = site({"site": {"RATE": "1/m", "PATH": "/"}, "named": {"RATE": "3/m"}})
    response = client.get("/failing/")
    assert response.status_code == 500
    assert response["RateLimit"].startswith('"site";r=0;t=')
    assert client.get("/failing/").status_code == 429


def test_a_request_without_rule_is_told_nothing(site):
    response = site({"api": {"RATE": "1/m", "PATH": "/api/"}}).get("/plain/")
    assert response.wsgi_request.rate_limit is None
    assert "RateLimit" not in response


def test_the_answer_is_429_with_all_its_fields(site):
    client = site({"api": {"RATE": "1/m", "PATH": "/api/"}})
    client.get("/api/")
    response = client.get("/api/", headers={"Accept": "application/json"})
    assert response.status_code == 429
    assert 1 <= int(response["Retry-After"]) <= 60
    assert response["Cache-Control"] == "no-store"
    assert response["RateLimit"] == f'"api";r=0;t={response["Retry-After"]}'
    assert response.json()["violated-policies"] == ["api"]


def test_limits_are_switched_off_by_a_setting(site):
    client = site({"api": {"RATE": "1/m", "PATH": "/"}}, RATE_LIMIT_ENABLED=False)
    assert codes(client, "/api/", "/api/", "/api/") == [200] * 3


def test_rules_may_change_while_the_site_runs(site, settings):
    client = site({"api": {"RATE": "1/m", "PATH": "/"}})
    assert codes(client, "/api/", "/api/") == [200, 429]
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"api": {"RATE": "3/m", "PATH": "/"}}}
    assert codes(client, "/api/", "/api/", "/api/") == [200, 200, 429]


# Async


async def test_async_requests_are_limited_by_the_same_count(site):
    limits = {"site": {"RATE": "4/m", "PATH": "/"}, "named": {"RATE": "9/m"}}
    client = site(limits, client=AsyncClient)
    paths = ["/aplain/", "/plain/", "/anamed/", "/named/", "/aplain/"]
    assert [(await client.get(path)).status_code for path in paths] == [200] * 4 + [429]


async def test_async_failures_alone_count(site):
    limits = {"site": {"RATE": "1/m", "PATH": "/", "COUNT_WHEN": failed}}
    client = site(limits, client=AsyncClient)
    paths = ["/aplain/", "/plain/", "/nowhere/", "/aplain/"]
    assert [(await client.get(path)).status_code for path in paths] == [200, 200, 404, 429]


async def test_an_async_view_that_raises_is_djangos_to_answer(site):
    client = site({"named": {"RATE": "1/m", "PATH": "/"}}, client=AsyncClient)
    assert [(await client.get("/failing/")).status_code for _ in range(2)] == [500, 429]


def test_one_class_is_native_in_both(site):
    site({})

    async def aview(request):
        return HttpResponse("a")

    def view(request):
        return HttpResponse("s")

    assert iscoroutinefunction(RateLimitMiddleware(aview))
    assert not iscoroutinefunction(RateLimitMiddleware(view))
    assert RateLimitMiddleware(view)(RequestFactory().get("/")).content == b"s"


async def test_async_needs_no_thread(site, monkeypatch):
    """Nothing of ours goes through a thread pool."""

    async def view(request):
        return HttpResponse("a")

    def thread(*args, **kwargs):
        raise AssertionError("a thread was asked for")

    site({"site": {"RATE": "1/m", "PATH": "/"}})
    monkeypatch.setattr("asgiref.sync.SyncToAsync.__call__", thread)
    middleware = RateLimitMiddleware(view)
    assert [(await middleware(AsyncRequestFactory().get("/"))).status_code for _ in range(2)] == [
        200,
        429,
    ]


# With Django's own middleware


@pytest.fixture
def logged_in_site(site, settings):
    def logged_in_site(client):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
        limits = {"user": {"RATE": "2/m", "KEY": "user", "PATH": "/"}}
        made = site(limits, client=client)
        settings.MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            MIDDLEWARE,
        ]
        return made

    return logged_in_site


@pytest.mark.django_db
def test_a_user_is_one_client_wherever_they_are(logged_in_site):
    client = logged_in_site(Client)
    client.force_login(User.objects.create_user("ann"))
    assert [client.get("/plain/", REMOTE_ADDR=f"192.0.2.{i}").status_code for i in range(3)] == [
        200,
        200,
        429,
    ]
    client.logout()
    assert codes(client, "/plain/") == [200]


@pytest.mark.django_db(transaction=True)
async def test_a_user_is_one_client_in_async_code(logged_in_site):
    client = logged_in_site(AsyncClient)
    await client.aforce_login(await User.objects.acreate_user("ann"))
    assert [(await client.get("/aplain/")).status_code for _ in range(3)] == [200, 200, 429]


# Hard to get around, and hard to break


@pytest.mark.parametrize("value", [*HOSTILE, "x" * 100_000, "," * 100_000])
@pytest.mark.parametrize("field", ["X-Forwarded-For", "X-Key", "Accept"])
def test_no_header_is_an_error_or_a_way_out(site, field, value):
    limits = {"site": {"RATE": "2/m", "PATH": "/"}, "key": {"RATE": "9/m", "KEY": "header:X-Key"}}
    limits["key"]["PATH"] = "/"
    client = site(limits, TRUSTED_PROXIES=["10.0.0.0/8"])
    assert codes(client, *["/plain/"] * 3, headers={field: value}) == [200, 200, 429]


def test_every_path_of_a_rule_is_one_count(site):
    client = site({"api": {"RATE": "5/m", "PATH": "/api/"}})
    assert codes(client, *[f"/api/users/{i}/" for i in range(20)]).count(200) == 5


# Mistakes


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"RATE": "5/month"}, "5/month"),
        ({"PATH": "/"}, "RATE"),
        ({"RATE": "5/m", "PATHS": "/"}, "PATHS"),
        ({"RATE": "5/m", "PATH": "api/"}, "slash"),
        ({"RATE": "5/m", "PATH": ["/api/"]}, "slash"),
        ({"RATE": "5/m", "PATH_REGEX": "("}, "unterminated|subpattern"),
        ({"RATE": "5/m", "URL_NAMES": "login"}, r"\['login'\]"),
        ({"RATE": "5/m", "PATH": "/", "METHODS": "POST"}, r"\['POST'\]"),
        ({"RATE": "5/m", "PATH": "/", "METHODS": []}, "methods is empty"),
        ({"RATE": "5/m", "KEY": "session"}, "session"),
        ({"RATE": "5/m", "KEY": "header:X Y.z"}, "header:X Y.z"),
        ({"RATE": "5/m", "KEY": "nowhere.at.all"}, "nowhere"),
    ],
)
def test_a_bad_entry_stops_the_start_and_is_named(site, entry, told):
    with pytest.raises(ImproperlyConfigured, match=rf"RATE_LIMITS'\]\['bad'\].*({told})"):
        site({"bad": entry}).get("/plain/")


@pytest.mark.parametrize("name", ["", "9", "a b", 'a"', "a\r\nb", "é", "a" * 65, "a;q=9"])
def test_a_name_that_cannot_travel_in_a_header_stops_the_start(site, name):
    with pytest.raises(ImproperlyConfigured, match="name"):
        site({name: {"RATE": "5/m", "PATH": "/"}}).get("/plain/")
