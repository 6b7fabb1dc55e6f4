"""docs/rate-limits.md is true: its code runs and does what the text says."""

import ast
import re
import unittest
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import clear_url_caches, path

from redis_atomic import Limit, RateLimiter
from redis_atomic.signals import rate_limited
from redis_atomic.testing.limits import exhaust, reset_rate_limits

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "rate-limits.md").read_text()
SNIPPETS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
urlpatterns = []


def run(name):
    """Execute a snippet as a module; returns what it defines."""
    module = {"__name__": f"docs_{name.removesuffix('.py')}"}
    exec(compile(SNIPPETS[name], name, "exec"), module)
    return SimpleNamespace(**module)


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ROOT_URLCONF = __name__
    project = run("settings.py")
    settings.REDIS_ATOMIC = project.REDIS_ATOMIC | {"RATE_LIMIT_TIMEOUT": 20}
    settings.MIDDLEWARE = project.MIDDLEWARE
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    with reset_rate_limits():
        yield
    urlpatterns.clear()


def serve(url, view):
    urlpatterns.append(path(url, view))
    clear_url_caches()


def statuses(url, times, **extra):
    return [Client().get(url, **extra).status_code for _ in range(times)]


def test_every_snippet_names_its_file_and_is_python():
    assert len(SNIPPETS) == PAGE.count("```python")
    for text in SNIPPETS.values():
        ast.parse(text)


async def test_the_views():
    views = run("views.py")
    serve("search", views.search)
    serve("export", views.export)
    client = AsyncClient()
    assert [(await client.get("/search")).status_code for _ in range(11)] == [200] * 10 + [429]
    assert [(await client.get("/export")).status_code for _ in range(3)] == [200, 200, 429]


def test_the_settings():
    serve("api/items", lambda request: HttpResponse())
    serve("apiary", lambda request: HttpResponse())
    assert statuses("/api/items", 21) == [200] * 20 + [429]
    assert statuses("/apiary", 1) == [200]


def test_the_mails():
    may_mail = run("mails.py").may_mail
    assert may_mail(7, 60) == (True, 40)
    assert may_mail(7, 60) == (False, 40)
    assert may_mail(8, 60) == (True, 40)


def test_the_proxies(settings):
    serve("search", run("views.py").search)
    settings.REDIS_ATOMIC = settings.REDIS_ATOMIC | run("proxies.py").REDIS_ATOMIC
    for number in range(12):
        forwarded = f"9.9.9.{number}, 203.0.113.5, 10.1.1.1"
        response = Client().get("/search", REMOTE_ADDR="10.2.2.2", HTTP_X_FORWARDED_FOR=forwarded)
    assert response.status_code == 429
    assert Client().get("/search", REMOTE_ADDR="10.2.2.2").status_code == 200


def test_the_attempts():
    serve("token", run("attempts.py").token)
    assert statuses("/token?password=right", 20) == [200] * 20
    assert statuses("/token?password=wrong", 6) == [401] * 5 + [429]


class Visitor:
    """A browser at an address, which may try to log in."""

    def __init__(self, address):
        self.client = Client(REMOTE_ADDR=address)

    def log_in(self, name, password="wrong"):
        form = f"username={name}&password={password}"
        content_type = "application/x-www-form-urlencoded"
        return self.client.post("/login", form, content_type=content_type).status_code


@pytest.fixture
def login(settings, monkeypatch):
    """The page's login, with one user, Ann, and no templates and no database."""
    accounts = run("accounts.py")
    ann = SimpleNamespace(get_username=lambda: "Ann")

    class Form:
        def __init__(self, *, data, **kwargs):
            self.data = data

        def is_valid(self):
            return self.data["username"] == "Ann" and self.data["password"] == "right"

        def get_user(self):
            return ann

    monkeypatch.setattr("django.contrib.auth.views.auth_login", lambda request, user: None)
    monkeypatch.setattr(accounts.Login, "form_class", Form)
    monkeypatch.setattr(accounts.Login, "form_invalid", lambda view, form: HttpResponse("again"))
    monkeypatch.setattr(accounts.Login, "get_success_url", lambda view: "/")
    serve("login", accounts.Login.as_view())


@pytest.mark.usefixtures("login")
class TestTheLogin:
    def test_good_logins_are_not_counted(self):
        visitor = Visitor("203.0.113.5")
        assert {visitor.log_in("Ann", "right") for _ in range(30)} == {302}

    def test_one_address_has_five_guesses_at_a_name(self):
        visitor = Visitor("203.0.113.5")
        assert [visitor.log_in("Ann") for _ in range(7)] == [200] * 5 + [429] * 2
        assert visitor.log_in("ann ") == 429
        assert visitor.log_in("Bob") == 200
        assert Visitor("203.0.113.6").log_in("Ann") == 200

    def test_one_address_has_twenty_guesses_a_day_at_a_name(self):
        visitor = Visitor("203.0.113.5")
        burst = Limit("5/15m", key=("ip", "post:username"), name="login-pair-burst")
        for _ in range(4):
            assert [visitor.log_in("Ann") for _ in range(5)] == [200] * 5
            RateLimiter(burst).reset(("ip:203.0.113.5", "post:username:ann"))  # 15 minutes later
        assert visitor.log_in("Ann") == 429

    def test_one_address_has_fifty_guesses_an_hour_at_all_names(self):
        visitor = Visitor("203.0.113.5")
        found = [visitor.log_in(f"user{number}") for number in range(60)]
        assert found == [200] * 50 + [429] * 10

    def test_who_is_under_attack_still_gets_in_from_a_browser_used_before(self):
        used_before, new = Visitor("203.0.113.5"), Visitor("203.0.113.6")
        assert used_before.log_in("Ann", "right") == 302
        for number in range(50):  # a botnet spends all of Ann's guesses of the day
            for _ in range(4):
                assert Visitor(f"198.51.100.{number}").log_in("Ann") == 200
        assert Visitor("198.51.100.200").log_in("Ann") == 429
        assert new.log_in("Ann", "right") == 429
        assert used_before.log_in("Ann", "right") == 302

    def test_a_botnet_that_hides_the_name_in_a_multipart_form_has_no_more_guesses(self):
        for number in range(50):
            client = Client(REMOTE_ADDR=f"198.51.100.{number}")
            for _ in range(4):
                form = {"username": f"user{number}", "password": "wrong"}  # sent as multipart
                assert client.post("/login", form).status_code == 200
        client = Client(REMOTE_ADDR="198.51.100.200")
        assert client.post("/login", {"username": "Ann", "password": "right"}).status_code == 429
        assert Visitor("198.51.100.200").log_in("Ann", "right") == 302

    def test_a_browser_used_before_has_no_more_guesses_than_others(self):
        visitor = Visitor("203.0.113.5")
        visitor.log_in("Ann", "right")
        assert [visitor.log_in("Ann") for _ in range(6)] == [200] * 5 + [429]

    def test_to_have_logged_in_does_not_help_against_another_name(self):
        by_name = Limit("200/d", key="post:username", name="login-name")
        exhaust(RateLimiter(by_name), "post:username:ann")
        visitor = Visitor("203.0.113.5")
        visitor.client.cookies["known"] = "Ann"  # invented, not signed
        assert visitor.log_in("Ann", "right") == 429

    def test_the_page_does_not_tell_how_often_others_have_tried(self):
        response = Visitor("203.0.113.5").client.post(
            "/login", "username=Ann&password=x", content_type="application/x-www-form-urlencoded"
        )
        assert response["RateLimit"].startswith('"login-address";r=49;t=')
        assert "login-name" not in response["RateLimit"] + response["RateLimit-Policy"]


def request_of(plan=None, query="", **fields):
    request = RequestFactory().get(f"/{query}", **fields)
    request.user = AnonymousUser()
    if plan:
        request.user = SimpleNamespace(pk=7, is_authenticated=True, plan=plan, is_staff=False)
    return request


def test_the_plans():
    plans = run("plans.py")
    request = request_of("pro", "?format=pdf")
    plans.report(request)
    assert (request.rate_limit.limit, request.rate_limit.remaining) == (5000, 4990)
    request = request_of()
    plans.report(request)
    assert (request.rate_limit.limit, request.rate_limit.remaining) == (100, 99)
    request = request_of("unlimited")
    plans.report(request)
    assert request.rate_limit is None
    request = request_of("free")
    request.user.is_staff = True
    plans.report(request)
    assert request.rate_limit is None


def test_the_exempt_networks():
    status = run("plans.py").status
    mine, other = (request_of(REMOTE_ADDR=address) for address in ("192.0.2.7", "203.0.113.5"))
    status(mine)
    status(other)
    assert mine.rate_limit is None
    assert other.rate_limit.remaining == 59


def test_the_shadow_and_its_signal(caplog):
    signals, catalogue = run("signals.py"), run("plans.py").catalogue
    try:
        found = [catalogue(request_of()).status_code for _ in range(101)]
    finally:
        rate_limited.disconnect(signals.tell)
    assert found == [200] * 101
    assert [record.getMessage() for record in caplog.records if record.name == "limits"] == [
        "/ would be refused by stricter"
    ]


def test_the_carrier():
    track = run("carrier.py").track
    assert [track(number) for number in range(6)][-1] == "5 is on its way"


def test_the_api_of_rest_framework():
    pytest.importorskip("rest_framework", exc_type=ImportError)
    serve("export", run("api.py").Export.as_view())
    assert Client().get("/export").json() == {"left": 1}
    assert statuses("/export", 2) == [200, 429]


async def test_the_api_of_ninja():
    pytest.importorskip("ninja", exc_type=ImportError)
    serve("", run("ninja_api.py").api.urls)
    client = AsyncClient()
    assert (await client.get("/items")).status_code == 200
    wrong = [(await client.get("/token?password=wrong")).status_code for _ in range(6)]
    assert wrong == [401] * 5 + [429]


@pytest.mark.django_db
def test_the_test_case():
    serve("export", run("views.py").export)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(run("tests.py").ExportTest).run(result)
    assert result.testsRun == 2
    assert not result.failures + result.errors


def test_the_fields_shown_are_those_sent():
    serve("export", run("views.py").export)
    response = [Client().get("/export") for _ in range(3)][-1]
    shown = dict(re.findall(r"^([\w-]+): (.*)$", PAGE.split("```http")[1].split("```")[0], re.M))
    assert set(shown) <= set(response.headers)
    assert response["RateLimit-Policy"] == shown["RateLimit-Policy"]
    retry_after = response["Retry-After"]
    assert response["RateLimit"] == shown["RateLimit"].replace("37", retry_after)


def test_the_commands(capsys, settings):
    settings.REDIS_ATOMIC = {"RATE_LIMITS": {"login": {"RATE": "5/m"}}}
    commands = re.findall(r"^\$ manage\.py (\S+)([^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for name, arguments in commands:
        call_command(name, *arguments.split())
    assert capsys.readouterr().out


def test_every_test_that_is_named_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 10
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(), f"{file}::{test}"


def test_every_link_on_the_page_leads_to_a_heading():
    headings = re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors
