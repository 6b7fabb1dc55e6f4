"""``manage.py rate_limits``."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View

from redis_atomic.decorators import rate_limit
from redis_atomic.ratelimit.rate_limiter import RateLimiter
from redis_atomic.testing.limits import exhaust, reset_rate_limits


@rate_limit("login")
def login(request):
    return HttpResponse()


@method_decorator(rate_limit("login"), name="post")
class Register(View):
    def post(self, request):
        return HttpResponse()


@rate_limit("5/m")
def inline(request):
    return HttpResponse()


def tenant_of(request):
    return "a tenant"


urlpatterns = [
    path("inline", inline),
    path("accounts/", include([path("login/", login), re_path("^new$", Register.as_view())])),
]

LIMITS = {
    "login": {"RATE": ["5/m", "50/h"], "KEY": "ip", "URL_NAMES": ["login"], "METHODS": ["POST"]},
    "pair": {"RATE": "3/m", "KEY": ["ip", "post:name"], "PATH": "/pair/"},
    "tenant": {"RATE": "9/s", "KEY": "tests.test_rate_limits_command.tenant_of", "SHADOW": True},
    "burst": {"RATE": "9/s", "ALGORITHM": "token_bucket", "BURST": 20, "KEY": "header:X-Key"},
    "dynamic": {"RATE": "tests.test_rate_limits_command.tenant_of", "PATH_REGEX": "^/d"},
}


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ROOT_URLCONF = __name__
    settings.REDIS_ATOMIC = {"RATE_LIMITS": LIMITS, "RATE_LIMIT_TIMEOUT": 20}
    with reset_rate_limits():
        yield


def rate_limits(*args):
    out = StringIO()
    call_command("rate_limits", *args, stdout=out, no_color=True)
    return out.getvalue()


def test_the_limits_are_listed_with_what_they_apply_to():
    assert rate_limits().splitlines() == [
        "login: 5/m, 50/h by ip for POST",
        "    middleware: URL_NAMES login",
        "    /accounts/login/ (tests.test_rate_limits_command.login)",
        "    /accounts/new$ (tests.test_rate_limits_command.Register)",
        "pair: 3/m by ip and post:name",
        "    middleware: PATH /pair/",
        "tenant: 9/s by tests.test_rate_limits_command.tenant_of (shadow: refuses nothing)",
        "burst: 9/s by header:X-Key (token bucket)",
        "dynamic: tests.test_rate_limits_command.tenant_of by ip",
        "    middleware: PATH_REGEX ^/d",
    ]


def test_one_limit_is_listed_by_its_name():
    assert rate_limits("pair") == "pair: 3/m by ip and post:name\n    middleware: PATH /pair/\n"


def test_views_of_rest_framework_are_found_by_their_throttles(settings):
    pytest.importorskip("rest_framework", exc_type=ImportError)
    settings.ROOT_URLCONF = "tests.test_drf"
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"uploads": {"RATE": "5/m"}}}
    assert "    /scoped (tests.test_drf.Scoped)" in rate_limits().splitlines()


def test_decorated_actions_of_a_view_set_are_found(settings):
    pytest.importorskip("rest_framework", exc_type=ImportError)
    settings.ROOT_URLCONF = "tests.test_drf"
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"crates": {"RATE": "5/m"}}}
    assert "    /crates/<pk> (tests.test_drf.Crates)" in rate_limits("crates").splitlines()


def test_nothing_to_list_is_said(settings):
    settings.REDIS_ATOMIC = {}
    assert "names no limit" in rate_limits()


def test_an_identity_is_shown_with_what_it_has_left():
    RateLimiter("login").hit("ip:203.0.113.5", cost=2)
    first, second = rate_limits("login", "ip:203.0.113.5").splitlines()
    assert first.startswith("login-m: 3 of 5 left, all in ")
    assert second.startswith("login-h: 48 of 50 left, all in ")
    assert rate_limits("login", "ip:203.0.113.6").startswith("login-m: 5 of 5 left\n")


def test_a_refused_identity_is_shown_with_the_time_until_its_next_request():
    exhaust("login", "ip:203.0.113.5")
    assert rate_limits("login", "ip:203.0.113.5").startswith("login-m: 0 of 5 left, the next in ")


def test_showing_counts_nothing():
    for _ in range(10):
        rate_limits("login", "ip:203.0.113.5")
    assert RateLimiter("login").peek("ip:203.0.113.5").remaining == 5


def test_reset_forgets_one_identity_and_no_other():
    exhaust("login", "ip:203.0.113.5")
    exhaust("login", "ip:203.0.113.6")
    assert rate_limits("login", "ip:203.0.113.5", "--reset") == (
        "login-m: 5 of 5 left\nlogin-h: 50 of 50 left\n"
    )
    assert RateLimiter("login").hit("ip:203.0.113.5")
    assert not RateLimiter("login").hit("ip:203.0.113.6")


def test_several_words_are_the_identity_of_a_tuple_key():
    exhaust("pair", "ip:203.0.113.5", "post:name:ann")
    rate_limits("pair", "ip:203.0.113.5", "post:name:ann", "--reset")
    assert RateLimiter("pair").hit(("ip:203.0.113.5", "post:name:ann"))


def test_an_address_stands_for_its_network():
    exhaust("login", "ip:2001:db8:1:2::/64")
    assert "0 of 5 left" in rate_limits("login", "ip:2001:db8:1:2:3:4:5:6")
    assert "0 of 5 left" in rate_limits("login", "ip:2001:db8:1:2::/64")


def test_a_value_is_counted_as_a_request_has_it():
    RateLimiter("pair").hit(("ip:192.0.2.1", "post:name:ann"))
    assert "2 of 3 left" in rate_limits("pair", "ip:192.0.2.1", "post:name: Ann")


def test_what_has_no_value_is_found_by_its_address():
    exhaust("burst", "ip:203.0.113.5")
    assert "0 of 20 left" in rate_limits("burst", "ip:203.0.113.5")
    assert "20 of 20 left" in rate_limits("burst", "header:X-Key:abc")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["logn"], "Did you mean 'login'"),
        (["login", "203.0.113.5"], "'login' counts by ip: write ip:…"),
        (["login", "user:7"], "'login' counts by ip: write ip:…"),
        (["pair", "ip:203.0.113.5"], "write ip:… post:name:…"),
        (["burst", "header:X-Other:abc"], "write header:X-Key:…"),
        (["dynamic", "ip:203.0.113.5"], "takes a request"),
        (["--reset"], "needs a limit and an identity"),
        (["login", "--reset"], "needs a limit and an identity"),
    ],
)
def test_a_mistake_is_an_error_that_says_what_to_type(args, message):
    with pytest.raises(CommandError, match=message):
        rate_limits(*args)


def test_a_server_that_does_not_answer_is_an_error(settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "unix:///nowhere/at/all?db=0",
        }
    }
    with pytest.raises(CommandError, match="does not answer"):
        rate_limits("login", "ip:203.0.113.5")
    with pytest.raises(CommandError, match="could not be reached"):
        rate_limits("login", "ip:203.0.113.5", "--reset")
