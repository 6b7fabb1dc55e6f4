"""@rate_limit on views of every make, against a real server."""

import asyncio
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings
from django.utils.asyncio import async_unsafe
from django.utils.decorators import method_decorator
from django.views import View

from redis_atomic.decorators import rate_limit
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.signals import rate_limited
from tests import urls_limited
from tests.servers import ON_CLUSTER, commands_sent, forget_commands

#: Time enough for a machine under load: what Redis can't answer in time is not exact.
PATIENT = {"RATE_LIMIT_TIMEOUT": 10}
NAMED = PATIENT | {"RATE_LIMITS": {"named": {"RATE": "3/m"}, "login": {"RATE": ["2/m", "5/h"]}}}


@pytest.fixture(autouse=True)
def _urls(settings):
    settings.ROOT_URLCONF = "tests.urls_limited"
    settings.REDIS_ATOMIC = NAMED


def ok(request, *args, **kwargs):
    return HttpResponse("ok")


def get(path="/", *, address="192.0.2.1", user=None, **meta):
    request = RequestFactory().get(path, REMOTE_ADDR=address, **meta)
    request.user = user or AnonymousUser()
    return request


def aget(path="/", **meta):
    return AsyncRequestFactory().get(path, **meta)


def statuses(view, count, make=get, **kwargs):
    return [view(make(**kwargs)).status_code for _ in range(count)]


# Views of every make


@pytest.mark.parametrize("path", ["inline", "named", "dispatched", "got"])
def test_a_sync_view_is_limited(path):
    client = Client()
    assert [client.get(f"/{path}/").status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("path", ["ainline", "anamed", "adispatched", "agot"])
async def test_an_async_view_is_limited(path):
    client = AsyncClient()
    assert [(await client.get(f"/{path}/")).status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("path", ["inline", "dispatched", "got"])
async def test_a_sync_view_is_limited_under_asgi(path):
    client = AsyncClient()
    assert [(await client.get(f"/{path}/")).status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("path", ["ainline", "adispatched", "agot"])
def test_an_async_view_is_limited_under_wsgi(path):
    client = Client()
    assert [client.get(f"/{path}/").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_sync_and_async_views_share_a_named_limit():
    client = Client()
    paths = ["/named/", "/anamed/", "/named/", "/anamed/", "/named/"]
    assert [client.get(path).status_code for path in paths] == [200, 200, 200, 429, 429]


def test_dispatch_limits_all_methods_and_get_limits_get():
    client = Client()
    assert [client.post("/dispatched/").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.get("/dispatched/").status_code == 429
    assert [client.get("/got/").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.post("/got/").status_code == 200


def test_a_partial_is_limited():
    view = rate_limit("1/m")(functools.partial(ok, page=1))
    assert statuses(view, 2) == [200, 429]


def test_an_async_partial_is_limited():
    async def page(request, number):
        return HttpResponse(str(number))

    view = rate_limit("1/m")(functools.partial(page, number=1))

    async def twice():
        return [(await view(aget())).status_code for _ in range(2)]

    assert asyncio.run(twice()) == [200, 429]


def test_a_view_made_from_a_class_is_limited_and_counts_by_class():
    class One(View):
        def get(self, request):
            return HttpResponse()

    class Other(One):
        pass

    one, other = rate_limit("1/m")(One.as_view()), rate_limit("1/m")(Other.as_view())
    assert statuses(one, 2) == [200, 429]
    assert statuses(other, 1) == [200]


def test_a_view_of_a_limited_class_may_be_limited_once_more():
    view = rate_limit("2/h")(urls_limited.Dispatched.as_view())
    request = get()
    assert view(request).content == b"get"
    assert [state.limit for state in request.rate_limit.limits] == [2, 3]


def test_an_inherited_view_counts_for_itself():
    class Child(urls_limited.Dispatched):
        pass

    assert statuses(urls_limited.Dispatched.as_view(), 4) == [200, 200, 200, 429]
    assert statuses(Child.as_view(), 1) == [200]


def test_the_decorated_view_keeps_its_name_and_marks():
    def view(request):
        """Says so."""

    view.csrf_exempt = True
    limited = rate_limit("1/m")(view)
    assert (limited.__name__, limited.__doc__, limited.csrf_exempt) == ("view", "Says so.", True)


def test_a_mark_between_two_decorators_is_kept():
    @rate_limit("9/h")
    @login_not_required
    @rate_limit("9/m")
    def view(request):
        return HttpResponse()

    assert view.login_required is False
    request = get()
    view(request)
    assert len(request.rate_limit.limits) == 2


# Scopes


def test_an_inline_rate_counts_by_view():
    @rate_limit("1/m")
    def one(request):
        return HttpResponse()

    @rate_limit("1/m")
    def other(request):
        return HttpResponse()

    assert statuses(one, 2) == [200, 429]
    assert statuses(other, 2) == [200, 429]


def test_a_scope_is_shared():
    one, other = (rate_limit("1/m", scope="both")(view) for view in (ok, urls_limited.plain))
    assert statuses(one, 1) + statuses(other, 1) == [200, 429]


def test_a_named_limit_counts_under_its_name():
    one, other = (rate_limit("named")(view) for view in (ok, urls_limited.plain))
    assert statuses(one, 2) + statuses(other, 2) == [200, 200, 200, 429]


def test_a_rate_for_some_methods_counts_apart_from_one_for_all():
    @rate_limit("2/m", methods=["POST"])
    @rate_limit("4/m")
    def view(request):
        return HttpResponse()

    post = lambda: RequestFactory().post("/")  # noqa: E731
    assert statuses(view, 3, post) == [200, 200, 429]
    assert statuses(view, 3, lambda: RequestFactory().get("/")) == [200, 200, 429]


def test_a_rate_for_get_is_for_head_too():
    view = rate_limit("1/m", methods=["get"])(ok)
    assert view(RequestFactory().head("/")).status_code == 200
    assert view(RequestFactory().get("/")).status_code == 429
    assert view(RequestFactory().post("/")).status_code == 200


# Several limits


def test_adjacent_decorators_make_one_call():
    @rate_limit("5/m")
    @rate_limit("50/h", key="user")
    @rate_limit("named")
    def view(request):
        return HttpResponse()

    view(get())
    forget_commands()
    request = get()
    view(request)
    identities = 2
    assert commands_sent()["evalsha"] == (identities if ON_CLUSTER else 1)
    assert [state.limit for state in request.rate_limit.limits] == [5, 50, 3]


def test_adjacent_decorators_on_a_method_make_one_call():
    @method_decorator([rate_limit("5/m"), rate_limit("50/h")], name="dispatch")
    class Page(View):
        def get(self, request):
            return HttpResponse()

    Page.as_view()(get())
    forget_commands()
    Page.as_view()(get())
    assert commands_sent()["evalsha"] == 1


def test_a_decorator_between_two_is_not_skipped():
    def loud(view):
        @functools.wraps(view)
        def inner(request):
            seen.append(request)
            return view(request)

        return inner

    seen = []
    view = rate_limit("9/m")(loud(rate_limit("9/h")(ok)))
    request = get()
    view(request)
    assert seen == [request]
    assert len(request.rate_limit.limits) == 2


def test_a_refusal_of_one_charges_none():
    @rate_limit("1/m")
    @rate_limit("9/h")
    def view(request):
        return HttpResponse()

    assert statuses(view, 5) == [200, 429, 429, 429, 429]
    request = get()
    view(request)
    assert [state.remaining for state in request.rate_limit.limits] == [0, 8]


def test_a_named_limit_is_charged_once_a_request():
    def between(view):
        return functools.wraps(view)(lambda request: view(request))

    view = rate_limit("named")(between(rate_limit("named")(rate_limit("named")(ok))))
    assert statuses(view, 4) == [200, 200, 200, 429]


@pytest.mark.parametrize("options", [{"shadow": True}, {"block": False}])
def test_a_named_limit_refuses_beneath_one_that_does_not(options):
    view = rate_limit("named", **options)(rate_limit("named")(ok))
    assert statuses(view, 5) == [200, 200, 200, 429, 429]


def test_a_named_limit_in_shadow_mode_is_charged_once_with_the_one_beneath():
    def between(view):
        return functools.wraps(view)(lambda request: view(request))

    view = rate_limit("named", shadow=True)(between(rate_limit("named")(ok)))
    assert statuses(view, 5) == [200, 200, 200, 429, 429]


def test_limits_without_a_name_are_charged_each_though_they_share_a_scope():
    def between(view):
        return functools.wraps(view)(lambda request: view(request))

    view = rate_limit("4/m", scope="x")(between(rate_limit("4/m", scope="x")(ok)))
    assert statuses(view, 3) == [200, 200, 429]


def test_all_rates_of_a_named_limit_are_charged():
    view = rate_limit("login")(ok)
    request = get()
    response = view(request)
    assert [state.remaining for state in request.rate_limit.limits] == [1, 4]
    assert response["RateLimit-Policy"] == '"login-m";q=2;w=60, "login-h";q=5;w=3600'


def test_the_decision_is_merged_from_all_that_limited_the_request():
    def between(view):
        return functools.wraps(view)(lambda request: view(request))

    request = get()
    response = rate_limit("9/m")(between(rate_limit("2/h")(ok)))(request)
    decision = request.rate_limit
    assert decision
    assert (decision.limit, decision.remaining) == (2, 1)
    assert [state.limit for state in decision.limits] == [9, 2]
    assert response["RateLimit"].count(";r=") == 2


# Options


def test_a_key_separates_clients():
    view = rate_limit("1/m", key="user")(ok)
    users = [User(pk=1), User(pk=2), None, User(pk=1), User(pk=2), None]
    codes = [view(get(user=user)).status_code for user in users]
    assert codes == [200, 200, 200, 429, 429, 429]


def test_a_key_may_be_an_argument_of_the_url():
    view = rate_limit("1/m", key="path:shop")(ok)
    codes = [view(get(), shop=shop).status_code for shop in (1, 2, 1)]
    assert codes == [200, 200, 429]


@pytest.mark.parametrize("cost", [3, lambda request: 3])
def test_a_request_may_cost_more(cost):
    view = rate_limit("7/m", cost=cost)(ok)
    assert statuses(view, 3) == [200, 200, 429]


async def test_a_cost_may_be_found_out_by_waiting():
    async def price(request):
        return 3

    async def view(request):
        return HttpResponse()

    limited = rate_limit("7/m", cost=price)(view)
    assert [(await limited(aget())).status_code for _ in range(3)] == [200, 200, 429]


def test_a_cost_above_the_limit_is_refused_without_retry_after():
    response = rate_limit("5/m", cost=6)(ok)(get())
    assert response.status_code == 429
    assert "Retry-After" not in response


def test_after_the_retry_after_told_the_request_passes():
    view = rate_limit("1/s")(ok)
    view(get())
    response = view(get())
    time.sleep(int(response["Retry-After"]))
    assert [response.status_code, view(get()).status_code] == [429, 200]


@pytest.mark.parametrize(("cost", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_cost_that_is_none_is_an_error(cost, error):
    with pytest.raises(error, match="cost"):
        rate_limit("5/m", cost=cost)
    with pytest.raises(error, match="cost"):
        rate_limit("5/m", cost=lambda request: cost)(ok)(get())


@pytest.mark.parametrize(
    "exempt",
    [["10.0.0.0/8", "2001:db8::/32"], lambda request: request.META["REMOTE_ADDR"][0] != "1"],
)
@pytest.mark.parametrize("place", ["decorator", "limit", "settings"])
def test_the_exempt_are_not_limited(exempt, place, settings):
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"named": {"RATE": "1/m", "EXEMPT": exempt}}}
    view = {
        "decorator": rate_limit("1/m", exempt=exempt),
        "limit": rate_limit(Limit("1/m", exempt=exempt)),
        "settings": rate_limit("named"),
    }[place](ok)
    assert statuses(view, 3, address="2001:db8::1") == [200, 200, 200]
    assert statuses(view, 2, address="192.0.2.1") == [200, 429]


def test_the_exempt_cannot_be_imitated():
    view = rate_limit("1/m", exempt=["10.0.0.0/8"])(ok)
    assert statuses(view, 2, HTTP_X_FORWARDED_FOR="10.0.0.1") == [200, 429]


def test_a_rate_may_depend_on_the_request():
    def rate(request):
        return None if request.user.is_staff else "2/m" if request.user.pk else "1/m"

    view = rate_limit(Limit(rate, key="user"))(ok)
    assert statuses(view, 2) == [200, 429]
    assert statuses(view, 3, user=User(pk=1)) == [200, 200, 429]
    assert statuses(view, 3, user=User(pk=2, is_staff=True)) == [200, 200, 200]


def test_only_failures_count():
    @rate_limit("2/m", count_when=lambda response: response.status_code >= 400)
    def login(request):
        return HttpResponse(status=int(request.GET["status"]))

    codes = [login(get(f"/?status={status}")).status_code for status in [200] * 5 + [403] * 3]
    assert codes == [200] * 5 + [403, 403, 429]
    assert login(get("/?status=200")).status_code == 429


def test_only_the_limits_that_say_so_give_back():
    @rate_limit("2/m", count_when=lambda response: False)
    @rate_limit("3/h")
    def view(request):
        return HttpResponse()

    assert statuses(view, 4) == [200, 200, 200, 429]


async def test_only_failures_count_in_async_code():
    async def failed(response):
        return response.status_code >= 400

    async def login(request):
        return HttpResponse(status=int(request.GET["status"]))

    limited = rate_limit("2/m", count_when=failed)(login)
    codes = [
        (await limited(aget(f"/?status={status}"))).status_code for status in [200] * 3 + [403] * 3
    ]
    assert codes == [200] * 3 + [403, 403, 429]


def test_parallel_guesses_cannot_outrun_the_count():
    """Each guess is charged before its password is looked at."""
    everyone_is_in = threading.Barrier(5, timeout=20)

    @rate_limit("5/m", count_when=lambda response: response.status_code >= 400)
    def login(request):
        everyone_is_in.wait()
        return HttpResponse(status=403)

    with ThreadPoolExecutor(25) as pool:
        codes = [
            future.result().status_code for future in [pool.submit(login, get()) for _ in range(25)]
        ]
    assert sorted(codes) == [403] * 5 + [429] * 20


async def test_concurrent_async_requests_are_counted_exactly():
    client = AsyncClient()
    responses = await asyncio.gather(*[client.get("/ainline/") for _ in range(50)])
    assert sorted(response.status_code for response in responses) == [200] * 3 + [429] * 47


def test_on_limit_answers_the_refused():
    def sorry(request, decision):
        return HttpResponse(f"{request.path} {decision.limit}", status=420)

    view = rate_limit("1/m", on_limit=sorry)(ok)
    view(get())
    response = view(get("/page"))
    assert (response.status_code, response.content) == (420, b"/page 1")
    assert response["Cache-Control"] == "no-store"
    assert int(response["Retry-After"]) in range(1, 61)
    assert "RateLimit" in response


def test_on_limit_that_returns_no_response_is_told_so():
    view = rate_limit("1/m", on_limit=lambda request, decision: "later")(ok)
    with pytest.raises(TypeError, match=r"on_limit .* returned str: return a response"):
        statuses(view, 2)


async def test_a_callable_that_asks_the_database_is_called_in_a_thread_in_async_code():
    @async_unsafe
    def key(request):
        return "somebody"

    def on_limit(request, decision):
        told.append(request)
        return key(request) and None

    @rate_limit("1/m", key=key, exempt=async_unsafe(lambda request: False), on_limit=on_limit)
    async def view(request):
        return HttpResponse()

    told = []
    assert [(await view(aget())).status_code for _ in range(5)] == [200, 429, 429, 429, 429]
    assert len(told) == 5  # twice when it was found out, and once from then on


def test_on_limit_may_leave_the_answer_to_us():
    told = []
    view = rate_limit("1/m", on_limit=lambda request, decision: told.append(decision))(ok)
    assert statuses(view, 2) == [200, 429]
    assert len(told) == 1


@pytest.mark.parametrize("is_async", [True, False])
async def test_on_limit_may_be_of_either_make_in_async_code(is_async):
    async def asorry(request, decision):
        return HttpResponse(status=420)

    async def view(request):
        return HttpResponse()

    def sorry(request, decision):
        return HttpResponse(status=420)

    limited = rate_limit("1/m", on_limit=asorry if is_async else sorry)(view)
    assert [(await limited(aget())).status_code for _ in range(2)] == [200, 420]


def test_on_limit_may_be_async_in_sync_code():
    async def asorry(request, decision):
        return HttpResponse(status=420)

    assert statuses(rate_limit("1/m", on_limit=asorry)(ok), 2) == [200, 420]


def test_each_of_two_decorators_answers_for_its_own_limits():
    @rate_limit("1/m", on_limit=lambda request, decision: HttpResponse(status=420))
    @rate_limit("1/h", key="header:X-Key", on_limit=lambda request, d: HttpResponse(status=421))
    def view(request):
        return HttpResponse()

    view(get(HTTP_X_KEY="a"))
    assert view(get(HTTP_X_KEY="b")).status_code == 420
    assert view(get(HTTP_X_KEY="a", address="192.0.2.2")).status_code == 421


def test_without_block_the_view_decides():
    @rate_limit("1/m", block=False)
    def view(request):
        return HttpResponse("yes" if request.rate_limit else "no")

    assert [view(get()).content for _ in range(2)] == [b"yes", b"no"]


def test_what_blocks_not_does_not_spare_what_blocks():
    """Merged, a refusal of the one would let requests pass the other uncharged."""

    @rate_limit("1/m", block=False)
    @rate_limit("3/h")
    def view(request):
        return HttpResponse()

    assert statuses(view, 4) == [200, 200, 200, 429]


def test_a_shadow_reports_and_refuses_nothing():
    heard = []

    def hear(decision, request, **kwargs):
        heard.append((decision.allowed, decision.shadowed))

    view = rate_limit("1/m", shadow=True)(ok)
    rate_limited.connect(hear)
    try:
        assert statuses(view, 3) == [200, 200, 200]
    finally:
        rate_limited.disconnect(hear)
    assert heard == [(True, True), (True, True)]


def test_a_framework_that_wraps_requests_is_understood():
    class Wrapped:
        def __init__(self, request):
            self._request = request

        def __getattr__(self, name):
            return getattr(self._request, name)

    request = get()
    rate_limit("3/m", "named")(ok)(Wrapped(request))
    rate_limit("named")(ok)(request)
    assert [state.remaining for state in request.rate_limit.limits] == [2, 2]


# The view


@pytest.mark.parametrize(
    "error", [Http404("x"), PermissionDenied("x"), ValueError("x"), TypeError("x"), KeyError("x")]
)
def test_a_view_that_raises_runs_once_and_stays_charged(error):
    runs = []

    @rate_limit("2/m", count_when=lambda response: False)
    def view(request):
        runs.append(request)
        raise error

    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            view(get())
        assert caught.value is error
    assert len(runs) == 2
    assert view(get()).status_code == 429


async def test_an_async_view_that_raises_runs_once_and_stays_charged():
    runs = []

    async def view(request):
        runs.append(request)
        raise Http404

    limited = rate_limit("1/m")(view)
    with pytest.raises(Http404):
        await limited(aget())
    assert (await limited(aget())).status_code == 429
    assert len(runs) == 1


def test_a_view_that_returns_nothing_is_djangos_to_tell():
    view = rate_limit("1/m")(lambda request: None)
    assert view(get()) is None


def test_what_a_key_callable_raises_the_view_raises():
    def tenant(request):
        raise LookupError("no tenant")

    with pytest.raises(LookupError, match="no tenant"):
        rate_limit("1/m", key=tenant)(ok)(get())


def test_a_request_is_told_of_no_limit_when_none_applied():
    request = get()
    rate_limit("1/m", methods=["POST"])(ok)(request)
    assert request.rate_limit is None


def test_limits_are_switched_off_by_a_setting():
    view = rate_limit("1/m")(ok)
    with override_settings(REDIS_ATOMIC={"RATE_LIMIT_ENABLED": False}):
        request = get()
        assert "RateLimit" not in view(request)
        assert request.rate_limit is None
        assert statuses(view, 3) == [200, 200, 200]
    assert statuses(view, 2) == [200, 429]


# Redis down


@pytest.fixture
def dead(settings):
    """Limits in a Redis that is not there."""

    def dead(policy):
        settings.CACHES = settings.CACHES | {
            "dead": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}
        }
        settings.REDIS_ATOMIC = {"RATE_LIMIT_CACHE_ALIAS": "dead", "RATE_LIMIT_ON_ERROR": policy}

    return dead


@pytest.mark.parametrize(
    ("policy", "codes"),
    [("local", [200, 200] + [429] * 4), ("open", [200] * 6), ("closed", [429] * 6)],
)
def test_redis_down_is_never_an_error(dead, policy, codes):
    dead(policy)
    view = rate_limit("2/m", count_when=lambda response: True)(ok)
    request = get()
    assert [view(request).status_code, *statuses(view, 5)] == codes
    assert request.rate_limit.degraded


async def test_redis_down_is_never_an_error_in_async_code(dead):
    dead("closed")
    client = AsyncClient()
    response = await client.get("/ainline/", headers={"Accept": "application/json"})
    assert response.status_code == 429
    assert int(response["Retry-After"]) >= 1
    assert response.json()["type"].endswith("#temporary-reduced-capacity")


def test_what_was_charged_before_redis_died_is_lost_quietly(dead):
    view = rate_limit("2/m", count_when=lambda response: dead("local"))(ok)
    assert view(get()).status_code == 200


# Signal


@pytest.fixture
def heard():
    heard = []

    def hear(**kwargs):
        heard.append(kwargs)

    rate_limited.connect(hear)
    yield heard
    rate_limited.disconnect(hear)


def test_a_refusal_is_signalled(heard):
    view = rate_limit("1/m")(ok)
    request = get()
    view(get())
    assert not heard
    view(request)
    (told,) = heard
    assert told["request"] is request
    assert told["decision"] == request.rate_limit


async def test_a_refusal_is_signalled_in_async_code(heard):
    async def hear(**kwargs):
        await asyncio.sleep(0)
        aheard.append(kwargs)

    async def view(request):
        return HttpResponse()

    aheard = []
    limited = rate_limit("1/m")(view)
    rate_limited.connect(hear)
    try:
        await limited(aget())
        await limited(aget())
    finally:
        rate_limited.disconnect(hear)
    assert len(heard) == len(aheard) == 1


def test_a_receiver_that_raises_harms_nobody(caplog):
    def hear(**kwargs):
        raise RuntimeError

    view = rate_limit("1/m")(ok)
    rate_limited.connect(hear)
    try:
        assert statuses(view, 2) == [200, 429]
    finally:
        rate_limited.disconnect(hear)


# Mistakes


@pytest.mark.parametrize("rate", ["5/month", "5/m extra", "0/0s", "-1/m", "1e3/s", "", "5"])
def test_a_rate_that_is_none_is_refused_when_defined(rate):
    with pytest.raises(ValueError, match=r"rate|amount"):
        rate_limit(rate)


def test_without_a_limit_the_decorator_says_what_to_type():
    with pytest.raises(TypeError, match=r"@rate_limit\('5/m'\)"):
        rate_limit()


def test_a_bare_decorator_says_what_to_type():
    with pytest.raises(TypeError, match=r"@rate_limit\('5/m'\)"):

        @rate_limit
        def view(request):
            pass


@pytest.mark.parametrize("view", [None, "x", 5])
def test_what_is_no_view_is_not_decorated(view):
    with pytest.raises(TypeError, match=rf"decorates a view.* not {view!r}\."):
        rate_limit("5/m")(view)


def test_a_class_says_what_to_type():
    with pytest.raises(TypeError, match=r"@method_decorator\(rate_limit\('5/m'\), name='dispatch'"):

        @rate_limit("5/m")
        class Page(View):
            pass


def test_a_method_says_what_to_type():
    class Page(View):
        @rate_limit("5/m")
        def get(self, request):
            pass

    with pytest.raises(TypeError, match="method_decorator"):
        Page.as_view()(get())


@pytest.mark.parametrize("limit", ["login", Limit("5/m")])
def test_a_key_beside_a_limit_that_has_one_says_what_to_type(limit):
    with pytest.raises(TypeError, match="KEY in RATE_LIMITS"):
        rate_limit(limit, key="user")


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(ImproperlyConfigured, match=r"'logni'.*'login'"):
        rate_limit("logni")(ok)(get())


def test_a_name_is_looked_up_when_a_request_comes():
    view = rate_limit("later")(ok)
    with override_settings(REDIS_ATOMIC={"RATE_LIMITS": {"later": {"RATE": "1/m"}}}):
        assert statuses(view, 2) == [200, 429]
    with override_settings(REDIS_ATOMIC={"RATE_LIMITS": {"later": {"RATE": "2/m"}}}):
        assert statuses(view, 1) == [200]


@pytest.mark.parametrize("key", ["session", "ipp", "header:", "", (), ("ip", 7), 7, b"ip"])
def test_an_unknown_key_is_refused_when_defined(key):
    with pytest.raises((TypeError, ValueError), match="key"):
        rate_limit("5/m", key=key)


def test_methods_are_a_list():
    with pytest.raises(TypeError, match=r"\['POST'\]"):
        rate_limit("5/m", methods="POST")


@pytest.mark.parametrize("exempt", ["10.0.0.0/8", 7])
def test_exempt_is_a_callable_or_a_list(exempt):
    with pytest.raises(TypeError, match="exempt"):
        rate_limit("5/m", exempt=exempt)


def test_exempt_networks_are_checked_when_defined():
    for wrong in ("10.0.0.0/99", 7):
        with pytest.raises(ValueError, match=rf"exempt: {wrong!r} is no network"):
            rate_limit("5/m", exempt=[wrong])


@pytest.mark.parametrize("option", ["count_when", "on_limit", "scope", "cost"])
@pytest.mark.parametrize("limit", ["5/m", "login"])
def test_an_option_of_a_wrong_type_is_refused_when_defined(option, limit):
    with pytest.raises(TypeError, match=option):
        rate_limit(limit, **{option: 1.5})


def test_two_limits_with_one_count_are_refused_when_defined():
    with pytest.raises(ValueError, match="share one count"):
        rate_limit("5/m", "9/m")
    with pytest.raises(ValueError, match="share one count"):
        rate_limit("5/m")(rate_limit("9/m")(ok))


def test_a_rate_object_is_a_rate():
    assert statuses(rate_limit(Rate(1, 60_000_000))(ok), 2) == [200, 429]


# Hard to get around


def test_an_invented_forwarded_address_changes_nothing():
    view = rate_limit("5/m")(ok)
    codes = [view(get(HTTP_X_FORWARDED_FOR=f"203.0.113.{i}")).status_code for i in range(50)]
    assert codes.count(200) == 5


def test_ten_thousand_addresses_of_one_network_are_one_client():
    view = rate_limit("5/m")(ok)
    codes = [view(get(address=f"2001:db8:0:1::{i:x}")).status_code for i in range(10_000)]
    assert codes.count(200) == 5
    assert statuses(view, 1, address="2001:db8:0:2::1") == [200]


def test_mapped_addresses_are_separate_clients_and_the_same_as_plain_ones():
    view = rate_limit("1/m")(ok)
    addresses = ["::ffff:192.0.2.1", "::ffff:192.0.2.2", "192.0.2.1", "::ffff:192.0.2.2"]
    codes = [view(get(address=address)).status_code for address in addresses]
    assert codes == [200, 200, 429, 429]


HOSTILE = ["{", "}", "{}", "{a}", ":", "a:b", "/", "*", "\r\n", "\x00", "\xff", " ", "a b", "%s"]


def test_hostile_values_are_separate_clients_with_short_anonymous_keys(server_client):
    view = rate_limit("1/m", key=("ip", "header:X-Key"))(ok)
    values = [*HOSTILE, "x" * 100_000, "x" * 99_999]
    stripped = {value.strip() for value in values}
    codes = [view(get(HTTP_X_KEY=value)).status_code for value in values]
    assert codes.count(200) == len(stripped)
    assert [view(get(HTTP_X_KEY=value)).status_code for value in values] == [429] * len(values)
    keys = server_client.keys()
    assert len({len(key) for key in keys}) == 1
    assert all(0 < server_client.pttl(key) <= 60_000 for key in keys)
    assert not any(b"192.0.2.1" in key or b"xxx" in key for key in keys)


def test_parts_of_a_tuple_cannot_be_shifted():
    view = rate_limit("1/m", key=("header:A", "header:B"))(ok)
    pairs = [("a:b", "c"), ("a", "b:c"), ("a,b", "c"), ("a", "b,c"), ("", "abc"), ("abc", "")]
    assert [view(get(HTTP_A=a, HTTP_B=b)).status_code for a, b in pairs] == [200] * len(pairs)
