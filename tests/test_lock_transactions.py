import asyncio
import gc
import logging
import threading
import time
import weakref
from contextlib import contextmanager, nullcontext, suppress

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, models, transaction
from django.db.transaction import TransactionManagementError, atomic
from django.test import TestCase, TransactionTestCase

from redis_atomic.exceptions import AlreadyHeld, LockBusy, LockLost, LockNotOwned, LockUnavailable
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from redis_atomic.locks.transactions import Hold, in_transaction
from redis_atomic.signals import lock_lost
from tests.databases import DATABASES, shared_database

LIVELY = 15  # seconds: nothing here takes one, on a machine that has nothing else to do


class Invoice(models.Model):
    number = models.IntegerField()

    class Meta:
        app_label = "tests"

    def __str__(self):
        return f"invoice {self.number}"


@pytest.fixture(params=DATABASES, ids=lambda make: make.__name__)
def database(request, tmp_path, django_db_blocker):
    """The alias of a database that several threads can use."""
    with django_db_blocker.unblock(), shared_database(request.param, tmp_path, [Invoice]) as alias:
        yield alias


class RolledBack(Exception):
    pass


@contextmanager
def rolled_back(using):
    """A transaction, or inside of one a savepoint, that ends in a rollback."""
    with suppress(RolledBack), atomic(using=using):
        yield
        raise RolledBack


class Released:
    """Stands where a lease would be: remembers that it was given back."""

    def __init__(self, using="shared", error=None):
        self.times = 0
        self.error = error
        self.hold = Hold()
        self.enter(using)

    def enter(self, using="shared"):
        if in_transaction(using):
            self.hold.await_commit(self.release, using)
        self.hold.enter()

    def exit(self):
        if self.hold.leave():
            self.release()

    def release(self):
        self.times += 1
        if self.error is not None:
            raise self.error


# --- when a lease is given back


def test_without_a_transaction_the_end_of_the_section_releases(database):
    lease = Released()
    lease.exit()
    assert lease.times == 1


def test_in_a_transaction_the_commit_releases(database):
    with atomic(using=database):
        lease = Released()
        lease.exit()
        assert lease.times == 0
    assert lease.times == 1


def test_a_rollback_releases_at_once(database):
    with rolled_back(database):
        lease = Released()
        lease.exit()
        assert lease.times == 0
    assert lease.times == 1


def test_a_rollback_of_the_savepoint_around_the_section_releases_at_once(database):
    with atomic(using=database):
        with rolled_back(database):
            lease = Released()
            lease.exit()
        assert lease.times == 1
    assert lease.times == 1


def test_a_rollback_of_another_savepoint_releases_nothing(database):
    with atomic(using=database):
        with atomic(using=database):
            lease = Released()
            lease.exit()
        with rolled_back(database):
            pass
        assert lease.times == 0
    assert lease.times == 1


def test_a_closed_connection_releases_at_once(database):
    with atomic(using=database):
        lease = Released()
        lease.exit()
        connections[database].close()
        assert lease.times == 1


def test_a_section_that_outlasts_its_transaction_releases_at_its_own_end(database):
    with atomic(using=database):
        lease = Released()
    assert lease.times == 0
    lease.exit()
    assert lease.times == 1


def test_a_section_that_outlasts_a_rollback_releases_at_its_own_end(database):
    with rolled_back(database):
        lease = Released()
    assert lease.times == 0
    lease.exit()
    assert lease.times == 1


def test_the_lock_is_free_before_hooks_that_were_registered_inside_the_section(database):
    seen = []
    with atomic(using=database):
        lease = Released()
        transaction.on_commit(lambda: seen.append(lease.times), using=database)
        lease.exit()
    assert seen == [1]


def test_a_failing_hook_before_ours_does_not_keep_the_lock(database):
    def fail():
        raise RolledBack

    with suppress(RolledBack), atomic(using=database):
        transaction.on_commit(fail, using=database)
        lease = Released()
        lease.exit()
    assert lease.times == 1


def test_nor_does_one_whose_error_somebody_keeps(database):
    def fail():
        raise RolledBack

    def charge():
        with atomic(using=database):
            transaction.on_commit(fail, using=database)
            leases.append(Released())
            leases[0].exit()

    leases = []
    with pytest.raises(RolledBack) as kept:
        charge()
    assert (kept.type, leases[0].times) == (RolledBack, 1)


def test_a_lease_that_nobody_refers_to_is_forgotten_when_its_transaction_has_ended(database):
    with atomic(using=database):
        dropped = weakref.ref(lock_of(database).acquire())
        assert dropped().held
    assert dropped() is None


def test_an_unforeseen_error_of_a_release_harms_neither_the_commit_nor_other_hooks(
    database, caplog
):
    seen = []
    with atomic(using=database):
        lease = Released(error=ZeroDivisionError("unforeseen"))
        transaction.on_commit(lambda: seen.append(lease.times), using=database)
        lease.exit()
    assert seen == [1]
    assert "unforeseen" in caplog.text


# --- entering again


def test_a_lease_entered_again_is_released_once(database):
    with atomic(using=database):
        lease = Released()
        lease.exit()
        assert lease.hold.awaits_transaction
        lease.enter()
        assert not lease.hold.awaits_transaction
        lease.exit()
        assert lease.times == 0
    assert lease.times == 1


def test_a_rolled_back_section_leaves_the_lock_to_the_one_before_it(database):
    with atomic(using=database):
        lease = Released()
        lease.exit()
        with rolled_back(database):
            lease.enter()
            lease.exit()
        assert lease.times == 0
    assert lease.times == 1


# --- what is no transaction


def test_a_transaction_of_another_database_is_not_waited_for(database):
    with atomic(using=database):
        lease = Released(using="default")
        lease.exit()
        assert lease.times == 1


def test_asking_opens_no_connection():
    assert not in_transaction("default")  # the tests forbid to connect


def test_an_unknown_database_is_an_error():
    with pytest.raises(Exception, match="nowhere"):
        in_transaction("nowhere")


@pytest.mark.parametrize("inside", [False, True])
def test_autocommit_off_is_an_error_that_says_so(database, inside):
    connection = connections[database]
    connection.set_autocommit(False)
    try:
        with (
            pytest.raises(TransactionManagementError, match="autocommit is off"),
            atomic(using=database) if inside else nullcontext(),
        ):
            in_transaction(database)
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_autocommit_off_in_settings_is_an_error_before_the_first_connection(database):
    connections[database].close()
    connections[database].settings_dict["AUTOCOMMIT"] = False
    with pytest.raises(TransactionManagementError, match=r"transaction='ignore'"):
        in_transaction(database)


class InTestCase(TestCase):
    def test_nothing_is_ever_committed_so_nothing_is_deferred(self):
        lease = Released(using="default")
        lease.exit()
        assert lease.times == 1

    def test_nor_in_a_transaction_of_the_code_under_test(self):
        with self.captureOnCommitCallbacks(execute=True) as callbacks, atomic():
            lease = Released(using="default")
            lease.exit()
            assert lease.times == 1
        assert callbacks == []


class InTransactionTestCase(TransactionTestCase):
    def test_transactions_are_real(self):
        with atomic():
            lease = Released(using="default")
            lease.exit()
            assert lease.times == 0
        assert lease.times == 1


# --- when giving back fails


@pytest.mark.parametrize(
    ("error", "level"), [(LockLost("gone"), "ERROR"), (LockUnavailable("down"), "WARNING")]
)
@pytest.mark.parametrize("commits", [True, False])
def test_a_release_that_fails_after_the_transaction_is_logged(
    database, caplog, error, level, commits
):
    caplog.set_level(logging.INFO, "redis_atomic.locks")
    with atomic(using=database):
        lease = Released(error=error)
        lease.exit()
        transaction.set_rollback(not commits, using=database)
    assert lease.times == 1
    ((name, logged, message),) = caplog.record_tuples
    assert (name, logging.getLevelName(logged)) == ("redis_atomic.locks", level)
    assert str(error) in message


# --- locks


def lock_of(database, **options):
    return redis_lock("invoice", using=database, **{"ttl": 30, "wait": LIVELY} | options)


class Next:
    """Another thread that waits for the lock, and counts the rows when it has it."""

    def __init__(self, database):
        self.database = database
        self.lock = lock_of(database)
        self.inside = threading.Event()
        self.thread = threading.Thread(target=self._count)
        self.thread.start()
        until(lambda: self.lock.info().waiting or self.inside.is_set())

    def _count(self):
        with self.lock:
            self.rows = Invoice.objects.using(self.database).count()
            self.inside.set()
        connections[self.database].close()

    def rows_seen(self):
        assert self.inside.wait(LIVELY)
        self.thread.join()
        return self.rows


def until(condition):
    end = time.monotonic() + LIVELY
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def bill(database):
    Invoice.objects.using(database).create(number=1)


def test_the_next_holder_sees_what_was_committed(database):
    with atomic(using=database):
        with lock_of(database):
            following = Next(database)
            bill(database)
        assert not following.inside.wait(0.2)
    assert following.rows_seen() == 1


def test_a_lock_around_the_transaction_does_the_same(database):
    with lock_of(database), atomic(using=database):
        following = Next(database)
        bill(database)
    assert following.rows_seen() == 1


def test_a_lock_that_ignores_the_transaction_lets_the_next_read_old_rows(database):
    with atomic(using=database):
        with lock_of(database, transaction="ignore"):
            following = Next(database)
            bill(database)
        assert following.rows_seen() == 0


def test_after_a_rollback_the_next_holder_need_not_wait(database):
    with rolled_back(database), lock_of(database):
        following = Next(database)
        bill(database)
    assert following.rows_seen() == 0


def test_after_a_rollback_of_its_savepoint_the_next_holder_need_not_wait(database):
    with atomic(using=database):
        with rolled_back(database), lock_of(database):
            following = Next(database)
            bill(database)
        assert following.rows_seen() == 0


def test_the_lock_is_renewed_until_the_commit(database):
    with atomic(using=database):
        with lock_of(database, ttl=1.0) as lease:
            following = Next(database)
            bill(database)
        time.sleep(1.5)  # more than the TTL
        assert not lease.lost.is_set()
    assert following.rows_seen() == 1


def test_a_lock_lost_before_the_commit_is_told_and_logged(database, caplog):
    told, signalled = threading.Event(), threading.Event()

    def receiver(**kwargs):
        signalled.set()

    lock_lost.connect(receiver)
    with atomic(using=database):
        with lock_of(database, ttl=0.6, on_lost=lambda lease: told.set()) as lease:
            pass
        lock_of(database).force_release()
        assert told.wait(LIVELY)
        assert lease.lost.is_set()
    assert signalled.is_set()
    assert "lost before its transaction ended" in caplog.text


def test_a_lock_lost_inside_the_section_rolls_the_transaction_back(database):
    def bill_too_late():
        with atomic(using=database), lock_of(database, ttl=0.6) as lease:
            bill(database)
            lock_of(database).force_release()
            assert lease.lost.wait(LIVELY)

    with pytest.raises(LockLost):
        bill_too_late()
    assert Invoice.objects.using(database).count() == 0
    assert lock_of(database).info().holders == ()


def test_the_transaction_may_use_its_own_lock_again(database):
    lock = lock_of(database, wait=0)
    with atomic(using=database):
        with lock as first:
            pass
        with lock as second:
            assert second is first
            second.check()
        assert lock.info().holders
    assert lock.info().holders == ()


def test_a_section_inside_a_section_is_refused_in_a_transaction_too(database):
    lock = lock_of(database)
    with atomic(using=database), lock, pytest.raises(AlreadyHeld):
        lock.acquire()


def test_another_thread_may_not(database):
    def other():
        with pytest.raises(LockBusy):
            lock.acquire()
        refused.set()

    lock, refused = lock_of(database, wait=0), threading.Event()
    with atomic(using=database):
        with lock:
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused.is_set()


def test_a_commit_hook_may_use_the_lock_of_its_own_transaction(database):
    """The release comes before it, whenever the hook was registered."""

    def hook():
        with lock as lease:
            held.append(lease)

    lock, held = lock_of(database, wait=0), []
    with atomic(using=database):
        transaction.on_commit(hook, using=database)
        with lock as first:
            pass
    assert [lease.fence > first.fence for lease in held] == [True]
    assert lock.info().holders == ()


def test_after_a_rollback_a_new_lease_is_acquired(database):
    lock = lock_of(database, wait=0)
    with atomic(using=database):
        with rolled_back(database), lock as first:
            pass
        with lock as second:
            assert second.fence > first.fence


def test_a_lease_lost_while_it_waits_for_the_commit_is_not_used_again(database):
    lock = lock_of(database, wait=0, ttl=0.6)
    with atomic(using=database):
        with lock as first:
            pass
        lock.force_release()
        assert first.lost.wait(LIVELY)
        with lock as second:
            assert second.fence > first.fence


def test_a_decorated_function_keeps_its_lock_until_the_commit(database):
    lock = lock_of(database)
    with atomic(using=database):
        lock(bill)(database)
        assert lock.info().holders
    assert lock.info().holders == ()


def test_release_leaves_the_lock_to_the_transaction_once(database):
    lock = lock_of(database)
    with atomic(using=database):
        lease = lock.acquire()
        lease.release()
        assert lock.info().holders
        with pytest.raises(LockNotOwned, match="left to its transaction"):
            lease.release()
    assert lock.info().holders == ()
    with pytest.raises(LockNotOwned, match="released"):
        lease.release()


def test_a_section_that_released_its_lease_early_changes_nothing(database):
    lock = lock_of(database)
    with atomic(using=database):
        with lock as lease:
            lease.release()
        assert lock.info().holders
    assert lock.info().holders == ()


def test_a_lease_that_was_handed_over_is_not_released_by_the_commit(database):
    lock = lock_of(database)
    with atomic(using=database), lock as lease:
        text = lease.detach()
    assert lock.info().holders
    lock.adopt(text).release()
    assert lock.info().holders == ()


def test_an_adopted_lease_is_kept_until_the_commit(database):
    lock = lock_of(database)
    text = lock.acquire().detach()
    with atomic(using=database):
        lock.adopt(text).release()
        assert lock.info().holders
    assert lock.info().holders == ()


def test_a_semaphore_is_not_used_up_by_its_own_transaction(database):
    semaphore = redis_semaphore("invoices", 2, wait=0, using=database)
    with atomic(using=database):
        for _ in range(5):
            with semaphore:
                pass
        assert len(semaphore.info().holders) == 1
    assert semaphore.info().holders == ()


def test_a_thread_that_dies_in_its_transaction_leaves_no_lock(database):
    def begin_and_die():
        atomic(using=database).__enter__()
        with lock:
            pass
        connections[database].connection.close()

    lock = lock_of(database)
    thread = threading.Thread(target=begin_and_die)
    thread.start()
    thread.join()
    gc.collect()
    assert lock.info().holders == ()


def test_asynchronous_code_releases_at_the_end_of_its_section(database):
    async def section():
        async with lock:
            await asyncio.sleep(0)

    lock = lock_of(database)
    with atomic(using=database):
        async_to_sync(section)()
        assert lock.info().holders == ()


def test_with_autocommit_off_nothing_is_sent(database, server_client):
    connection = connections[database]
    connection.set_autocommit(False)
    try:
        with pytest.raises(TransactionManagementError, match="autocommit is off"):
            lock_of(database).acquire()
        assert server_client.keys() == []
        lock_of(database, transaction="ignore").acquire().release()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
