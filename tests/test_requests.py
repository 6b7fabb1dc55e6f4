"""What is sent to charge limits: remembered, and still what it would be if it were made anew."""

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from redis_atomic import Limit, RateLimiter
from redis_atomic.client.connections import client_for
from redis_atomic.ratelimit import requests
from redis_atomic.ratelimit.charge import LONGEST_IDENTITY, MOST_TARIFFS, Charge, tariff_of
from redis_atomic.ratelimit.keys import keys_of
from redis_atomic.ratelimit.protocol import ask
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.ratelimit.requests import request_of
from redis_atomic.scripting.packing import pack
from redis_atomic.testing.limits import reset_rate_limits

LIMITS = [
    Limit("5/m", key=None),
    Limit("9/h", key=None),
    Limit("7/s", key=None, algorithm="token_bucket", burst=20),
    Limit("3/d", key=None, shadow=True),
]
IDENTITIES = st.one_of(
    st.text(min_size=1),
    st.text(min_size=LONGEST_IDENTITY - 1, max_size=LONGEST_IDENTITY + 2),
    st.tuples(st.text(min_size=1), st.text(min_size=1)),
)


def charges_for(identity, limits=LIMITS[:1], cost=1):
    return [Charge(limit, limit.rate, "view", identity, cost) for limit in limits]


def made_anew(client, charges):
    call = ask(charges, keys_of(charges))
    keys = [client.make_key(key) for key in call.keys]
    return pack("EVALSHA", call.command.sha, keys, tuple(call.args))


@given_settings(deadline=None)
@given(
    limits=st.lists(st.sampled_from(LIMITS), min_size=1, unique_by=id),
    identity=IDENTITIES,
    cost=st.integers(0, 2**60),
)
def test_a_remembered_request_is_the_one_that_would_be_made(limits, identity, cost):
    client = client_for("default")
    charges = charges_for(identity, limits, cost)
    expected = made_anew(client, charges)
    assert request_of(charges).packed(client) == expected
    assert request_of(charges_for(identity, limits, cost)).packed(client) == expected


def test_a_request_is_made_once(settings):
    client = client_for("default")
    requests.forget()
    first = request_of(charges_for("user:7")).packed(client)
    assert request_of(charges_for("user:7")).packed(client) is first
    assert request_of(charges_for("user:8")).packed(client) != first


def test_a_new_secret_makes_new_keys(settings):
    client = client_for("default")
    before = request_of(charges_for("user:7")).packed(client)
    settings.SECRET_KEY = "another"
    assert request_of(charges_for("user:7")).packed(client) != before


def test_a_new_prefix_makes_new_keys(settings):
    before = request_of(charges_for("user:7")).packed(client_for("default"))
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": "other"}}
    assert request_of(charges_for("user:7")).packed(client_for("default")) != before


def test_long_identities_are_not_remembered():
    requests.forget()
    request_of(charges_for("x" * (LONGEST_IDENTITY + 1))).packed(client_for("default"))
    request_of(charges_for(("a", "b"))).packed(client_for("default"))
    assert requests._remembered.cache_info().currsize == 0


def test_no_more_are_remembered_than_there_is_room_for():
    requests.forget()
    for number in range(requests.SIZE + 10):
        request_of(charges_for(f"user:{number}")).packed(client_for("default"))
    assert requests._remembered.cache_info().currsize == requests.SIZE


def test_a_reset_of_the_testing_kit_starts_anew():
    limiter = RateLimiter("5/m", name="export")
    reset_rate_limits()
    assert [limiter.hit("user:7").remaining for _ in range(3)] == [4, 3, 2]
    reset_rate_limits()
    assert limiter.hit("user:7").remaining == 4


def test_a_tariff_is_worked_out_once_for_each_rate_scope_and_cost():
    limit = Limit(lambda request: None, key=None)
    rate = Rate.parse("5/m")
    assert tariff_of(limit, rate, "a", 1) is tariff_of(limit, Rate.parse("5/m"), "a", 1)
    assert tariff_of(limit, rate, "a", 1) is not tariff_of(limit, rate, "a", 2)
    for amount in range(1, 2 * MOST_TARIFFS):
        assert tariff_of(limit, Rate(amount, 1_000_000), "a").capacity == amount
    assert len(limit.__dict__["_tariffs"]) <= MOST_TARIFFS


@pytest.mark.parametrize("cost", [True, 1.0, None, "1"])
def test_a_cost_that_only_equals_a_whole_number_finds_no_tariff(cost):
    (limit,) = LIMITS[:1]
    tariff_of(limit, limit.rate, "view", 1)
    with pytest.raises(TypeError, match="whole number"):
        tariff_of(limit, limit.rate, "view", cost)
