from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.ratelimit.charge import Charge
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.local import PARTS, LocalLimiter
from redis_atomic.ratelimit.rate import Rate
from tests.test_rate_limit_oracle import BucketModel, expected

WINDOW = 60_000_000


class Clock:
    now = 10**12

    def __call__(self):
        return self.now


def charge(amount=5, *, cost=1, identity="user:7", scope="view", **options):
    limit = Limit(Rate(amount, WINDOW), key=None, **options)
    return Charge(limit, limit.rate, scope, identity, cost)


steps = st.lists(
    st.tuples(st.integers(0, WINDOW // 40) | st.integers(0, 2 * WINDOW), st.integers(0, 6)),
    max_size=80,
)


@given(st.integers(1, 5), steps)
def test_no_window_ever_has_more_than_the_amount(amount, steps):
    clock, admitted = Clock(), []
    limiter = LocalLimiter(clock=clock)
    for pause, cost in steps:
        clock.now += pause
        answer = limiter.ask([charge(amount, cost=cost)])
        (state,) = answer.states
        used = sum(units for moment, units in admitted if clock.now - moment < WINDOW)
        late = WINDOW + 2 * WINDOW // PARTS
        still = sum(units for moment, units in admitted if clock.now - moment < late)
        if answer.allowed:
            assert used + cost <= amount or cost == 0
            admitted.append((clock.now, cost))
        else:
            assert still + cost > amount
            assert state.retry_after == -1 if cost > amount else state.retry_after > 0


@given(st.integers(1, 5), st.integers(1, 9), steps)
def test_a_bucket_is_that_of_the_model(amount, burst, steps):
    clock, model = Clock(), BucketModel()
    limiter = LocalLimiter(clock=clock)
    for pause, cost in steps:
        clock.now += pause
        asked = [charge(amount, cost=cost, algorithm="token_bucket", burst=burst)]
        assert limiter.ask(asked) == expected([model], asked, clock.now, peek=False)


def test_all_are_charged_or_none():
    limiter = LocalLimiter(clock=Clock())
    asked = [charge(2), charge(9, scope="other", algorithm="token_bucket")]
    for _ in range(5):
        limiter.ask(asked)
    assert [state.remaining for state in limiter.ask(asked, peek=True).states] == [0, 7]


def test_after_the_time_told_it_passes():
    clock = Clock()
    limiter = LocalLimiter(clock=clock)
    for _ in range(5):
        clock.now += 1_000_000
        assert limiter.ask([charge()]).allowed
    (state,) = limiter.ask([charge(cost=3)]).states
    clock.now += state.retry_after - 1
    assert not limiter.ask([charge(cost=3)]).allowed
    clock.now += 1
    assert limiter.ask([charge(cost=3)]).allowed


def test_the_log_stays_short_and_the_counts_few():
    clock = Clock()
    limiter = LocalLimiter(size=3, clock=clock)
    for number in range(10_000):
        clock.now += 1000
        limiter.ask([charge(100_000, identity=f"user:{number % 7}")])
    assert len(limiter._counts) == 3
    assert all(len(count._log) <= PARTS + 2 for count in limiter._counts.values())


def test_a_shadow_limit_refuses_nothing():
    limiter = LocalLimiter(clock=Clock())
    asked = [charge(1, shadow=True), charge(9, scope="other")]
    assert all(limiter.ask(asked).allowed for _ in range(9))
    assert not limiter.ask(asked).allowed


def test_who_is_refused_drives_nobody_elses_count_out():
    limiter = LocalLimiter(clock=Clock(), size=3)
    full, ann = charge(1), charge(1, identity="post:name:ann", scope="name")
    limiter.ask([full, ann])
    for number in range(9):
        invented = charge(1, identity=f"post:name:{number}", scope="name")
        assert not limiter.ask([full, invented]).allowed
        limiter.ask([invented], peek=True)
        limiter.take_back([(invented, 10**12)])
    assert not limiter.ask([ann]).allowed


def test_who_keeps_asking_is_not_forgotten():
    limiter = LocalLimiter(clock=Clock(), size=5)
    busy = charge(1)
    assert limiter.ask([busy]).allowed
    for number in range(50):
        limiter.ask([charge(1, identity=f"user:{number}", scope="other")])
        assert not limiter.ask([busy]).allowed


def test_a_refund_and_a_reset_are_exact():
    clock = Clock()
    limiter = LocalLimiter(clock=clock)
    asked = charge(cost=2)
    first = limiter.ask([asked]).states[0]
    clock.now += WINDOW // 2
    limiter.ask([asked])
    limiter.take_back([(asked, first.end)])
    assert limiter.ask([asked], peek=True).states[0].remaining == 3
    limiter.take_back([(asked, first.end)])  # there is nothing left of it
    assert limiter.ask([asked], peek=True).states[0].remaining == 3
    limiter.forget([asked])
    assert limiter.ask([asked], peek=True).states[0].remaining == 5
