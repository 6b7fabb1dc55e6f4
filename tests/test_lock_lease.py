"""A lease: what is believed about it, and how it is extended, handed over and given back."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta

import pytest

from redis_atomic.exceptions import LockLost, LockNotOwned
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from redis_atomic.locks.loss import Loss
from redis_atomic.locks.renewal import note_renewal

LOCK = "tests:lock:{a}"


@pytest.fixture
def lease():
    """A lease that nobody renews."""
    lease = redis_lock("a", ttl=10, max_hold=1).acquire()
    yield lease
    lease.end("over")


def test_it_is_believed_in_for_less_than_its_ttl(lease, server_client):
    assert 9.5 < lease.remaining() <= 10 - 0.1 - 0.002
    assert lease.remaining() * 1000 < server_client.pttl(LOCK)
    assert lease.pid == os.getpid()
    assert lease.token.startswith(lease.token.rpartition(":")[0] + ":")


def test_fences_grow_with_every_grant():
    fences = []
    for _ in range(20):
        with redis_lock("a") as lease:
            fences.append(lease.fence)
    assert fences == sorted(set(fences))


def test_extend_to_makes_it_last_at_least_so_long(lease, server_client):
    lease.extend(to=20)
    assert 19.5 < lease.remaining() <= 20
    assert server_client.pttl(LOCK) >= 20_000
    lease.extend(to=timedelta(seconds=1))
    assert lease.remaining() > 19, "it never becomes shorter"


def test_extend_by_adds_to_what_is_left(lease):
    before = lease.remaining()
    lease.extend(by=5)
    assert before + 4.5 < lease.remaining() < before + 5.1
    lease.extend(by=0.1)
    assert before + 4.6 < lease.remaining() < before + 5.2


async def test_aextend(server_client):
    async with redis_lock("a", ttl=10) as lease:
        await lease.aextend(to=20)
        assert 19.5 < lease.remaining() <= 20


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"to": 1, "by": 1}, TypeError),
        ({"to": True}, TypeError),
        ({"to": "5"}, TypeError),
        ({"to": 0}, ValueError),
        ({"by": -1}, ValueError),
        ({"by": float("nan")}, ValueError),
    ],
)
def test_a_bad_extension_is_refused_before_anything_is_sent(lease, arguments, error):
    with pytest.raises(error, match=r"to|by"):
        lease.extend(**arguments)


def test_an_extension_tells_of_a_loss(lease, server_client):
    server_client.delete(LOCK)
    with pytest.raises(LockLost, match="no longer knows"):
        lease.extend(to=5)
    assert lease.lost.is_set()
    assert not server_client.exists(LOCK), "a free slot is never taken back"


def test_a_lease_that_was_granted_anew_is_not_the_old_one(lease, server_client):
    server_client.set(LOCK, f"{lease.fence + 5}:{lease.token}", px=9000)
    with pytest.raises(LockLost):
        lease.extend(to=20)


def test_past_its_deadline_it_is_lost_for_good_whatever_redis_says(lease, server_client):
    lease.lost.deadline = time.monotonic() - 0.001
    with pytest.raises(LockLost, match="its time ran out"):
        lease.check()
    note_renewal(lease, time.monotonic(), 10, extended=True)
    assert lease.lost.is_set()
    with pytest.raises(LockLost):
        lease.extend(to=20)
    assert lease.remaining() == 0
    assert not lease.held


def test_the_deadline_counts_from_before_the_renewal_was_sent(lease):
    sent = time.monotonic() - 3
    note_renewal(lease, sent, 20, extended=True)
    assert lease.lost.deadline == pytest.approx(sent + 20 - 0.2 - 0.002)


def test_the_clock_on_the_wall_does_not_matter(lease, monkeypatch):
    for step in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda step=step: 1.8e9 + step)
        assert 9 < lease.remaining() < 10
        lease.check()
        with redis_lock("b", wait=0.1):
            pass


def test_a_second_release_is_an_error_and_harms_nobody(server_client):
    lease = redis_lock("a").acquire()
    lease.release()
    with redis_lock("a"):
        with pytest.raises(LockNotOwned, match="released"):
            lease.release()
        assert server_client.exists(LOCK)


def test_a_release_inside_the_section_is_no_loss(server_client):
    with redis_lock("a") as lease:
        lease.release()
    assert not lease.lost.is_set()


def test_handed_over_it_is_the_same_lease(server_client):
    lease = redis_lock("a", ttl=5).acquire()
    text = lease.detach()
    with pytest.raises(LockNotOwned, match="detached"):
        lease.check()
    adopted = redis_lock("a", ttl=20).adopt(text)
    assert (adopted.fence, adopted.token, adopted.slot) == (lease.fence, lease.token, 1)
    assert 19 < adopted.remaining() < 20
    assert server_client.pttl(LOCK) > 19_000
    adopted.release()
    assert server_client.keys() == [f"{LOCK}:fence".encode()]


def test_it_can_be_adopted_in_another_process(server_client):
    from tests import settings as test_settings

    text = redis_lock("a").acquire().detach()
    program = f"""
        import django
        from django.conf import settings
        settings.configure(CACHES={test_settings.CACHES!r})
        from redis_atomic.locks.lock import redis_lock, redis_semaphore
        lease = redis_lock("a").adopt({text!r})
        lease.check()
        lease.release()
        print("released")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.stdout == "released\n", done.stderr
    assert not server_client.exists(LOCK)


async def test_aadopt(server_client):
    text = (await redis_lock("a").aacquire()).detach()
    lease = await redis_lock("a").aadopt(text)
    await lease.arelease()
    assert not server_client.exists(LOCK)


def test_what_is_somebody_elses_by_now_cannot_be_adopted(server_client):
    text = redis_lock("a").acquire().detach()
    server_client.delete(LOCK)
    with pytest.raises(LockLost), redis_lock("a"):
        redis_lock("a").adopt(text)
    with pytest.raises(ValueError, match=r"adopt\(\) takes"):
        redis_lock("a").adopt("a:1")


def test_a_slot_above_a_lowered_limit_is_adopted_and_given_back(server_client):
    leases = [redis_semaphore("s", 3).acquire() for _ in range(3)]
    adopted = redis_semaphore("s", 1).adopt(leases[2].detach())
    assert adopted.slot == 3
    adopted.release()
    assert not server_client.exists("tests:semaphore:{s}:3")


def test_a_slot_that_no_semaphore_has_is_refused():
    with pytest.raises(ValueError, match=r"adopt\(\) takes"):
        redis_semaphore("s", 3).adopt("1:1000000000::token")


def test_detaching_in_a_section_leaves_the_lock_held(server_client):
    with redis_lock("a") as lease:
        text = lease.detach()
    assert server_client.exists(LOCK)
    redis_lock("a").adopt(text).release()


# The event


def test_threads_wait_for_the_loss():
    loss = Loss()
    loss.prolong(time.monotonic() + 60)
    assert loss.wait(0.01) is False
    threading.Timer(0.05, loss.set, ["taken"]).start()
    assert loss.wait(10) is True
    assert loss.reason == "taken"


def test_threads_wait_for_the_deadline_though_nobody_keeps_it():
    loss = Loss()
    loss.prolong(time.monotonic() + 0.05)
    assert loss.wait(10) is True


def test_a_wait_ends_when_the_lease_does():
    loss = Loss()
    threading.Timer(0.05, loss.close).start()
    assert loss.wait(10) is False


async def test_tasks_await_the_loss():
    loss = Loss()
    loss.prolong(time.monotonic() + 60)
    waiting = asyncio.ensure_future(loss._until_over())
    await asyncio.sleep(0)
    threading.Thread(target=loss.set, args=["taken"]).start()  # from another thread, too
    assert await asyncio.wait_for(waiting, 10) is True
    assert await loss is True


async def test_tasks_await_the_deadline_though_nobody_keeps_it():
    loss = Loss()
    loss.prolong(time.monotonic() + 0.05)
    assert await asyncio.wait_for(loss, 10) is True


def test_an_answer_that_comes_after_the_deadline_comes_too_late():
    loss = Loss()
    loss.prolong(time.monotonic() + 0.01)
    time.sleep(0.02)
    loss.prolong(time.monotonic() + 60)
    assert loss.is_set()


def test_lost_is_lost():
    loss = Loss()
    loss.prolong(time.monotonic() + 60)
    loss.set("first")
    loss.set("second")
    loss.prolong(time.monotonic() + 60)
    loss.close()
    assert loss.is_set()
    assert loss.reason == "first"


def test_nobody_who_listens_is_forgotten_whenever_it_ends():
    for end in (lambda loss: loss.set("taken"), Loss.close):
        for _ in range(300):
            loss, called = Loss(), []
            start = threading.Barrier(3)

            def listen(loss=loss, called=called, start=start):
                start.wait()
                for _ in range(20):
                    loss.call_when_over(lambda: called.append(True))

            threads = [threading.Thread(target=listen) for _ in range(2)]
            for thread in threads:
                thread.start()
            start.wait()
            end(loss)
            for thread in threads:
                thread.join()
            assert len(called) == 40


def test_one_alone_tells_of_a_loss():
    for _ in range(200):
        loss, first = Loss(), []
        start = threading.Barrier(4)

        def tell(loss=loss, first=first, start=start):
            start.wait()
            first.append(loss.first_to_tell())

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(first) == [False, False, False, True]


# A fork


def test_a_child_neither_owns_nor_releases_its_parents_lock(server_client):
    from tests import settings as test_settings

    program = f"""
        import os, django
        from django.conf import settings
        settings.configure(CACHES={test_settings.CACHES!r})
        from redis_atomic.exceptions import LockNotOwned
        from redis_atomic.locks import keeper
        from redis_atomic.locks.context import current_lease
        from redis_atomic.locks.lock import redis_lock, redis_semaphore
        section = redis_lock("a", ttl=1, wait=0)
        lease = section.__enter__()
        child = os.fork()
        if child == 0:
            assert not lease.held
            try:
                lease.check()
            except LockNotOwned as error:
                assert "child" in str(error)
            else:
                os._exit(3)
            try:
                current_lease()
            except LockNotOwned as error:
                assert "child" in str(error)
            else:
                os._exit(4)
            lease.release()
            with redis_lock("b", ttl=1) as mine:        # its keeper is a new one
                assert current_lease() is mine
                assert not mine.lost.wait(1.5)
            os._exit(7)
        _, status = os.waitpid(child, 0)
        lease.check()                                   # the parent's goes on all the time
        lease.release()
        print(os.waitstatus_to_exitcode(status))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "7\n", done.stderr
    assert "not released" in done.stderr


async def test_who_has_stopped_waiting_for_a_loss_is_forgotten():
    loss = Loss()
    assert not loss.wait(0.001)
    waiting = asyncio.create_task(loss._until_over())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert loss._callbacks == []
