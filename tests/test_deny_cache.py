import statistics
import sys
import time

import pytest
from django.test import override_settings

from redis_atomic import Limit, RateLimiter
from redis_atomic.ratelimit import deny_cache as module
from redis_atomic.ratelimit import limiter
from redis_atomic.ratelimit.answer import NEVER, Answer, State
from redis_atomic.ratelimit.charge import Charge
from redis_atomic.ratelimit.decision import Decision
from redis_atomic.ratelimit.deny_cache import LONGEST, LONGEST_IDENTITY, STALE, deny_cache
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.ratelimit.requests import request_of
from tests.servers import commands_sent, forget_commands


def decide(charges):
    return limiter.decide(request_of(charges))


@pytest.fixture(autouse=True)
def _no_old_refusals():
    deny_cache.clear()


@pytest.fixture
def asked():
    """How often Redis was asked since the last time."""
    forget_commands()

    def count():
        calls = commands_sent()["evalsha"]
        forget_commands()
        return calls

    return count


def exhaust(limiter, identity="user:7"):
    while limiter.hit(identity):
        pass


def test_a_refused_identity_is_not_asked_again(asked):
    limiter = RateLimiter("3/h", name="export")
    exhaust(limiter)
    assert asked() >= 4
    decisions = [limiter.hit("user:7") for _ in range(50)]
    assert asked() == 0
    assert not any(decisions)
    assert limiter.hit("user:8")
    assert asked() == 1


def test_decorators_and_limiters_share_what_was_refused(asked):
    limit = Limit("1/h", key=None, name="export")
    charge = Charge(limit, limit.rate, "export", "user:7")
    assert decide([charge])
    assert not decide([charge])
    asked()
    assert not decide([charge])
    assert not RateLimiter(limit).hit("user:7")
    assert asked() == 0


def test_another_cost_is_asked_as_it_has_other_times(asked):
    limiter = RateLimiter("10/h", name="export")
    limiter.hit("user:7", cost=7)
    assert not limiter.hit("user:7", cost=5)
    asked()
    assert not limiter.hit("user:7", cost=5)
    assert asked() == 0
    assert limiter.hit("user:7", cost=50).retry_after is None
    assert asked() == 1
    assert limiter.hit("user:7", cost=3)
    assert asked() == 1


def test_the_usual_cost_is_meant_where_none_is_given(asked):
    limiter = RateLimiter(Limit("10/h", key=None, name="export", cost=4))
    limiter.hit("user:7", cost=7)
    assert not limiter.hit("user:7")
    asked()
    assert not limiter.hit("user:7")
    assert not limiter.hit("user:7", cost=4)
    assert asked() == 0
    assert limiter.hit("user:7", cost=3)


@pytest.mark.parametrize(("cost", "error"), [("1", TypeError), (1.5, TypeError), (-1, ValueError)])
async def test_a_cost_that_is_none_is_an_error_after_a_refusal_too(cost, error):
    limiter = RateLimiter("1/h", name="export")
    exhaust(limiter)
    with pytest.raises(error, match="cost"):
        limiter.hit("user:7", cost=cost)
    with pytest.raises(error, match="cost"):
        await limiter.ahit("user:7", cost=cost)


def test_the_cost_told_is_that_of_the_call(asked):
    limiter = RateLimiter(Limit("10/h", cost=3, key=None), Limit("90/d", key=None, cost=5))
    exhaust(limiter)
    asked()
    assert [limiter.hit("user:7", cost=cost).cost for cost in (7, None, 4, 4)] == [7, 5, 4, 4]
    asked()
    limits = [Limit("10/h", key=None), Limit("90/d", key=None)]
    charges = [Charge(limit, limit.rate, "limiter", "user:7", 8) for limit in limits]
    assert not decide(charges)
    assert asked() == 1
    charges = [
        Charge(limit, limit.rate, "limiter", "user:7", cost)
        for limit, cost in zip(limits, (8, 9), strict=True)
    ]
    assert decide(charges).cost == 9
    assert asked() == 1


def test_the_times_told_are_as_of_now():
    limiter = RateLimiter("1/h", "9/d", name="export")
    exhaust(limiter)
    first, start = limiter.hit("user:7"), time.monotonic()
    time.sleep(0.05)
    second, passed = limiter.hit("user:7"), time.monotonic() - start
    assert first.retry_after - second.retry_after == pytest.approx(passed, abs=0.03)
    assert first.reset_after - second.reset_after == pytest.approx(passed, abs=0.03)
    assert second.limits[0].retry_after == second.retry_after
    assert second.limits[1].retry_after == 0.0
    assert (first.remaining, first.limit) == (second.remaining, second.limit)


def test_the_times_are_right_wherever_another_thread_comes_between(monkeypatch):
    """Within one answer, at each of its steps in turn, another one is asked for."""
    limiter = RateLimiter("1/h", name="export")
    exhaust(limiter)
    first = limiter.hit("user:7").retry_after
    start, passed = time.monotonic(), 0.0
    monkeypatch.setattr(module, "monotonic", lambda: start + passed)

    def hit_with_another(step):
        steps, told = iter(range(1000)), []

        def trace(frame, event, arg):
            if frame.f_code is not module.Refusal.answer.__code__:
                return None
            frame.f_trace_opcodes = True
            if next(steps) == step:
                told.append(limiter.hit("user:7").retry_after)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            told.append(limiter.hit("user:7").retry_after)
        finally:
            sys.settrace(before)
        return told

    for step in range(100):
        passed += 0.04
        for retry_after in hit_with_another(step):
            assert retry_after == pytest.approx(first - passed, abs=0.02)


def test_a_refusal_is_over_when_its_time_has_come():
    limiter = RateLimiter(Rate(1, 200_000), name="export")
    exhaust(limiter)
    refused = limiter.hit("user:7")
    time.sleep(refused.retry_after + 2 * STALE)
    assert limiter.hit("user:7")


def test_a_refusal_that_is_over_does_not_hide_that_of_another_limit(asked):
    limits = [Limit("1/s", key=None), Limit("2/h", key=None)]
    charges = [Charge(limit, limit.rate, "limiter", "user:7") for limit in limits]
    over, stands = State(0, 1, 1), State(0, 3_000_000_000, 3_000_000_000)
    for states in ([over, State(1, 0, 0)], [State(1, 0, 0), stands]):
        deny_cache.remember(charges, Decision(charges, Answer(False, states)))
    assert len(deny_cache) == 2
    assert decide(charges).retry_after == pytest.approx(3000, abs=1)
    assert RateLimiter(*limits).hit("user:7").retry_after == pytest.approx(3000, abs=1)
    assert asked() == 0


def test_a_refusal_is_one_to_its_last_microsecond():
    refused = State(0, 5, 5)
    assert refused.later(10).retry_after == 1
    assert State(0, NEVER, 5).later(10).retry_after == NEVER
    assert State(1, 0, 5).later(3) == State(1, 0, 2)


def test_no_refusal_is_remembered_longer_than_five_seconds():
    limiter = RateLimiter("1/w", name="export")
    exhaust(limiter)
    (refusal,) = deny_cache._refusals.values()
    assert refusal._until - time.monotonic() <= LONGEST


def test_a_cost_above_the_limit_is_remembered(asked):
    limiter = RateLimiter("5/h", name="export")
    assert limiter.hit("user:7", cost=6).retry_after is None
    asked()
    assert limiter.hit("user:7", cost=6).retry_after is None
    assert asked() == 0


def test_limits_that_give_back_are_always_asked(asked):
    limiter = RateLimiter(Limit("1/h", key=None, name="login", count_when=bool))
    exhaust(limiter)
    asked()
    assert not limiter.hit("user:7")
    assert asked() == 1


def test_what_a_limit_in_shadow_mode_would_refuse_is_not_remembered(asked):
    limiter = RateLimiter(Limit("1/h", key=None, shadow=True, name="trial"))
    assert all(limiter.hit("user:7") for _ in range(3))
    assert len(deny_cache) == 0


def test_a_reset_and_a_refund_of_this_process_are_seen_at_once():
    limiter = RateLimiter("2/h", name="export")
    first = limiter.hit("user:7")
    exhaust(limiter)
    limiter.refund(first)
    assert limiter.hit("user:7")
    assert not limiter.hit("user:7")
    limiter.reset("user:7")
    assert limiter.hit("user:7")


def test_other_terms_are_asked(asked):
    """The same count, with room for more."""
    exhaust(RateLimiter("2/h", name="export"))
    asked()
    assert RateLimiter("5/h", name="export").hit("user:7")
    assert asked() == 1


def test_one_identity_of_a_call_does_not_stand_for_another():
    user, ip = Limit("1/h", key="user"), Limit("5/h", key="ip")

    def ask(user_id, address):
        return decide(
            [
                Charge(user, user.rate, "view", f"user:{user_id}"),
                Charge(ip, ip.rate, "view", f"ip:{address}"),
            ]
        )

    assert ask(7, "192.0.2.1")
    assert not ask(7, "192.0.2.1")
    assert ask(8, "192.0.2.1")
    assert not ask(7, "192.0.2.2")
    assert not ask(7, "192.0.2.2")
    assert ask(9, "192.0.2.2")


def test_the_cache_holds_no_more_than_the_setting_says():
    with override_settings(REDIS_ATOMIC={"RATE_LIMIT_DENY_CACHE_SIZE": 3}):
        limiter = RateLimiter("1/h", name="export")
        for number in range(10):
            exhaust(limiter, f"user:{number}")
            assert len(deny_cache) <= 3
        assert not limiter.hit("user:0")


def test_the_cache_can_be_switched_off(asked):
    with override_settings(REDIS_ATOMIC={"RATE_LIMIT_DENY_CACHE_SIZE": 0}):
        limiter = RateLimiter("1/h", name="export")
        exhaust(limiter)
        asked()
        assert not limiter.hit("user:7")
        assert asked() == 1


def test_a_long_identity_is_not_kept():
    limiter = RateLimiter("1/h", name="export")
    exhaust(limiter, "x" * 1_000_000)
    assert len(deny_cache) == 0
    exhaust(limiter, "x" * LONGEST_IDENTITY)
    assert len(deny_cache) == 1


def test_a_changed_setting_empties_the_cache(asked):
    with override_settings(REDIS_ATOMIC={"RATE_LIMITS": {"login": {"RATE": "1/h"}}}):
        limiter = RateLimiter("login")
        exhaust(limiter)
    with override_settings(REDIS_ATOMIC={"RATE_LIMITS": {"login": {"RATE": "2/h"}}}):
        assert limiter.hit("user:7")


async def test_asyncio_is_answered_from_the_cache_as_well(asked):
    limiter = RateLimiter("1/h", name="export")
    assert await limiter.ahit("user:7")
    assert not await limiter.ahit("user:7")
    asked()
    assert not await limiter.ahit("user:7")
    assert asked() == 0


def test_an_answer_from_the_cache_takes_microseconds():
    """Liveness, not speed: the benchmark has the figure."""
    limiter = RateLimiter("1/h", name="export")
    exhaust(limiter)
    times = []
    for _ in range(2000):
        start = time.perf_counter()
        limiter.hit("user:7")
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 20e-6
