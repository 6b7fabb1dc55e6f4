"""What a request is charged: the same by the short way and by the long one."""

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.ratelimit.charging import _charge, _fixed_charge
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.steps import walk

limits = st.builds(
    Limit,
    st.sampled_from(["5/m", "100/h"]),
    key=st.sampled_from(
        ["ip", "header:X-Client", "get:q", "post:name", "path:pk", ("ip", "get:q")]
    ),
    missing=st.sampled_from([None, "skip", "shared"]),
    cost=st.integers(0, 3),
    exempt=st.sampled_from([None, ["192.0.2.0/24"], ["10.0.0.0/8"]]),
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


@given(limits, requests, st.sampled_from([{}, {"pk": 7}]))
def test_a_fixed_limit_charges_what_it_would_if_it_asked(limit, request, kwargs):
    assert limit.fixed
    short = _fixed_charge(request, limit, "view", kwargs)
    asked = walk(_charge(request, limit, "view", kwargs))
    assert repr(short) == repr(asked)
    if asked is not None:
        assert short.tariff is asked.tariff


@pytest.mark.parametrize(
    "asking",
    [
        {"rate": lambda request: "5/m"},
        {"cost": lambda request: 1},
        {"exempt": lambda request: False},
        {"key": lambda request: "7"},
        {"key": ("ip", lambda request: "7")},
        {"key": "user"},
        {"key": ("ip", "user")},
    ],
)
def test_a_limit_that_has_to_ask_is_not_fixed(asking):
    assert not Limit(**{"rate": "5/m", **asking}).fixed
