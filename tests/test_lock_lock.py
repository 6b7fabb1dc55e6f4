"""``redis_lock`` and ``redis_semaphore`` as projects use them."""

import asyncio
import contextlib
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils.functional import SimpleLazyObject

from redis_atomic.exceptions import AlreadyHeld, LockBusy, LockLost, LockNotOwned
from redis_atomic.locks.context import current_lease, sections
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from redis_atomic.locks.options import FOREVER, LONGEST
from redis_atomic.locks.section import _entered
from redis_atomic.signals import lock_acquired, lock_busy, lock_lost, lock_released
from tests.servers import commands_sent, forget_commands

LOCK = "tests:lock:{a}"


def in_thread(function):
    """Run it in another thread and return what it returns or raises."""
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(function)
        return future.exception(30) or future.result()


def held_elsewhere(name="a", **options):
    return in_thread(redis_lock(name, **options).acquire)


# With, async with, decorator, methods


def test_a_section_holds_the_lock_and_gives_it_back(server_client):
    with redis_lock("a") as lease:
        assert server_client.get(LOCK) == f"{lease.fence}:{lease.token}".encode()
        assert 29_000 < server_client.pttl(LOCK) <= 30_000
        assert lease.held
        lease.check()
    assert not server_client.exists(LOCK)
    assert not lease.held
    with pytest.raises(LockNotOwned, match="released"):
        lease.check()


async def test_an_asyncio_section_does_the_same(server_client):
    async with redis_lock("a") as lease:
        assert server_client.get(LOCK) == f"{lease.fence}:{lease.token}".encode()
        lease.check()
    assert not server_client.exists(LOCK)
    assert not lease.held


def test_a_decorated_function_is_locked_by_its_arguments(server_client):
    @redis_lock("order:{number}")
    def ship(number, *, fast=False):
        """Ship it."""
        return current_lease().name, server_client.exists(f"tests:lock:{{order:{number}}}"), fast

    assert ship(7, fast=True) == ("order:7", 1, True)
    assert ship(number=8) == ("order:8", 1, False)
    assert (ship.__name__, ship.__doc__) == ("ship", "Ship it.")
    assert not server_client.keys("tests:lock:{order:?}")


async def test_a_decorated_coroutine_function_too(server_client):
    @redis_lock("order:{number}")
    async def ship(number):
        await asyncio.sleep(0)
        return current_lease().name, server_client.exists(f"tests:lock:{{order:{number}}}")

    assert await asyncio.gather(ship(1), ship(2)) == [("order:1", 1), ("order:2", 1)]


def test_acquire_returns_a_lease_that_any_thread_may_release(server_client):
    lease = redis_lock("a").acquire()
    assert in_thread(lease.release) is None
    assert not server_client.exists(LOCK)
    with pytest.raises(LockNotOwned, match="released"):
        lease.release()


async def test_aacquire_and_arelease(server_client):
    lease = await redis_lock("a").aacquire()
    assert server_client.exists(LOCK)
    await lease.arelease()
    assert not server_client.exists(LOCK)


def test_one_definition_serves_many_threads_at_once():
    lock, inside, most = redis_lock("a", wait=20), 0, 0

    def work():
        nonlocal inside, most
        for _ in range(10):
            with lock as lease:
                inside += 1
                most = max(most, inside)
                lease.check()
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most) == (0, 1)


async def test_one_definition_serves_many_tasks_at_once():
    lock, order = redis_lock("a", wait=20), []

    async def work(number):
        async with lock as lease:
            order.append(number)
            await asyncio.sleep(0)
            assert order[-1] == number
            lease.check()
            return lease.fence

    fences = await asyncio.gather(*(work(number) for number in range(20)))
    assert len(order) == 20
    assert [fences[number] for number in order] == sorted(fences)


def test_a_lock_in_a_section_of_another_thread_is_found_by_nobody_else():
    lock = redis_lock("a")
    with lock:
        assert isinstance(in_thread(lambda: lock.__exit__(None, None, None)), LockNotOwned)


def held(name, ended, lock=None):
    """A generator with a section inside."""
    with lock or redis_lock(name) as lease:
        try:
            yield lease
        finally:
            ended.append(name)


def test_a_section_in_a_generator_ends_wherever_that_is_closed(server_client):
    ended = []
    generator = held("a", ended)
    lease = next(generator)
    assert in_thread(generator.close) is None
    assert ended == ["a"]
    assert lease.ended == "released"
    assert not server_client.exists(LOCK)


def test_generators_that_take_turns_each_end_their_own_section():
    semaphore, ended = redis_semaphore("s", 2), []
    one, other = held("one", ended, semaphore), held("other", ended, semaphore)
    first, second = next(one), next(other)
    one.close()
    assert (first.ended, second.held) == ("released", True)
    other.close()
    assert second.ended == "released"


def test_a_section_of_an_async_generator_ends_with_its_loop(server_client):
    async def items():
        async with redis_lock("a"):
            yield server_client.exists(LOCK)

    async def first():
        unfinished.append(items())
        return await anext(unfinished[0])

    unfinished = []
    assert asyncio.run(first()) == 1
    assert not server_client.exists(LOCK)


def test_sections_of_an_exit_stack_end_in_turn():
    semaphore = redis_semaphore("s", 2)
    with contextlib.ExitStack() as stack:
        first, second = stack.enter_context(semaphore), stack.enter_context(semaphore)
        stack.callback(lambda: seen.append((first.held, second.held)))
        seen = []
    assert seen == [(True, True)]
    assert (first.ended, second.ended) == ("released", "released")


def test_sections_that_ended_elsewhere_are_forgotten():
    for _ in range(5):
        generator = held("a", [])
        next(generator)
        assert in_thread(generator.close) is None
    with redis_lock("a"):
        assert len(sections.get()) == 1


def test_a_stack_that_is_never_closed_keeps_no_frame():
    stack = contextlib.ExitStack()
    stack.enter_context(redis_lock("a"))
    assert not _entered
    stack.close()


def test_sections_nest_and_current_lease_is_the_innermost():
    with pytest.raises(LockNotOwned, match="current_lease"):
        current_lease()
    with redis_lock("a") as outer:
        with redis_lock("b") as inner:
            assert current_lease() is inner
        assert current_lease() is outer
    with pytest.raises(LockNotOwned):
        current_lease()


async def test_a_task_started_inside_sees_the_lease_of_its_starter():
    async def which():
        return current_lease()

    async with redis_lock("a") as lease:
        assert await asyncio.create_task(which()) is lease


# Busy


def test_a_lock_that_is_held_is_busy_after_the_wait():
    lease = held_elsewhere()
    began = time.monotonic()
    with pytest.raises(LockBusy, match="'a' is held"):
        redis_lock("a", wait=0.3).acquire()
    assert 0.3 <= time.monotonic() - began < 5
    lease.release()


def test_wait_zero_is_one_try_that_leaves_no_place_in_the_queue(server_client):
    lease = held_elsewhere()
    with pytest.raises(LockBusy):
        redis_lock("a", wait=0).acquire()
    assert server_client.keys("*queue") == []
    lease.release()
    redis_lock("a", wait=0).acquire().release()


def test_who_gave_up_waiting_is_no_longer_in_the_queue(server_client):
    lease = held_elsewhere()
    for wait in (0.05, timedelta(milliseconds=50)):
        with pytest.raises(LockBusy):
            redis_lock("a", wait=wait).acquire()
    assert server_client.keys("*queue") + server_client.keys("*alive") == []
    lease.release()


def test_busy_is_a_timeout_for_those_who_know_only_that():
    lease = held_elsewhere()
    with pytest.raises(TimeoutError):
        redis_lock("a", wait=0).acquire()
    lease.release()


def test_a_waiter_for_ever_is_woken_at_once():
    lease = held_elsewhere()
    threading.Timer(0.2, lease.release).start()
    with redis_lock("a", wait=FOREVER) as mine:
        assert 0.1 < mine.waited < 5
        assert mine.fence > lease.fence


# The same lock again


def test_the_same_lock_again_in_the_same_thread_is_an_error_at_once():
    with redis_lock("a"):
        began = time.monotonic()
        with pytest.raises(AlreadyHeld, match="held here"), redis_lock("a"):
            pass
        assert time.monotonic() - began < 1
    with redis_lock("a"):
        pass


def test_an_earlier_lease_that_is_dropped_late_does_not_hide_the_present_one():
    lock = redis_lock("a")
    for _ in range(3):
        with lock as lease, pytest.raises(AlreadyHeld):  # this drops the lease of the turn before
            lock.acquire()
        assert lease.ended


def test_a_failed_adoption_does_not_hide_the_lease_that_is_held():
    lock = redis_lock("a")
    text = lock.acquire().detach()
    lock.force_release()
    with lock:
        with pytest.raises(LockLost):
            lock.adopt(text)
        with pytest.raises(AlreadyHeld):
            lock.acquire()


def test_it_is_the_lease_that_counts_not_the_name():
    lease = redis_lock("a").acquire()
    with pytest.raises(AlreadyHeld):
        redis_lock("a").acquire()
    assert isinstance(in_thread(redis_lock("a", wait=0).acquire), LockBusy)
    lease.release()
    redis_lock("a").acquire().release()


def test_a_lost_lease_is_no_longer_held(server_client):
    lease = redis_lock("a", ttl=0.1, max_hold=0.1).acquire()
    assert lease.lost.wait(5)
    redis_lock("a").acquire().release()


async def test_a_task_started_inside_waits_for_its_turn():
    async def other():
        await redis_lock("a", wait=0).aacquire()

    async with redis_lock("a"):
        with pytest.raises(AlreadyHeld):
            await redis_lock("a").aacquire()
        with pytest.raises(LockBusy):
            await asyncio.create_task(other())


# Semaphores


def test_a_semaphore_has_so_many_holders(server_client):
    first, second = (redis_semaphore("s", 2, ttl=20).acquire() for _ in range(2))
    assert (first.slot, second.slot) == (1, 2)
    assert second.fence > first.fence
    with pytest.raises(LockBusy):
        redis_semaphore("s", 2, ttl=20, wait=0).acquire()
    assert {holder.token for holder in redis_semaphore("s", 2).info().holders} == {
        first.token,
        second.token,
    }
    first.release()
    with redis_semaphore("s", 2, wait=0) as third:
        assert third.slot == 1
    second.release()
    assert server_client.keys() == [b"tests:semaphore:{s}:fence"]


def test_a_lock_and_a_semaphore_of_one_name_are_two_things():
    with redis_lock("a"), redis_semaphore("a", 1):
        pass


def test_a_semaphore_decorates():
    @redis_semaphore("report:{kind}", 2)
    def build(kind):
        return current_lease().name

    assert build("daily") == "report:daily"


# Operations


def test_info_and_force_release(server_client):
    lock = redis_lock("a")
    assert (lock.info().holders, lock.info().waiting) == ((), 0)
    lease = lock.acquire()
    (holder,) = lock.info().holders
    assert (holder.token, holder.fence) == (lease.token, lease.fence)
    assert [taken.token for taken in lock.force_release()] == [lease.token]
    assert not server_client.exists(LOCK)
    assert lock.force_release() == ()
    with pytest.raises(LockLost, match="given back"):
        lease.release()


async def test_info_and_force_release_on_asyncio():
    lease = await redis_lock("a").aacquire()
    assert [holder.token for holder in (await redis_lock("a").ainfo()).holders] == [lease.token]
    assert [holder.token for holder in await redis_lock("a").aforce_release()] == [lease.token]
    assert lease.lost.is_set() is False
    with pytest.raises(LockLost):
        await lease.aextend(to=1)
    assert lease.lost.is_set()


# Signals


@pytest.fixture
def heard():
    signals = {
        "acquired": lock_acquired,
        "busy": lock_busy,
        "lost": lock_lost,
        "released": lock_released,
    }
    events, receivers = [], []
    for name, signal in signals.items():

        def receive(sender, signal, event=name, **named):
            events.append((event, named))

        signal.connect(receive)
        receivers.append((signal, receive))
    yield events
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_signals_tell_who_waited_and_held_for_how_long(heard):
    with redis_lock("a") as lease, pytest.raises(LockBusy):
        raise in_thread(redis_lock("a", wait=0.1).acquire)
    assert [name for name, _ in heard] == ["acquired", "busy", "released"]
    acquired, busy, released = (named for _, named in heard)
    assert (acquired["name"], acquired["lease"], acquired["waited"]) == ("a", lease, lease.waited)
    assert busy["name"] == "a"
    assert busy["waited"] >= 0.1
    assert released["lease"] is lease
    assert released["held"] >= 0.1


async def test_signals_reach_async_receivers(heard):
    waited = []

    async def receive(sender, **named):
        waited.append(named["waited"])

    lock_acquired.connect(receive)
    async with redis_lock("a") as lease:
        pass
    lock_acquired.disconnect(receive)
    assert waited == [lease.waited]
    assert [name for name, _ in heard] == ["acquired", "released"]


async def test_nor_does_one_that_cannot_be_told_in_this_thread(server_client, caplog):
    async def receiver(**named):
        raise AssertionError("There is a loop in this thread already.")

    told = []
    for signal in (lock_acquired, lock_lost, lock_released):
        signal.connect(receiver)
    try:
        with redis_lock("a"):
            pass
        with pytest.raises(LockLost), redis_lock("b", on_lost=told.append) as lease:
            server_client.delete("tests:lock:{b}")
    finally:
        for signal in (lock_acquired, lock_lost, lock_released):
            signal.disconnect(receiver)
    assert told == [lease]
    assert "did not reach" in caplog.text


def test_what_on_lost_returns_is_awaited(server_client):
    async def tell(lease):
        told.append(lease)

    told = []
    with (
        pytest.raises(LockLost),
        redis_lock("a", on_lost=lambda lease: tell(lease)) as lease,
    ):
        server_client.delete(LOCK)
    assert told == [lease]


def test_a_receiver_that_raises_harms_nobody(server_client):
    def receive(sender, **named):
        raise RuntimeError("not here")

    lock_acquired.connect(receive)
    with redis_lock("a"):
        pass
    lock_acquired.disconnect(receive)
    assert not server_client.exists(LOCK)


# Settings


def test_the_settings_are_read_when_they_are_needed(settings, server_client):
    lock = redis_lock("a")
    settings.REDIS_ATOMIC = {"LOCK_TTL": 5, "LOCK_WAIT": 0, "LOCK_FENCE_MEMORY": 60}
    with lock:
        assert 4_000 < server_client.pttl(LOCK) <= 5_000
        assert 50 < server_client.ttl(f"{LOCK}:fence") <= 60
        assert isinstance(in_thread(lock.acquire), LockBusy)
    settings.REDIS_ATOMIC = {"LOCK_TTL": 0}
    with pytest.raises(ValueError, match="LOCK_TTL"), lock:
        pass


def test_a_cache_of_its_own(settings, server_client):
    cache = settings.CACHES["default"]
    settings.CACHES = settings.CACHES | {"locks": cache | {"KEY_PREFIX": "other"}}
    with redis_lock("a", cache="locks"):
        assert server_client.exists("other:lock:{a}")
        with redis_lock("a"):
            assert server_client.exists(LOCK)
    settings.REDIS_ATOMIC = {"LOCK_CACHE_ALIAS": "locks"}
    with redis_lock("a"):
        assert server_client.exists("other:lock:{a}")


@pytest.mark.parametrize("options", [{}, {"waiting": "block"}])
def test_where_nobody_is_woken_all_ask_now_and_then(options, settings, server_client):
    settings.REDIS_ATOMIC = {"LOCK_WAITING": "poll"}
    lease = held_elsewhere()
    threading.Timer(0.2, lease.release).start()
    forget_commands()
    redis_lock("a", wait=5, **options).acquire().release()
    assert commands_sent()["blpop"] == 0
    assert server_client.keys("*wake*") == []


@pytest.mark.parametrize("options", [{"fair": False}, {"waiting": "poll"}])
def test_other_ways_to_wait_get_the_lock_too(options, server_client):
    lease = held_elsewhere()
    threading.Timer(0.2, lease.release).start()
    redis_lock("a", wait=5, **options).acquire().release()
    assert server_client.keys() == [b"tests:lock:{a}:fence"]


def test_an_unfair_lock_never_stands_in_the_queue(server_client):
    lease = held_elsewhere()
    with pytest.raises(LockBusy):
        redis_lock("a", wait=0.2, fair=False).acquire()
    assert server_client.keys("*queue") == []
    lease.release()


# Bad input


@pytest.mark.parametrize(
    "ttl",
    [0, -1, 0.01, math.nan, math.inf, 10**30, 10**400, timedelta(0), timedelta(-1), timedelta.max],
    ids=str,
)
def test_a_ttl_out_of_range_is_refused_when_defined(ttl):
    with pytest.raises(ValueError, match="ttl must be a finite number of seconds, at least"):
        redis_lock("a", ttl=ttl)


def test_the_longest_ttl_is_one():
    with redis_lock("a", ttl=LONGEST) as lease:
        assert lease.remaining() > 0.98 * LONGEST


@pytest.mark.parametrize("ttl", [True, "5", None, b"6", FOREVER])
def test_a_ttl_that_is_no_time_is_refused_when_defined(ttl):
    with pytest.raises(TypeError, match="ttl must be seconds"):
        redis_lock("a", ttl=ttl)


@pytest.mark.parametrize(
    ("wait", "error"), [(None, TypeError), (True, TypeError), ("5", TypeError)]
)
def test_a_wait_that_is_no_time_is_refused_and_told_how(wait, error):
    with pytest.raises(error, match=r"wait must be seconds.*For one try give 0"):
        redis_lock("a", wait=wait)


@pytest.mark.parametrize("wait", [-1, math.nan, math.inf, 10**30, 10**400], ids=str)
def test_a_wait_out_of_range_is_refused(wait):
    with pytest.raises(ValueError, match="wait must be 0, a finite number"):
        redis_lock("a", wait=wait)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"fair": 1}, TypeError, "fair"),
        ({"waiting": "sleep"}, ValueError, "'block' or 'poll'"),
        ({"max_hold": 0}, ValueError, "max_hold"),
        ({"max_hold": "1"}, TypeError, "max_hold"),
        ({"on_lost": "log"}, TypeError, "on_lost"),
        ({"cancel_on_lost": None}, TypeError, "cancel_on_lost"),
        ({"transaction": "wrap"}, ValueError, "'defer' or 'ignore'"),
    ],
)
def test_other_options_are_checked_when_defined(options, error, match):
    with pytest.raises(error, match=match):
        redis_lock("a", **options)


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"]])
def test_a_name_is_text(name):
    with pytest.raises(TypeError, match="name is a str"):
        redis_lock(name)


@pytest.mark.parametrize(
    ("limit", "error"), [(0, ValueError), (-1, ValueError), (257, ValueError), (True, TypeError)]
)
def test_a_semaphores_limit_is_a_small_number(limit, error):
    with pytest.raises(error, match="limit"):
        redis_semaphore("s", limit)


def test_generators_are_refused_with_a_word_of_advice():
    def items():
        yield 1

    async def aitems():
        yield 1

    for function in (items, aitems):
        with pytest.raises(TypeError, match=r"is a generator.*Use `with` inside"):
            redis_lock("a")(function)


def hidden(function):
    """A decorator that does not show what it decorates."""
    return lambda *args: function(*args)


async def awork():
    raise AssertionError("It ran without its lock.")


def work():
    yield awork()


async def aitems():
    yield await awork()


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(hidden(awork), id="coroutine"),
        pytest.param(hidden(work), id="generator"),
        pytest.param(contextlib.contextmanager(work), id="context manager"),
        pytest.param(contextlib.asynccontextmanager(aitems), id="async context manager"),
    ],
)
def test_what_leaves_its_work_for_later_is_an_error_and_not_run_without_the_lock(function):
    with pytest.raises(TypeError, match="still to be done"):
        redis_lock("a")(function)()


async def test_what_goes_on_by_itself_or_is_lazy_is_a_result():
    @redis_lock("a")
    async def start():
        return asyncio.ensure_future(asyncio.sleep(0, "done"))

    @redis_lock("b")
    def lazy():
        return SimpleLazyObject(evaluated.append)

    evaluated = []
    assert await (await start()) == "done"
    assert type(lazy()) is SimpleLazyObject
    assert evaluated == []


async def test_a_coroutine_that_returns_a_generator_is_the_same_error():
    @redis_lock("a")
    async def later():
        return work()

    with pytest.raises(TypeError, match="still to be done"):
        await later()


async def test_an_object_that_is_called_like_a_coroutine_function_is_one(server_client):
    class Job:
        async def __call__(self, number):
            return server_client.exists(f"tests:lock:{{job:{number}}}")

    assert await redis_lock("job:{number}")(Job())(7) == 1


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_method_that_is_none_of_an_instance_is_decorated_beneath(kind):
    with pytest.raises(TypeError, match=f"beneath @{kind.__name__}"):
        redis_lock("a")(kind(work))


def test_classes_and_other_things_are_refused():
    with pytest.raises(TypeError, match="decorates functions"):
        redis_lock("a")(type("View", (), {}))
    with pytest.raises(TypeError, match="decorates functions"):
        redis_lock("a")(None)


def test_a_template_that_names_no_argument_is_refused_when_decorated():
    with pytest.raises(ValueError, match="invoice"):

        @redis_lock("invoice:{invoice.pk}")
        def charge(bill): ...


def test_braces_outside_of_a_decorator_are_an_error():
    for use in (redis_lock("a:{b}").acquire, redis_lock("a:{b}").__enter__, redis_lock("{").info):
        with pytest.raises(ValueError, match="braces"):
            use()


def test_a_thread_cannot_be_cancelled():
    with pytest.raises(TypeError, match="async"), redis_lock("a", cancel_on_lost=True):
        pass
    with pytest.raises(TypeError, match="async"):
        redis_lock("a", cancel_on_lost=True)(lambda: None)


async def test_who_is_cancelled_while_the_grant_is_told_holds_nothing(server_client):
    telling = asyncio.Event()

    async def receive(**named):
        telling.set()
        await asyncio.sleep(30)

    lock_acquired.connect(receive)
    try:
        acquiring = asyncio.create_task(redis_lock("a").aacquire())
        await asyncio.wait_for(telling.wait(), 10)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
    finally:
        lock_acquired.disconnect(receive)
    assert not server_client.exists("tests:lock:{a}")
