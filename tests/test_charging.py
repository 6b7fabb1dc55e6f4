"""What a request is charged: the same by the short way and by the long one."""

from functools import partial

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.ratelimit.charging import Rule, charges_of, planned
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.methods import as_methods
from redis_atomic.ratelimit.named import limits_named
from redis_atomic.ratelimit.networks import as_exempt
from redis_atomic.ratelimit.steps import walk

limits = st.builds(
    Limit,
    st.sampled_from(["5/m", "100/h"]),
    key=st.sampled_from(
        ["ip", "header:X-Client", "get:q", "post:name", "path:pk", ("ip", "get:q")]
    ),
    missing=st.sampled_from([None, "shared", "shared", "skip"]),
    cost=st.integers(0, 3),
    exempt=st.sampled_from([*[None] * 6, ["192.0.2.0/24"], ["10.0.0.0/8"]]),
    methods=st.sampled_from([None, ["POST"], ["GET"]]),
    shadow=st.booleans(),
)
requests = st.builds(
    lambda method, client, query: getattr(RequestFactory(), method)(
        f"/?q={query}", REMOTE_ADDR="192.0.2.1", headers={"X-Client": client}
    ),
    st.sampled_from(["get", "head", "post"]),
    st.sampled_from(["", "one"]),
    st.sampled_from(["", "two"]),
)


rules = st.builds(
    lambda limits, methods, exempt: Rule(
        lambda: limits, methods=as_methods(methods), exempt=as_exempt(exempt)
    ),
    st.lists(limits, max_size=2),
    methods=st.sampled_from([None, None, ["POST"], ["GET"]]),
    exempt=st.sampled_from([*[None] * 6, ["192.0.2.0/24"], ["10.0.0.0/8"]]),
)


@given(st.lists(rules, max_size=2).map(tuple), requests, st.sampled_from([{}, {"pk": 7}]))
def test_what_was_planned_is_what_is_charged(rules, request, kwargs):
    short = planned(request, rules, "view", kwargs)
    long = walk(charges_of(request, rules, [], "view", kwargs))
    if short is not None:
        call, asking = short
        assert list(zip(map(repr, call.charges), asking, strict=True)) == [
            (repr(charge), rule) for charge, rule in long
        ]
        assert all(
            one.tariff is other.tariff for one, (other, _) in zip(call.charges, long, strict=True)
        )


def test_most_requests_go_by_a_plan():
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1", headers={"X-Client": "one"})
    for count, rule in (
        (2, Rule(lambda: [Limit("5/m"), Limit("90/h", key="header:X-Client")])),
        (0, Rule(lambda: [Limit("5/m", methods=["POST"])])),
        (0, Rule(lambda: [Limit("5/m")], methods=frozenset({"POST"}))),
    ):
        call, asking = planned(request, (rule,), "view", {})
        assert len(call.charges) == len(asking) == count


def test_no_plan_is_made_where_a_limit_may_not_apply():
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1")
    for rule in (
        Rule(lambda: [Limit("5/m", exempt=["10.0.0.0/8"])]),
        Rule(lambda: [Limit("5/m")], exempt=as_exempt(["10.0.0.0/8"])),
        Rule(lambda: [Limit("5/m", key="header:X-Client", missing="skip")]),
        Rule(lambda: [Limit("5/m", key="user")]),
    ):
        assert planned(request, (rule,), "view", {}) is None


def test_one_named_limit_asked_for_twice_is_charged_once():
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1")
    rule = Rule(lambda: [Limit("5/m", name="login")])
    assert planned(request, (rule, rule), "view", {}) is None
    assert len(walk(charges_of(request, (rule, rule), [], "view", {}))) == 1


def test_a_plan_is_forgotten_with_the_settings(settings):
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1")
    rules = (Rule(partial(limits_named, "login")),)
    for amount in (5, 9, 5):
        settings.REDIS_ATOMIC = {"RATE_LIMITS": {"login": {"RATE": f"{amount}/m"}}}
        call, _ = planned(request, rules, "view", {})
        assert [charge.capacity for charge in call.charges] == [amount]


@pytest.mark.parametrize(
    "asking",
    [
        {"rate": lambda request: "5/m"},
        {"cost": lambda request: 1},
        {"exempt": lambda request: False},
        {"exempt": ["10.0.0.0/8"]},
        {"key": lambda request: "7"},
        {"key": ("ip", lambda request: "7")},
        {"key": "user"},
        {"key": ("ip", "user")},
    ],
)
def test_a_limit_that_has_to_ask_is_not_fixed(asking):
    assert not Limit(**{"rate": "5/m", **asking}).fixed
