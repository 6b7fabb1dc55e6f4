"""What limits say in header fields, and in the answer to a refused request."""

import json
import math
import re
import time
from typing import NamedTuple

import http_sf
import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.template import engines
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.ratelimit.answer import NEVER, Answer, State
from redis_atomic.ratelimit.charge import Charge
from redis_atomic.ratelimit.decision import Decision
from redis_atomic.ratelimit.header_fields import set_header_fields
from redis_atomic.ratelimit.http import _preferred, refusal, with_refusal_fields
from redis_atomic.ratelimit.limit import NAME, Limit
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.ratelimit.steps import awalk, walk


class Entry(NamedTuple):
    """A limit, and what it said."""

    charge: Charge
    state: State

    @property
    def refuses(self):
        return self.state.retry_after != 0 and not self.charge.limit.shadow


def entry(rate="5/m", *, remaining=3, retry=0.0, reset=12.0, **options):
    limit = Limit(rate, **options)
    retry = NEVER if retry is None else round(retry * 1e6)
    state = State(remaining, retry, round(reset * 1e6))
    return Entry(Charge(limit, limit.rate, "scope", "ip:192.0.2.1"), state)


def decided(*entries, degraded=False):
    """The Decision of these."""
    allowed = not any(each.refuses for each in entries)
    make = Decision.without_redis if degraded else Decision
    answer = Answer(allowed, [each.state for each in entries])
    return make([each.charge for each in entries], answer)


def fields(*entries):
    response = HttpResponse()
    set_header_fields(response, decided(*entries))
    return response.headers


def parsed(field):
    """A field as RFC 9651 reads it: name to parameters."""
    items = http_sf.parse(field.encode(), tltype="list")
    assert all(type(name) is str for name, _ in items)
    read = dict(items)
    assert len(read) == len(items)
    return read


def answer(*entries, accept=None, **options):
    entries = entries or (entry(retry=3.2),)
    request = RequestFactory().get("/", **({} if accept is None else {"HTTP_ACCEPT": accept}))
    decision = decided(*entries, **options)
    return walk(refusal(request, decision))


# Fields


def test_each_limit_has_its_policy_and_its_rest():
    headers = fields(entry(name="login"), entry("90/h", name="site", remaining=80, reset=3000.2))
    assert headers["RateLimit-Policy"] == '"login";q=5;w=60, "site";q=90;w=3600'
    assert headers["RateLimit"] == '"login";r=3;t=12, "site";r=80;t=3001'


def test_two_rates_of_one_limit_have_two_names():
    headers = fields(entry("5/m", name="login"), entry("50/h", name="login"))
    assert headers["RateLimit-Policy"] == '"login-per-m";q=5;w=60, "login-per-h";q=50;w=3600'


def test_a_limit_without_name_is_called_by_its_key_and_window():
    assert fields(entry("5/2m"))["RateLimit-Policy"] == '"ip-per-2m";q=5;w=120'


def test_a_bucket_tells_the_time_that_fills_it():
    bucket = entry("10/s", name="api", algorithm="token_bucket", burst=100)
    assert fields(bucket)["RateLimit-Policy"] == '"api";q=100;w=10'


def test_a_window_below_a_second_is_told_as_one():
    assert fields(entry(Rate(5, 200_000), name="api"))["RateLimit-Policy"] == '"api";q=5;w=1'


names = st.from_regex(NAME, fullmatch=True)
rates = st.builds(Rate, st.integers(1, 10**6), st.integers(1, 366 * 86_400_000).map((1000).__mul__))
entries = st.builds(
    entry,
    rates,
    name=st.none() | names,
    key=st.sampled_from(["ip", "user", "header:X-Key", ("ip", "get:q")]),
    remaining=st.integers(0, 10**6),
    retry=st.sampled_from([0.0, None]) | st.floats(0.000001, 10**7),
    reset=st.floats(0, 10**7),
    shadow=st.booleans(),
)


@given(st.lists(entries, min_size=1, max_size=5))
def test_both_fields_are_lists_of_rfc_9651_for_every_limit(entries):
    headers = fields(*entries)
    policies, rests = parsed(headers["RateLimit-Policy"]), parsed(headers["RateLimit"])
    assert list(policies) == list(rests)
    for policy, rest, each in zip(policies.values(), rests.values(), entries, strict=True):
        assert policy == {"q": each.charge.capacity, "w": math.ceil(each.charge.rate.seconds)}
        assert rest["r"] == each.state.remaining
        assert rest.keys() <= {"r", "t"}


@given(st.lists(entries, min_size=1, max_size=5))
def test_no_time_told_is_later_than_the_window(entries):
    headers = fields(*entries)
    policies, rests = parsed(headers["RateLimit-Policy"]), parsed(headers["RateLimit"])
    assert all(rest.get("t", 0) <= policies[name]["w"] for name, rest in rests.items())


def test_the_tick_of_a_window_is_not_told_as_a_second():
    assert fields(entry(name="api", reset=60.000008))["RateLimit"] == '"api";r=3;t=60'
    first = entry(name="api", remaining=0, retry=60.000008)
    assert fields(first)["RateLimit"] == '"api";r=0;t=60'


def test_a_refusal_for_ever_tells_when_the_limit_is_untouched():
    assert fields(entry(name="api", retry=None, reset=12.0))["RateLimit"] == '"api";r=3;t=12'


@given(
    st.lists(
        st.sampled_from(["a", "b", "a-per-m", "a-per-m-also", "a-also"]), min_size=1, max_size=8
    )
)
def test_no_two_policies_have_one_name(names):
    given = [entry("5/m", name=name) for name in names]
    assert len(parsed(fields(*given)["RateLimit-Policy"])) == len(given)


@given(st.lists(entries, min_size=1, max_size=4))
def test_no_limit_promises_more_for_later_than_retry_after(entries):
    """Retry-After should not be earlier than any t."""
    waits = [each.state.retry_after for each in entries if each.refuses]
    if not waits or NEVER in waits:
        return
    for rest in parsed(fields(*entries)["RateLimit"]).values():
        assert rest.get("t", 0) <= max(1, math.ceil(max(waits) / 1e6))


def test_a_limit_by_form_field_is_not_spoken_of():
    assert not fields(entry(key="post:name")).keys() & {"RateLimit", "RateLimit-Policy"}
    site = entry(name="site", remaining=7)
    login = entry(name="login", key=("ip", "post:name"), remaining=1)
    for both in (site, login), (login, site):
        assert fields(*both)["RateLimit"] == '"site";r=7;t=12'


def test_legacy_fields_tell_of_the_tightest(settings):
    settings.REDIS_ATOMIC = {"RATE_LIMIT_HEADERS": "legacy"}
    before = time.time()
    headers = fields(entry("90/h", remaining=80), entry("5/m", remaining=3, reset=12.0))
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("5", "3")
    assert before + 12 <= int(headers["X-RateLimit-Reset"]) <= time.time() + 13
    assert "RateLimit" not in headers


def test_no_fields_when_none_are_wanted(settings):
    settings.REDIS_ATOMIC = {"RATE_LIMIT_HEADERS": None}
    assert fields(entry()).keys() == {"Content-Type"}


# Answers


@pytest.mark.parametrize(
    ("retry", "told"), [(0.000001, "1"), (1.0, "1"), (1.000001, "2"), (59.2, "60"), (None, None)]
)
def test_retry_after_is_whole_seconds_rounded_up(retry, told):
    response = answer(entry(retry=retry))
    assert response.status_code == 429
    assert response.headers.get("Retry-After") == told


def test_a_refusal_is_not_stored():
    assert answer()["Cache-Control"] == "no-store"


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "text/html", "image/png", "", "x"])
def test_text_is_the_answer_to_most(accept):
    response = answer(accept=accept)
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == b"Too many requests. Try again in 4 seconds.\n"


def test_a_cost_that_never_fits_is_told_as_such():
    assert b"more than is ever allowed" in answer(entry(retry=None)).content


@pytest.mark.parametrize(
    "accept",
    ["application/json", "application/problem+json", "application/json, text/html;q=0.5"],
)
def test_json_is_a_problem(accept):
    response = answer(entry(name="api", retry=3.2), entry(name="site"), accept=accept)
    assert response.status_code == 429
    assert response["Content-Type"] == "application/problem+json"
    assert json.loads(response.content) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "detail": "Try again in 4 seconds.",
        "violated-policies": ["api"],
    }


def test_a_problem_names_policies_as_the_fields_do():
    both = entry("5/m", name="api", retry=3.2), entry("50/h", name="api")
    problem = json.loads(answer(*both, accept="application/json").content)
    assert problem["violated-policies"] == ["api-per-m"]


def test_a_problem_does_not_speak_of_form_fields():
    hidden = entry(name="login", key="post:name", retry=3.2)
    assert json.loads(answer(hidden, accept="application/json").content)["violated-policies"] == []


def test_closed_while_redis_is_down_is_another_problem(settings):
    settings.REDIS_ATOMIC = {"RATE_LIMIT_ON_ERROR": "closed"}
    problem = json.loads(answer(accept="application/json", degraded=True).content)
    assert problem["type"].endswith("#temporary-reduced-capacity")


def users(request):
    return {"users": f" ({User.objects.count()} users)" if "count" in request.GET else ""}


TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"429.html": "<p>Wait {{ retry_after }} s for {{ request.path }}{{ users }}"},
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "tests.test_http.users",
            ],
        },
    }
]


@pytest.fixture
def template(settings):
    settings.TEMPLATES = TEMPLATES
    assert engines.all()


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "text/html;q=0.9, */*;q=0.1"])
def test_the_projects_template_answers_browsers(template, accept):
    response = answer(accept=accept)
    assert response.status_code == 429
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert response.content == b"<p>Wait 4 s for /"


@pytest.mark.django_db(transaction=True)
async def test_the_template_may_ask_the_database_in_async_code(template):
    request = RequestFactory().get("/?count")
    response = await awalk(refusal(request, decided(entry(retry=3.2))))
    assert response.content == b"<p>Wait 4 s for / (0 users)"


def templates(found):
    """Engines that find these and remember nothing."""
    loaders = [("django.template.loaders.locmem.Loader", found)]
    backend = "django.template.backends.django.DjangoTemplates"
    return [{"BACKEND": backend, "OPTIONS": {"loaders": loaders}}]


def test_a_template_is_looked_for_again_when_the_engines_change(settings):
    for found in ({}, {"429.html": "one"}, {}, {"429.html": "two"}):
        settings.TEMPLATES = templates(found)
        body = found.get("429.html", "Too many requests. Try again in 4 seconds.\n")
        assert answer().content.decode() == body


def test_that_there_is_no_template_is_found_out_once(settings):
    found = {}
    settings.TEMPLATES = templates(found)
    assert answer().content.startswith(b"Too many")
    found["429.html"] = "late"
    assert answer().content.startswith(b"Too many")


def test_while_debugging_a_new_template_is_seen_at_once(settings):
    found = {}
    settings.DEBUG, settings.TEMPLATES = True, templates(found)
    assert answer().content.startswith(b"Too many")
    found["429.html"] = "new"
    assert answer().content == b"new"


def test_a_template_may_change_and_go_where_the_engines_keep_nothing(settings):
    found = {"429.html": "one"}
    settings.TEMPLATES = templates(found)
    assert answer().content == b"one"
    found["429.html"] = "two"
    assert answer().content == b"two"
    found.clear()
    assert answer().content.startswith(b"Too many")


def test_a_response_keeps_what_it_says_to_caches():
    response = HttpResponse(headers={"Cache-Control": "private, max-age=0"})
    with_refusal_fields(response, decided(entry(retry=3.2)))
    assert response["Cache-Control"] == "private, max-age=0, no-store"


types = st.sampled_from(
    [
        "*/*",
        "text/*",
        "text/html",
        "text/plain",
        "application/json",
        "x",
        "",
        ";q=1",
        "text/html;q=.5",
    ]
) | st.text(max_size=20)


@given(st.none() | st.lists(types, max_size=5).map(",".join))
def test_the_form_is_the_one_that_django_would_choose(accept):
    request = RequestFactory().get("/", **({} if accept is None else {"HTTP_ACCEPT": accept}))
    forms = ("text/html", "application/problem+json", "application/json")
    try:
        wanted = request.get_preferred_type(forms)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            _preferred(request, forms)
    else:
        assert _preferred(request, forms) == _preferred(request, forms) == wanted


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "application/json"])
def test_every_form_tells_when_to_come_again_and_is_not_stored(template, accept):
    response = answer(accept=accept)
    assert response.headers["Retry-After"] == "4"
    assert response.headers["Cache-Control"] == "no-store"


def test_json_is_a_problem_also_beside_a_template(template):
    response = answer(accept="application/json")
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "accept",
    [
        *[part * 50_000 for part in ("x", "text/html,", ";")],
        *[f"a/b;x*={encoding}''%ff" for encoding in ("foo", "idna", "punycode")],
    ],
    ids=["word", "list", "marks", "unknown", "idna", "punycode"],
)
def test_an_accept_field_that_cannot_be_one_is_answered(accept):
    assert answer(accept=accept).status_code == 429
