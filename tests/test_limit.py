from dataclasses import replace

import pytest

from redis_atomic.ratelimit.answer import Answer, State
from redis_atomic.ratelimit.charge import Charge, count_of
from redis_atomic.ratelimit.decision import Decision
from redis_atomic.ratelimit.limit import Limit, check_apart, check_cost, usual_cost
from redis_atomic.ratelimit.protocol import (
    LONGEST_LIFE,
    key_of,
    life_of,
    tag_of,
    tick_of,
)
from redis_atomic.ratelimit.rate import MAX_WINDOW, Rate

SECRET = b"secret"


def charge(limit="5/m", identity="ip:192.0.2.1", *, scope="view", cost=1, **options):
    limit = Limit(limit, **options)
    return Charge(limit, limit.rate, scope, identity, cost)


# -- Limit


def test_a_rate_may_be_text_a_rate_or_a_callable():
    def by_plan(request):
        return "5/m"

    assert Limit("5/m").rate == Limit(Rate(5, 60_000_000)).rate == Rate(5, 60_000_000)
    assert Limit(by_plan).rate is by_plan


@pytest.mark.parametrize("name", ["login", "a", "A.b-c_9", "x" * 64])
def test_a_name_that_can_travel_in_a_header_is_accepted(name):
    assert Limit("5/m", name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "9lives", "a b", 'a"b', "a\\b", "a\r\nX: y", "é", "x" * 65, ".a", "login\n", 5]
)
def test_a_name_that_cannot_travel_in_a_header_is_refused(name):
    with pytest.raises((ValueError, TypeError), match="name"):
        Limit("5/m", name=name)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"key": "session"}, "key"),
        ({"key": "header:"}, "key"),
        ({"key": ()}, "key"),
        ({"key": ("ip", 5)}, "key"),
        ({"key": 5}, "key"),
        ({"algorithm": "fixed_window"}, "algorithm"),
        ({"burst": 5}, "burst"),
        ({"burst": 0, "algorithm": "token_bucket"}, "burst"),
        ({"burst": 2.5, "algorithm": "token_bucket"}, "burst"),
        ({"burst": True, "algorithm": "token_bucket"}, "burst"),
        ({"scope": ""}, "scope"),
        ({"scope": 5}, "scope"),
        ({"missing": "drop"}, "missing"),
        ({"cost": -1}, "cost"),
        ({"cost": 1.5}, "cost"),
        ({"cost": True}, "cost"),
        ({"cost": "1"}, "cost"),
        ({"exempt": "admin"}, "exempt"),
        ({"exempt": "10.0.0.0/8"}, "exempt"),
        ({"exempt": 7}, "exempt"),
        ({"exempt": ["10.0.0.0/33"]}, "exempt: '10.0.0.0/33' is no network"),
        ({"exempt": [5]}, "exempt: 5 is no network"),
        ({"count_when": True}, "count_when"),
        ({"key": "header:X Y"}, "header:X Y"),
        ({"key": "header:X-Y\n"}, "header"),
        ({"methods": "POST"}, r"methods is a list: write \['POST'\]"),
        ({"methods": []}, "methods is empty"),
        ({"methods": [5]}, "methods is a list of names"),
        ({"methods": 5}, "methods is a list"),
    ],
)
def test_a_wrong_option_is_named(options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        Limit("5/m", **options)


def test_a_window_that_takes_too_much_memory_is_refused_and_the_bucket_named():
    assert Limit("1000000/d")
    with pytest.raises(ValueError, match="token_bucket"):
        Limit("1000001/d")
    assert Limit("2000000/d", algorithm="token_bucket")


def test_a_bucket_that_doubles_cannot_count_is_refused():
    assert Limit("99999/d", algorithm="token_bucket", burst=100_000)
    with pytest.raises(ValueError, match="exactly"):
        Limit("99999/30d", algorithm="token_bucket", burst=100_000)


def test_a_rate_that_comes_with_the_request_is_checked_as_well():
    limit = Limit(lambda request: "2000000/d")
    with pytest.raises(ValueError, match="token_bucket"):
        Charge(limit, Rate.parse("2000000/d"), "view", "ip:192.0.2.1")


@pytest.mark.parametrize("cost", [-1, 1.0, True, "3", None])
def test_a_cost_is_a_whole_number(cost):
    with pytest.raises((ValueError, TypeError), match="cost"):
        check_cost(cost)
    with pytest.raises((ValueError, TypeError), match="cost"):
        charge(cost=cost)


def test_the_usual_cost_is_one_where_there_is_no_request():
    assert usual_cost(Limit("5/m", cost=3)) == 3
    assert usual_cost(Limit("5/m", cost=len)) == 1


def test_a_limit_without_a_name_is_called_by_key_and_window():
    for limit, label in (
        (Limit("5/m"), "ip-per-m"),
        (Limit("5/90s", key=("user", "header:X-Key")), "user-header-per-90s"),
        (Limit("5/m", key=len), "callable-per-m"),
        (Limit("5/m", name="login"), "login"),
    ):
        assert limit.label(limit.rate) == label


def test_two_limits_that_share_one_count_are_refused():
    with pytest.raises(ValueError, match="share one count"):
        check_apart([Limit("5/m"), Limit("7/h"), Limit("9/60s")])
    check_apart([Limit("5/m"), Limit("7/h"), Limit("5/m", key="user")])
    check_apart([Limit("5/m"), Limit("9/m", scope="other")])
    check_apart([Limit("5/m", algorithm="token_bucket"), Limit("5/m")])


def tenant(request):
    return request.GET["tenant"]


def device(request):
    return request.GET["device"]


def test_callables_share_a_count_if_nothing_but_their_code_tells_them_apart():
    check_apart([Limit("5/m", key=tenant), Limit("9/m", key=device)])
    keys = [lambda request: request.GET["tenant"], lambda request: request.GET["device"]]
    with pytest.raises(ValueError, match="share one count"):
        check_apart([Limit("5/m", key=key) for key in keys])


def test_what_two_callables_return_is_counted_apart_though_it_is_the_same():
    one, other = (charge(key=key, identity="callable:7") for key in (tenant, device))
    assert key_of(one, SECRET) != key_of(other, SECRET)


# -- Keys


def test_the_key_says_what_is_counted_and_not_for_whom():
    key = key_of(charge(identity="user:ann@example.com"), SECRET).name
    assert key.startswith("rl1:{")
    assert key.endswith("}:view:w:m")
    assert "ann" not in key


def test_a_window_keeps_its_log_when_its_limit_changes_and_a_bucket_does_not():
    assert key_of(charge("5/m"), SECRET) == key_of(charge("500/60s"), SECRET)
    assert key_of(charge("5/m"), SECRET) != key_of(charge("5/h"), SECRET)
    bucket = {"algorithm": "token_bucket"}
    assert key_of(charge("5/m", **bucket), SECRET) != key_of(charge("6/m", **bucket), SECRET)
    assert key_of(charge("5/m", **bucket), SECRET) != key_of(charge("5/m"), SECRET)


def test_limits_of_one_identity_share_a_slot():
    keys = [key_of(charge(rate, scope=s), SECRET) for rate in ("5/m", "9/d") for s in "ab"]
    assert len(set(keys)) == 4
    assert len({tag_of(key) for key in keys}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b:c"), ("a:b", "c")),
        (("ab", "c"), ("a", "bc")),
        (("a",), ("a", "")),
        ("1:a1:b", ("a", "b")),
        ("user:7", "user:7 "),
    ],
)
def test_no_identity_can_imitate_another(one, other):
    assert key_of(charge(identity=one), SECRET) != key_of(charge(identity=other), SECRET)


def test_a_key_is_never_longer_than_a_fixed_length():
    hostile = "}{\r\n\0" * 200_000 + "\udcff"
    key = key_of(charge("999999/366d", hostile, scope=hostile), SECRET).name
    assert len(key) < 128
    assert key.isascii()
    assert key.isprintable()
    assert key.count("{") == key.count("}") == 1


def test_another_secret_makes_other_keys():
    assert key_of(charge(), b"one") != key_of(charge(), b"other")


def test_a_user_limit_that_falls_back_to_ip_does_not_meet_an_ip_limit():
    anonymous = charge(key="user", identity="ip:192.0.2.1")
    assert key_of(anonymous, SECRET) != key_of(charge(key="ip"), SECRET)
    assert key_of(charge(key="user", identity="user:7"), SECRET) == key_of(
        charge(key=None, identity="user:7"), SECRET
    )


@pytest.mark.parametrize("window", [1000, 8_000_000, 8_388_608, 60_000_000, MAX_WINDOW])
def test_the_tick_is_the_finest_that_a_record_can_hold(window):
    tick = tick_of(window)
    life = life_of(window, tick)
    assert life < LONGEST_LIFE
    assert life * tick >= window
    assert tick == 1 or life_of(window, tick // 2) >= LONGEST_LIFE
    assert (life * tick - window) <= 2 * tick


def test_the_count_is_what_deny_cache_and_key_agree_on():
    one = charge()
    assert key_of(one, SECRET).name.endswith(count_of(one.limit, one.rate, one.scope))


# -- Decision


def decided(allowed, *states, **options):
    charges = [charge(f"{10 * (i + 1)}/m", scope=str(i), **options) for i in range(len(states))]
    return Decision(charges, Answer(allowed, [State(*state) for state in states]))


def test_an_allowed_decision_shows_the_limit_with_least_left():
    decision = decided(True, (7, 0, 1_000_000), (2, 0, 5_000_000), (9, 0, 9_000_000))
    assert decision
    assert (decision.limit, decision.remaining, decision.reset_after) == (20, 2, 5.0)
    assert decision.retry_after == 0.0
    assert [state.remaining for state in decision.limits] == [7, 2, 9]


def test_a_refusal_shows_the_limit_to_wait_longest_for():
    decision = decided(False, (0, 1_500_000, 2_000_000), (0, 2_500_000, 3_000_000), (5, 0, 0))
    assert not decision
    assert (decision.limit, decision.retry_after) == (20, 2.5)
    assert [state.refuses for state in decision.limits] == [True, True, False]


def test_a_cost_above_the_limit_has_no_time_to_retry():
    decision = decided(False, (3, -1, 1_000_000), (0, 9_000_000, 9_000_000))
    assert decision.retry_after is None
    assert decision.limit == 10


def test_a_limit_in_shadow_mode_reports_and_is_not_the_tightest():
    limits = Limit("10/m", shadow=True), Limit("20/m", scope="b")
    charges = [Charge(limit, limit.rate, "view", "ip:192.0.2.1") for limit in limits]
    decision = Decision(charges, Answer(True, [State(0, 9, 9), State(5, 0, 9)]))
    assert decision
    assert decision.shadowed
    assert (decision.limit, decision.remaining) == (20, 5)
    assert decision.limits[0].shadowed
    assert decision.limits[0].refuses


def test_a_decision_keeps_its_receipt_to_itself():
    decision = decided(True, (4, 0, 10))
    assert "receipt" not in repr(decision)
    assert decision == decided(True, (4, 0, 10))
    assert decision._receipt is decision._receipt
    assert decided(False, (0, 9, 10))._receipt is None


def test_a_receipt_is_redeemed_once_and_charge_by_charge():
    charges = [charge("5/m"), charge("9/h"), charge("7/d", cost=0)]
    states = [State(1, 0, 10, 100), State(1, 0, 10, 200), State(1, 0, 0, 300)]
    receipt = Decision(charges, Answer(True, states))._receipt
    assert receipt.redeem(charges[1:2]) == [(charges[1], 200)]
    assert receipt.redeem(charges[1:2]) == []
    assert receipt.redeem() == [(charges[0], 100)]
    assert receipt.redeem() == []


def test_exempt_networks_are_read_once_and_compared_by_what_they_are():
    limit = Limit("5/m", exempt=["10.0.0.0/8", "192.0.2.7"])
    assert limit == Limit("5/m", exempt=("10.1.2.3/8", "192.0.2.7/32"))
    assert hash(limit) == hash(replace(limit, cost=1))
