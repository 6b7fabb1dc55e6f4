"""What a client does between its requests: the steps of an attempt, one by one."""

import asyncio
import math
import threading
import time

import pytest

from redis_atomic.client.connections import client_for
from redis_atomic.exceptions import (
    IndeterminateResult,
    LockBusy,
    LockUnavailable,
    NotExecuted,
    ReplyError,
)
from redis_atomic.locks import returning
from redis_atomic.locks import steps as steps_module
from redis_atomic.locks.acquiring import prepare
from redis_atomic.locks.asking import Ask
from redis_atomic.locks.keys import Keys
from redis_atomic.locks.lock import redis_lock
from redis_atomic.locks.protocol import BUSY, GRANT, HELD, SLICE, Answer, Terms, Ticket
from redis_atomic.locks.returning import finish
from redis_atomic.locks.steps import Listen, Sleep, adrive, drive, to_the_end
from redis_atomic.locks.waiting import Attempt

LOST = IndeterminateResult("the reply was lost")
REFUSED = NotExecuted("nobody there")


@pytest.fixture
def clock(monkeypatch):
    """A clock that only goes when it is told to."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


class Client:
    """The generator of one attempt, answered by the test."""

    def __init__(self, clock, *, ttl=10.0, wait=5.0, **options):
        self.clock = clock
        self.ticket = Ticket(Keys("a"), Terms(), "me")
        self.attempt = Attempt(self.ticket, client_for("default"), ttl, wait, **options)
        self.steps = self.attempt.acquire()
        self.step = next(self.steps)

    def answer(self, outcome=None, *, after=0.0):
        """Let time pass, answer the last step, and return the next one."""
        self.clock.now += after
        if isinstance(self.step, Ask):  # as the driver does it
            traced = self.ticket.note_sent()
            if isinstance(outcome, Exception):
                self.ticket.note_failure(outcome, traced)
        if isinstance(outcome, Exception):
            self.step = self.steps.throw(outcome)
        else:
            self.step = self.steps.send(outcome)
        return self.step

    def result(self, outcome, *, after=0.0):
        with pytest.raises(StopIteration) as stop:
            self.answer(outcome, after=after)
        return stop.value.value


def busy(milliseconds=8000, place=0):
    return Answer(BUSY, milliseconds, place)


def test_the_deadline_counts_from_before_the_request(clock):
    grant = Client(clock).result(Answer(HELD, 7, 1), after=2.0)
    assert grant == (7, 1, 1000.0, 1000.0 + 10 - 0.1 - 0.002)


def test_an_answer_after_the_end_of_the_ttl_is_no_lease(clock):
    client = Client(clock)
    with pytest.raises(LockUnavailable, match="longer than its TTL"):
        client.answer(Answer(HELD, 7, 1), after=9.9)
    assert client.ticket.trace, "it has to be given back"


def test_each_request_has_a_deadline_of_its_own(clock):
    client = Client(clock, wait=60.0)
    client.answer(busy())
    client.answer(None, after=2.5)
    assert client.result(Answer(HELD, 7, 1)).until == pytest.approx(1002.5 + 9.898)


def test_between_two_requests_it_listens(clock):
    client = Client(clock)
    assert isinstance(client.step, Ask)
    listen = client.answer(busy())
    assert isinstance(listen, Listen)
    assert listen.call.command == "BLPOP"


@pytest.mark.parametrize("woken", [None, [b"key", b"17"], LOST])
def test_whatever_listening_brings_it_asks_again(clock, woken):
    client = Client(clock)
    client.answer(busy())
    assert isinstance(client.answer(woken), Ask), "a wake-up is never trusted"


def test_a_waiter_wakes_up_by_itself(clock):
    def seconds(**options):
        client = Client(clock, wait=60.0)
        return float(client.answer(busy(**options)).call.args[0])

    assert seconds(milliseconds=60_000) == SLICE
    assert seconds(milliseconds=300) == pytest.approx(0.301), "when the holder's time is over"
    assert seconds(milliseconds=300, place=3) == pytest.approx(0.316), "the head shall be first"
    assert seconds(milliseconds=300, place=500) == pytest.approx(0.401)


def test_it_never_sleeps_beyond_its_time(clock):
    client = Client(clock, wait=1.0)
    assert float(client.answer(busy(), after=0.4).call.args[0]) == pytest.approx(0.6)
    client.answer(None, after=0.7)
    with pytest.raises(LockBusy):
        client.answer(busy())


def test_it_listens_no_longer_than_a_connection_does(settings):
    cache = settings.CACHES["default"]
    for timeout, expected in ((0.3, 0.15), (4, 2.0), (60, 2.5), (None, 2.5)):
        options = {"SOCKET_TIMEOUT": timeout} if timeout else {}
        settings.CACHES = settings.CACHES | {"default": cache | {"OPTIONS": options}}
        _, attempt = prepare(redis_lock("a"), "a")
        assert attempt.ticket.terms.nap == expected


def test_a_lost_reply_is_asked_for_again_with_the_same_token(clock):
    client = Client(clock)
    first = client.step.call
    assert isinstance(client.answer(LOST), Sleep)
    again = client.answer()
    assert again.call == first
    assert client.ticket.doubt
    assert client.result(Answer(HELD, 7, 1)).fence == 7


def test_after_a_lost_reply_all_is_left_and_the_token_buried(clock):
    client = Client(clock)
    client.answer(LOST)
    client.answer()
    client.result(Answer(HELD, 7, 1))
    assert client.ticket.finish(10).args[1:3] == (1, 60_000)


def test_what_was_never_queued_need_not_leave(clock):
    client = Client(clock)
    client.result(Answer(HELD, 7, 1))
    assert client.ticket.finish(10).args[1:3] == (0, 0)


def test_what_stood_in_the_queue_leaves_it(clock):
    client = Client(clock)
    client.answer(busy())
    client.answer(None)
    client.result(Answer(HELD, 7, 1))
    assert client.ticket.finish(10).args[1:3] == (1, 0)


def test_an_interrupted_request_may_have_been_queued(clock):
    client = Client(clock)
    client.steps.close()
    assert client.ticket.finish(10).args[1] == 1


def test_trouble_ends_with_the_wait(clock):
    client = Client(clock, wait=5.0)
    client.answer(REFUSED)
    client.answer(after=4.9)
    assert isinstance(client.answer(REFUSED), Sleep)
    client.answer(after=0.2)
    with pytest.raises(LockUnavailable, match=r"within 5\.\d\d s"):
        client.answer(REFUSED)
    assert not client.ticket.trace, "nothing was ever sent"


def test_one_try_is_one_try(clock):
    client = Client(clock, wait=0.0)
    with pytest.raises(LockUnavailable):
        client.answer(REFUSED)
    client = Client(clock, wait=0.0)
    with pytest.raises(LockBusy):
        client.answer(Answer(BUSY, 500, -1))
    assert not client.ticket.trace


def test_one_try_whose_reply_was_lost_gets_a_moment_to_find_out(clock):
    client = Client(clock, wait=0.0)
    client.answer(LOST)
    client.answer(after=0.9)
    client.answer(LOST)
    client.answer(after=0.2)
    with pytest.raises(LockUnavailable):
        client.answer(LOST)


def test_waiting_for_ever_is_for_a_busy_lock_not_for_a_dead_server(clock):
    client = Client(clock, wait=math.inf)
    for _ in range(100):
        client.answer(busy())
        client.answer(None, after=2.5)
    client.answer(REFUSED)
    client.answer(after=9.0)
    client.answer(REFUSED)
    client.answer(after=2.0)
    with pytest.raises(LockUnavailable):
        client.answer(REFUSED)


def test_an_error_that_time_does_not_heal_is_told_at_once(clock):
    client = Client(clock)
    with pytest.raises(LockUnavailable, match="no permission"):
        client.answer(ReplyError("no permission", code="NOPERM"))
    assert client.ticket.doubt, "a script may have got half-way"


def test_a_finished_token_is_never_asked_for(clock):
    with pytest.raises(AssertionError, match="used again"):
        Client(clock).answer(Answer("FINISHED", 0, 0))


def test_without_a_connection_to_listen_on_it_polls(clock):
    client = Client(clock)
    client.answer(busy())
    sleep = client.answer(REFUSED)
    assert isinstance(sleep, Sleep)
    assert sleep.seconds <= GRANT / 2
    assert isinstance(client.answer(), Ask)
    assert isinstance(client.answer(busy()), Sleep), "and not at once again"
    client.answer()
    assert isinstance(client.answer(busy()), Listen)


@pytest.mark.parametrize("place", [0, 1, 5, 100])
def test_polls_are_well_within_a_grant(clock, place):
    client = Client(clock, wait=600.0, listening=False)
    for _ in range(50):
        sleep = client.answer(busy(place=place))
        assert 0.002 <= sleep.seconds <= 0.45 * GRANT
        client.answer()


def test_who_is_not_fair_polls_and_never_queues(clock):
    client = Client(clock, fair=False)
    assert client.step.call.args[3].startswith("0 ")
    assert client.answer(Answer(BUSY, 8000, -1)).seconds <= 0.05


def test_a_fair_waiter_queues_from_the_start(clock):
    assert Client(clock).step.call.args[3].startswith("1 ")
    assert Client(clock, wait=0.0).step.call.args[3].startswith("0 ")


# Giving back


@pytest.fixture
def left(monkeypatch):
    """What is left to the background, which does not begin."""
    left = []
    monkeypatch.setattr(returning.in_background, "add", lambda client, each: left.append(each))
    return left


def test_giving_back_is_tried_a_few_times(clock, left):
    ticket = Ticket(Keys("a"), Terms(), "me", trace=True)
    steps, asked = finish(ticket, client_for("default"), 10), 0

    def all_lost():
        nonlocal asked
        step = next(steps)
        while True:
            asked += isinstance(step, Ask)
            step = steps.throw(LOST) if isinstance(step, Ask) else steps.send(None)

    with pytest.raises(StopIteration) as stop:
        all_lost()
    assert stop.value.value == (None, True)
    assert asked == returning.TRIES
    assert [each.ticket for each in left] == [ticket]


def test_giving_back_ends_in_time(clock, left):
    ticket = Ticket(Keys("a"), Terms(), "me")
    steps = finish(ticket, client_for("default"), 10)
    next(steps)
    clock.now += returning.TIME
    with pytest.raises(StopIteration):
        steps.throw(LOST)
    assert left[0].until >= clock.now + 10


# The drivers


def counting(log):
    """Steps that count."""
    for number in range(3):
        log.append((yield Sleep(0)))
        log.append(number)
    return "done"


async def test_both_drivers_do_the_same():
    first, second = [], []
    assert drive(counting(first)) == "done"
    assert await adrive(counting(second)) == "done"
    assert first == second == [None, 0, None, 1, None, 2]


class Failing:
    def perform(self):
        raise LOST

    async def aperform(self):
        raise LOST


async def test_both_drivers_throw_what_a_step_raises():
    def steps():
        try:
            yield Failing()
        except IndeterminateResult:
            return (yield Sleep(0)) or "caught"

    assert drive(steps()) == "caught"
    assert await adrive(steps()) == "caught"


async def test_what_must_end_is_awaited_though_cancelled():
    ended, started = [], asyncio.Event()

    async def work():
        started.set()
        await asyncio.sleep(0.05)
        ended.append(True)

    task = asyncio.ensure_future(to_the_end(work()))
    await started.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_an_error_of_what_must_end_gives_way_to_the_cancellation():
    async def work():
        await asyncio.sleep(0.01)
        raise LOST

    task = asyncio.ensure_future(to_the_end(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(IndeterminateResult):
        await to_the_end(work())


def test_more_waiters_than_connections_poll_and_all_are_served(monkeypatch, server_client):
    monkeypatch.setattr(steps_module, "_seats", threading.BoundedSemaphore(1))
    served = []

    def work():
        with redis_lock("a", wait=20) as lease:
            served.append(lease.fence)

    with redis_lock("a"):
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        while server_client.llen("tests:lock:{a}:queue") < 6:
            time.sleep(0.01)
        blocked = [client for client in server_client.client_list() if client["cmd"] == "blpop"]
        assert len(blocked) <= 1
    for thread in threads:
        thread.join(30)
    assert served == sorted(served)
    assert len(served) == 6
    assert server_client.keys() == [b"tests:lock:{a}:fence"]


async def test_where_all_connections_are_taken_listening_fails_at_once(monkeypatch):
    monkeypatch.setattr(steps_module, "_seats", threading.BoundedSemaphore(1))
    ticket = Ticket(Keys("a"), Terms(), "me")
    listen = Listen(client_for("default"), ticket.listen(5), 6)
    with steps_module._a_seat():
        with pytest.raises(NotExecuted, match="taken"):
            listen.perform()
        with pytest.raises(NotExecuted, match="taken"):
            await listen.aperform()
    assert Listen(client_for("default"), ticket.listen(0.01), 5).perform() is None


def test_waiters_are_served_in_order_of_arrival(server_client):
    order = []

    def work(number):
        with redis_lock("a", wait=20):
            order.append(number)

    with redis_lock("a"):
        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=work, args=[number]))
            threads[-1].start()
            while server_client.llen("tests:lock:{a}:queue") <= number:
                time.sleep(0.005)
    for thread in threads:
        thread.join(30)
    assert order == list(range(8))


async def test_waiting_costs_less_than_a_command_a_second(server_client):
    async def wait():
        async with redis_lock("a", wait=30):
            pass

    async with redis_lock("a"):
        waiters = [asyncio.create_task(wait()) for _ in range(8)]
        while server_client.llen("tests:lock:{a}:queue") < 8:
            await asyncio.sleep(0.01)
        before = server_client.info("stats")["total_commands_processed"]
        began = time.monotonic()
        await asyncio.sleep(1.5)
        used = server_client.info("stats")["total_commands_processed"] - before
        # Inside a script each command counts; a BLPOP and an acquire of five commands a slice.
        assert used <= 8 * math.ceil((time.monotonic() - began) / SLICE) * 8
    await asyncio.gather(*waiters)
