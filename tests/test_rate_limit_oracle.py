"""
The scripts against a model of a few lines, on a clock that the tests turn.

The model keeps every unit by itself and knows nothing of rings, stamps modulo
2^24 or drains: a window is a list of ticks, a bucket the fraction of a moment at
which it will be empty.
"""

import dataclasses
import random
from fractions import Fraction
from itertools import count
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redis_atomic.client.connections import client_for
from redis_atomic.client.execution import run
from redis_atomic.ratelimit.answer import NEVER, Answer, State
from redis_atomic.ratelimit.charge import Charge
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.protocol import ask, life_of, take_back, tick_of
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.scripting.script import PrefixedKey

START = 1_800_000_000_000_000
#: The clock of the tests stands still while the server's runs.
TTL_FLOOR = 10**8

numbers = count()


class WindowModel:
    def __init__(self):
        self.ticks = []

    def look(self, charge, now):
        self.tick = tick_of(charge.rate.window)
        self.life = life_of(charge.rate.window, self.tick)
        self.now = max(now // self.tick, *self.ticks[-1:], 0)
        live = [tick for tick in self.ticks if self.now - tick < self.life]
        need = len(live) + charge.cost - charge.capacity
        if charge.cost > charge.capacity:
            retry = NEVER
        elif charge.cost and need > 0:
            retry = self._end(live[need - 1]) - now
        else:
            retry = 0
        reset = self._end(live[-1]) - now if live else 0
        return State(max(charge.capacity - len(live), 0), retry, reset, now + reset)

    def _end(self, tick):
        return (tick + self.life) * self.tick

    def charge(self, charge, now):
        live = [tick for tick in self.ticks if self.now - tick < self.life]
        self.ticks = live + [self.now] * charge.cost

    def refund(self, charge, end, now):
        if now >= end:
            return 0
        tick = tick_of(charge.rate.window)
        mine = [t for t in self.ticks if (t + life_of(charge.rate.window, tick)) * tick == end]
        for each in mine[: charge.cost]:
            self.ticks.remove(each)
        return len(mine[: charge.cost])


class BucketModel:
    def __init__(self):
        self.moment = 0
        self.empty = Fraction(0)

    def look(self, charge, now):
        self.token = Fraction(charge.rate.window, charge.rate.amount)
        self.now = max(now, self.moment)
        wait = max(self.empty - self.now, 0)
        full = charge.capacity * self.token
        over = wait + charge.cost * self.token - full
        if charge.cost > charge.capacity:
            retry = NEVER
        else:
            retry = ceil(over) + self.now - now if charge.cost and over > 0 else 0
        reset = ceil(wait) + self.now - now if wait else 0
        return State(max(floor((full - wait) / self.token), 0), retry, reset, now + reset)

    def charge(self, charge, now):
        self.empty = max(self.empty, self.now) + charge.cost * self.token
        self.moment = self.now

    def refund(self, charge, end, now):
        self.look(charge, now)
        wait = max(self.empty - self.now, 0)
        back = min(charge.cost * self.token, max(end - self.now, 0), wait)
        if back:
            self.empty, self.moment = self.now + wait - back, self.now
            if back == wait:  # nothing is left, and the key goes
                self.empty, self.moment = Fraction(0), 0
        return floor(back / self.token)


def model_of(limit):
    return WindowModel() if limit.algorithm == "sliding_window" else BucketModel()


def costing_nothing(charge):
    return Charge(charge.limit, charge.rate, charge.scope, charge.identity, 0)


def expected(models, charges, now, peek):
    states = [model.look(charge, now) for model, charge in zip(models, charges, strict=True)]
    allowed = all(
        s.retry_after == 0 or c.limit.shadow for s, c in zip(states, charges, strict=True)
    )
    for i, (model, charge) in enumerate(zip(models, charges, strict=True)):
        if allowed and not peek and charge.cost and states[i].retry_after == 0:
            model.charge(charge, now)
            after = model.look(costing_nothing(charge), now)
            states[i] = after._replace(retry_after=0)
    return Answer(allowed, states)


MILLISECOND = 1000
WINDOWS = [
    MILLISECOND,
    30 * MILLISECOND,
    1_000_000,
    8_000_000,
    9_000_000,
    60_000_000,
    3_600_000_000,
    86_400_000_000,
]


@st.composite
def limits(draw):
    window = draw(st.sampled_from(WINDOWS))
    amount = draw(st.integers(1, 12) | st.integers(1, 400))
    shadow = draw(st.integers(0, 9)) == 0
    if draw(st.integers(0, 3)):
        return Limit(Rate(amount, window), shadow=shadow)
    burst = draw(st.none() | st.integers(1, 60))
    return Limit(Rate(amount, window), algorithm="token_bucket", burst=burst, shadow=shadow)


@dataclasses.dataclass(frozen=True)
class Step:
    """One call: after a pause, in thousandths of some limit's window, at costs per limit."""

    pause: int
    whose: int
    microseconds: int
    costs: tuple
    peek: bool
    refund: int | None
    capacity: int | None


pauses = (
    st.just(0)
    | st.integers(0, 60)
    | st.integers(0, 2100)
    | st.integers(-330, 0)
    | st.sampled_from([999, 1000, 1001])
)
costs = st.tuples(*[st.just(1) | st.integers(0, 3) | st.integers(0, 1000)] * 4)
steps = st.builds(
    Step,
    pause=pauses,
    whose=st.integers(0, 3),
    microseconds=st.integers(-2, 2),
    costs=costs,
    peek=st.integers(0, 7).map(lambda n: n == 0),
    refund=st.none() | st.none() | st.none() | st.integers(0, 20),
    capacity=st.none() | st.none() | st.none() | st.none() | st.integers(1, 400),
)


def compare(limits, steps):
    """Run the steps in Redis and in the model; returns how many calls were made."""
    client = client_for("default")
    run_number = next(numbers)
    keys = [PrefixedKey(f"oracle:{{{run_number}}}:{i}") for i in range(len(limits))]
    models = [model_of(limit) for limit in limits]
    limits, now, made, calls = list(limits), START, [], 0
    for step in steps:
        whose = step.whose % len(limits)
        now += int(limits[whose].rate.window * step.pause / 1000) + step.microseconds
        if step.capacity and limits[whose].algorithm == "sliding_window":
            rate = Rate(step.capacity, limits[whose].rate.window)
            limits[whose] = dataclasses.replace(limits[whose], rate=rate)
        charges = [
            Charge(
                x, x.rate, "view", "user:7", min(cost, x.capacity(x.rate) + 1) if cost > 3 else cost
            )
            for x, cost in zip(limits, step.costs, strict=False)
        ]
        call = ask(charges, keys, peek=step.peek)
        answer = run(client, dataclasses.replace(call, args=(*call.args, now, TTL_FLOOR)))
        assert answer == expected(models, charges, now, step.peek)
        calls += 1
        if answer.allowed and not step.peek:
            made += [
                (i, charge, state.end)
                for i, (charge, state) in enumerate(zip(charges, answer.states, strict=True))
                if charge.cost and state.retry_after == 0
            ]
        if step.refund is not None and made:
            i, charge, end = made.pop(-1 - step.refund % len(made))
            call = take_back([(charge, end)], [keys[i]])
            back = run(client, dataclasses.replace(call, args=(*call.args, now, TTL_FLOOR)))
            assert back == [models[i].refund(charge, end, now)]
    return calls


@settings(max_examples=40)
@given(st.lists(limits(), min_size=1, max_size=4), st.lists(steps, min_size=1, max_size=60))
def test_every_answer_and_refund_is_that_of_the_model(limits, steps):
    compare(limits, steps)


def traffic(rng, limits, length):
    """Steps that keep the first limit's log about full, so that its ring turns."""
    capacity = limits[0].capacity(limits[0].rate)
    cost = rng.choice([1, 1, 2, max(capacity // 6, 1)])
    pace = rng.choice([0.3, 1, 1, 3]) * 1000 * cost / capacity
    changes = rng.random() < 0.2
    for _ in range(length):
        kind = rng.random()
        yield Step(
            pause=rng.expovariate(1 / pace)
            if kind < 0.75
            else 0
            if kind < 0.9
            else rng.uniform(-330, 0)
            if kind < 0.93
            else rng.uniform(0, 1000)
            if kind < 0.99
            else rng.uniform(900, 2100),
            whose=0,
            microseconds=rng.randint(-1, 1),
            costs=tuple(
                cost if rng.random() < 0.8 else rng.choice([0, 1, 3, rng.randint(0, 402)])
                for _ in range(4)
            ),
            peek=rng.random() < 0.05,
            refund=rng.randint(0, 20) if rng.random() < 0.1 else None,
            capacity=rng.randint(1, 400) if changes and rng.random() < 0.05 else None,
        )


def random_limits(rng):
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        rate = Rate(rng.choice([rng.randint(1, 12), rng.randint(1, 400)]), rng.choice(WINDOWS))
        shadow = rng.random() < 0.1
        if rng.random() < 0.75:
            yield Limit(rate, shadow=shadow)
        else:
            burst = rng.choice([None, rng.randint(1, 60)])
            yield Limit(rate, algorithm="token_bucket", burst=burst, shadow=shadow)


def compare_long_run(seed, length):
    rng = random.Random(seed)
    limits = list(random_limits(rng))
    return compare(limits, traffic(rng, limits, length))


@pytest.mark.parametrize("seed", range(25))
def test_in_steady_traffic_every_answer_and_refund_is_that_of_the_model(seed):
    compare_long_run(seed, 300)


@pytest.mark.parametrize("amount", [*range(46, 52), *range(99, 104)])
def test_where_a_log_gets_too_long_to_be_written_or_read_whole_answers_are_the_models(amount):
    rng = random.Random(amount)
    full = [Step(0, 0, 1, (1,), False, None, None)] * amount
    leaving = [Step(990 / amount, 0, 1, (1,), rng.random() < 0.1, None, None)] * 150
    compare([Limit(Rate(amount, 8_000_000))], [*full, *leaving])
    compare([Limit(Rate(amount, 60_000_000))], [*leaving, *full, *leaving])
    half = [Step(1700 / amount, 0, 1, (1,), False, None, None)] * 200
    compare([Limit(Rate(amount, 1_000_000))], [*half, *full, *leaving])  # a ring that grew


@pytest.mark.stress
def test_a_hundred_thousand_answers_are_those_of_the_model():
    assert sum(compare_long_run(1000 + seed, 500) for seed in range(200)) == 100_000
