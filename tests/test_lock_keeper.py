"""What keeps a lease alive, what ends it, and how those are told who rely on it."""

import asyncio
import gc
import logging
import threading
import time
import weakref

import pytest

from redis_atomic.exceptions import LockLost, LockUnavailable
from redis_atomic.locks import keeper
from redis_atomic.locks.context import current_lease
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from redis_atomic.locks.renewal import next_event
from redis_atomic.signals import lock_lost
from tests.servers import commands_sent, forget_commands

LOCK = "tests:lock:{a}"


def until(condition, seconds=10.0):
    """Wait for it; false if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


async def auntil(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.005)
    return True


# Renewal


def test_a_lease_outlives_its_ttl_while_it_is_used(server_client):
    with redis_lock("a", ttl=0.6) as lease:
        fence = lease.fence
        assert not lease.lost.wait(1.2)
        lease.check()
        assert server_client.get(LOCK).startswith(str(fence).encode())
    assert not server_client.exists(LOCK)


async def test_on_asyncio_too(server_client):
    async with redis_lock("a", ttl=0.6) as lease:
        await asyncio.sleep(1.2)
        lease.check()
        assert server_client.exists(LOCK)
    assert not server_client.exists(LOCK)


@pytest.mark.stress
def test_a_busy_thread_is_renewed_all_the_same():
    with redis_lock("a", ttl=0.6) as lease:
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            sum(range(1000))
        lease.check()


def test_many_leases_are_renewed_in_one_trip():
    lock = redis_semaphore("s", 50, ttl=3)
    leases = [lock.acquire() for _ in range(50)]
    forget_commands()
    start = time.monotonic()
    assert until(lambda: all(lease.lost.deadline > start + 2.97 for lease in leases))
    # A script's first use in a trip travels as EVAL: there are as many trips as these.
    assert 1 <= commands_sent()["eval"] <= 25
    for lease in leases:
        lease.release()


def test_it_is_renewed_no_longer_than_max_hold(server_client):
    began = time.monotonic()
    lease = redis_lock("a", ttl=0.6, max_hold=1.2).acquire()
    assert lease.lost.wait(10)
    assert 0.6 < time.monotonic() - began < 4
    with pytest.raises(LockLost, match=r"max_hold of 1\.2 s"):
        lease.check()
    assert until(lambda: not server_client.exists(LOCK))


def test_it_is_renewed_no_longer_than_somebody_refers_to_it(server_client):
    lease = redis_lock("a", ttl=0.3).acquire()
    reference = weakref.ref(lease)
    del lease
    gc.collect()
    assert reference() is None
    assert until(lambda: not server_client.exists(LOCK), 3)


def test_a_released_lease_is_renewed_no_more(server_client):
    lease = redis_lock("a", ttl=0.3).acquire()
    lease.release()
    assert next_event(lease, 0) <= next_event(lease, 1e12)
    assert lease not in keeper._threads["default"].current()
    time.sleep(0.4)
    assert not server_client.exists(LOCK)
    assert not lease.lost.is_set()


def test_the_thread_ends_when_there_is_nothing_to_keep():
    with redis_lock("a", ttl=0.3):
        assert keeper._threads["default"]._thread.daemon
    assert until(lambda: keeper._threads["default"]._thread is None)
    with redis_lock("a", ttl=0.6) as lease:
        assert not lease.lost.wait(0.9)


def test_whoever_comes_when_the_thread_is_about_to_end_is_looked_after():
    """Each lease of the first kind lets the thread end; the other one comes at that moment."""
    for number in range(30):
        redis_lock(f"first{number}", ttl=0.1).acquire()  # nobody refers to it
        time.sleep(0.001 * (number % 10) + 0.03)
        lease = redis_lock(f"second{number}", ttl=30).acquire()
        due, of_this_alias = lease.began + 30 / 3, keeper._threads["default"]
        assert until(lambda due=due, keeper=of_this_alias: keeper._next <= due + 1)
        assert of_this_alias._thread.is_alive()
        lease.release()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced(monkeypatch):
    def die(leases):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "renew", die)
        with redis_lock("a", ttl=1):
            thread = keeper._threads["default"]._thread
            thread.join(5)
            assert not thread.is_alive()
            with redis_lock("b", ttl=30):
                pass
    with redis_lock("c", ttl=0.6) as lease:
        assert not lease.lost.wait(0.9)


def test_a_long_lease_does_not_hide_a_short_one():
    with redis_lock("long", ttl=30), redis_lock("short", ttl=1) as lease:
        assert not lease.lost.wait(1.3)


async def test_on_asyncio_nothing_is_left_behind():
    async with redis_lock("a", ttl=0.3):
        await asyncio.sleep(0.5)
    # A renewal may be under way as the section ends: its reply is awaited, and no more.
    assert await auntil(lambda: len(asyncio.all_tasks()) == 1)


@pytest.mark.stress
def test_each_event_loop_has_a_keeper_and_closed_ones_are_forgotten():
    async def hold():
        async with redis_lock("a", ttl=0.6) as lease:
            await asyncio.sleep(0.3)
            lease.check()

    for _ in range(3):
        asyncio.run(hold())
    assert len([loop for loop in keeper._loops if loop.is_closed()]) <= 1


async def test_a_cancelled_adoption_is_not_renewed():
    text = (await redis_lock("a").aacquire()).detach()
    adopting = asyncio.create_task(redis_lock("a").aadopt(text))
    await asyncio.sleep(0)
    adopting.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await adopting
    assert keeper._loops[asyncio.get_running_loop()]["default"].current() == []
    assert raised.tb, "while somebody still holds the exception, and with it the lease"


# Loss


@pytest.fixture
def heard():
    events = []

    def receive(sender, name, lease, held, **kwargs):
        events.append((name, lease, held))

    lock_lost.connect(receive)
    yield events
    lock_lost.disconnect(receive)


def test_a_stolen_lock_is_noticed_and_told_once(server_client, heard, caplog):
    told = []
    lease = redis_lock("a", ttl=0.6, on_lost=told.append).acquire()
    server_client.set(LOCK, "a thief", px=5000)
    assert lease.lost.wait(5)
    assert until(lambda: told and heard)
    with pytest.raises(LockLost):
        lease.release()
    assert told == [lease]
    assert [(name, lost) for name, lost, _ in heard] == [("a", lease)]
    assert 0 < heard[0][2] < 5
    assert "'a' was lost" in caplog.text
    assert server_client.get(LOCK) == b"a thief"


@pytest.mark.stress
def test_other_leases_live_on(server_client, caplog):
    def slow(lease):
        time.sleep(1)
        raise RuntimeError("and loud")

    with redis_lock("b", ttl=0.6) as other:
        lease = redis_lock("a", ttl=0.3, on_lost=slow).acquire()
        server_client.delete(LOCK)
        assert lease.lost.wait(5)
        assert not other.lost.wait(0.8)
        other.check()
        assert until(lambda: "and loud" in caplog.text), "what it raised is logged"


def test_the_end_of_a_section_tells_of_a_loss(server_client):
    with pytest.raises(LockLost, match="given back"), redis_lock("a"):
        server_client.delete(LOCK)


async def test_the_end_of_an_asyncio_section_too(server_client):
    with pytest.raises(LockLost, match="given back"):
        async with redis_lock("a"):
            server_client.delete(LOCK)


def test_the_bodys_own_exception_wins_and_bears_a_note(server_client):
    @redis_lock("a")
    def work():
        server_client.delete(LOCK)
        raise KeyError("mine")

    with pytest.raises(KeyError) as raised:
        work()
    assert "was lost" in raised.value.__notes__[0]


async def test_on_asyncio_it_wins_too(server_client):
    @redis_lock("a")
    async def work():
        server_client.delete(LOCK)
        raise KeyError("mine")

    with pytest.raises(KeyError) as raised:
        await work()
    assert "was lost" in raised.value.__notes__[0]


def test_a_decorated_call_tells_of_a_loss(server_client):
    @redis_lock("a")
    def work():
        server_client.delete(LOCK)

    with pytest.raises(LockLost):
        work()


def test_check_tells_by_the_clock_alone(monkeypatch):
    monkeypatch.setattr(keeper, "watch", lambda lease: None)  # as if it had been paused
    lease = redis_lock("a", ttl=0.2).acquire()
    lease.check()
    time.sleep(0.2)
    with pytest.raises(LockLost, match="its time ran out"):
        lease.check()


def test_on_lost_may_be_a_coroutine_function(server_client):
    told = threading.Event()

    async def tell(lease):
        await asyncio.sleep(0)
        told.set()

    lease = redis_lock("a", ttl=0.3, on_lost=tell).acquire()
    server_client.delete(LOCK)
    assert told.wait(5)
    assert lease.lost.is_set()


async def test_on_lost_on_asyncio(server_client):
    told = []

    async def tell(lease):
        await asyncio.sleep(0)
        told.append(lease)

    lease = await redis_lock("a", ttl=0.3, on_lost=tell).aacquire()
    server_client.delete(LOCK)
    assert await asyncio.wait_for(lease.lost, 5)
    assert await auntil(lambda: told == [lease])


async def test_the_body_is_cancelled_when_the_lock_is_lost(server_client):
    async def work():
        async with redis_lock("a", ttl=0.3, cancel_on_lost=True):
            server_client.delete(LOCK)
            await asyncio.sleep(30)
            pytest.fail("the body went on")

    with pytest.raises(LockLost) as raised:
        await work()
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)  # nothing of the cancellation is left


@pytest.mark.parametrize("made_of_it", [ValueError("mine"), None])
async def test_whatever_the_body_makes_of_it_nothing_of_the_cancellation_is_left(
    server_client, made_of_it
):
    @redis_lock("a", ttl=0.3, cancel_on_lost=True)
    async def work():
        server_client.delete(LOCK)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            if made_of_it:
                raise made_of_it from None

    with pytest.raises(ValueError if made_of_it else LockLost):
        await work()
    assert asyncio.current_task().cancelling() == 0


async def test_a_decorated_coroutine_is_cancelled_too(server_client):
    @redis_lock("a", ttl=0.3, cancel_on_lost=True)
    async def work():
        server_client.delete(LOCK)
        await current_lease().lost
        await asyncio.sleep(30)

    with pytest.raises(LockLost):
        await work()


async def test_somebody_elses_cancellation_stays_one(server_client):
    started = asyncio.Event()

    async def work():
        async with redis_lock("a", cancel_on_lost=True):
            started.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server_client.exists(LOCK)


async def test_without_being_asked_nobody_is_cancelled(server_client):
    reached = []

    async def work():
        async with redis_lock("a", ttl=0.3) as lease:
            server_client.delete(LOCK)
            await lease.lost
            await asyncio.sleep(0.05)
            reached.append("the end")

    with pytest.raises(LockLost):
        await work()
    assert reached


# The keeper in trouble


@pytest.fixture
def no_threads(monkeypatch):
    """As on a machine that has no more threads to give, from now on."""
    monkeypatch.setattr(keeper, "_threads", {})
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("redis_atomic"):
            raise RuntimeError("can't start new thread")
        start(thread)

    def begin():
        monkeypatch.setattr(threading.Thread, "start", refuse)
        return lambda: monkeypatch.setattr(threading.Thread, "start", start)

    return begin


def test_without_a_thread_to_renew_it_there_is_no_lease_and_the_next_one_is_kept(
    no_threads, server_client
):
    end = no_threads()
    with pytest.raises(LockUnavailable, match="no thread"):
        redis_lock("a", ttl=0.6).acquire()
    assert not server_client.exists(LOCK)
    end()
    with redis_lock("a", ttl=0.6) as lease:
        assert not lease.lost.wait(0.9)


def test_losses_are_told_where_no_thread_can_be_started_for_it(no_threads, server_client):
    told = []
    leases = [redis_lock(name, ttl=0.6, on_lost=told.append).acquire() for name in "ab"]
    no_threads()
    server_client.flushdb()
    assert until(lambda: len(told) == 2)
    assert set(told) == set(leases)


@pytest.mark.stress
def test_an_unexpected_error_is_logged_and_the_keeper_goes_on(monkeypatch, caplog):
    real, failed = keeper.renew, []

    def once_broken(leases):
        if not failed:
            failed.append(True)
            raise RuntimeError("a bug")
        return real(leases)

    monkeypatch.setattr(keeper, "renew", once_broken)
    monkeypatch.setattr(keeper, "AGAIN", 0.05)
    caplog.set_level(logging.ERROR, "redis_atomic.locks")
    with redis_lock("a", ttl=0.6) as lease:
        assert not lease.lost.wait(1.2)
    assert failed
    assert "it goes on" in caplog.text
