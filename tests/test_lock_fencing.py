import threading
import time

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models
from django.db.models import F
from django.db.transaction import atomic

from redis_atomic.locks.fencing import afenced_update, fenced_update
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from tests.databases import DATABASES, shared_database


class Author(models.Model):
    name = models.TextField()

    class Meta:
        app_label = "tests"

    def __str__(self):
        return self.name


class Report(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE, null=True)
    text = models.TextField(default="")
    pages = models.IntegerField(default=0)
    fence = models.BigIntegerField(default=0)
    nullable_fence = models.BigIntegerField(null=True)

    class Meta:
        app_label = "tests"

    def __str__(self):
        return self.text


class SignedReport(Report):
    signature = models.TextField(default="")
    own_fence = models.BigIntegerField(default=0)

    class Meta:
        app_label = "tests"


MODELS = [Author, Report, SignedReport]


@pytest.fixture(params=DATABASES, ids=lambda make: make.__name__)
def database(request, tmp_path, django_db_blocker):
    with django_db_blocker.unblock(), shared_database(request.param, tmp_path, MODELS) as alias:
        yield alias


@pytest.fixture
def reports(database):
    author = Author.objects.using(database).create(name="Ada")
    Report.objects.using(database).create(pk=1, author=author)
    return Report.objects.using(database)


def lease_of(name="report"):
    """A lease that has been given back: it still has its fence, as a late writer has."""
    lease = redis_lock(name, transaction="ignore").acquire()
    lease.release()
    return lease


def test_a_write_takes_the_fence_of_its_lease(reports):
    with redis_lock("report") as lease:
        assert fenced_update(reports.filter(pk=1), lease, text="new", pages=F("pages") + 1) == 1
    report = reports.get()
    assert (report.text, report.pages, report.fence) == ("new", 1, lease.fence)


def test_a_late_write_of_an_earlier_holder_changes_nothing(reports):
    early, late = lease_of(), lease_of()
    assert fenced_update(reports.filter(pk=1), late, text="late") == 1
    assert fenced_update(reports.filter(pk=1), early, text="early") == 0
    assert reports.get().text == "late"


def test_one_lease_may_write_again(reports):
    lease = lease_of()
    assert [fenced_update(reports.all(), lease, pages=pages) for pages in (1, 2)] == [1, 1]
    assert reports.get().pages == 2


def test_a_row_can_be_marked_before_it_is_written(reports):
    early, late = lease_of(), lease_of()
    assert fenced_update(reports.filter(pk=1), late) == 1
    assert fenced_update(reports.filter(pk=1), early, text="early") == 0


def test_rows_that_were_never_written_are_free(reports):
    lease = lease_of()
    rows = reports.filter(pk=1)
    assert fenced_update(rows, lease, fence_field="nullable_fence", text="a") == 1
    assert reports.get().nullable_fence == lease.fence


def test_only_the_rows_of_the_queryset_are_written(reports):
    reports.create(pk=2)
    assert fenced_update(reports.filter(pk=2), lease_of(), text="two") == 1
    assert reports.get(pk=1).text == ""


def test_each_row_has_its_own_fence(reports):
    reports.create(pk=2)
    early, late = lease_of(), lease_of()
    fenced_update(reports.filter(pk=2), late)
    assert fenced_update(reports.all(), early, text="early") == 1
    assert reports.get(pk=1).text == "early"


def test_values_may_have_any_field_name(reports):
    """``queryset`` and ``lease`` are positional, so they are free as names of fields."""
    with pytest.raises(FieldDoesNotExist, match="queryset"):
        fenced_update(reports.all(), lease_of(), queryset=1)


async def test_it_can_be_awaited(reports):
    lease = lease_of()
    assert await afenced_update(reports.filter(pk=1), lease, text="async") == 1
    assert await reports.values_list("text", "fence").aget() == ("async", lease.fence)


@pytest.mark.parametrize("lookup", [{"pk": 1}, {"author__name": "Ada"}], ids=["row", "join"])
def test_a_writer_that_had_to_wait_for_a_newer_one_is_refused(database, reports, lookup):
    """The condition is looked at again, after the other's commit."""

    def write():
        started.set()
        rows.append(fenced_update(reports.filter(**lookup), early, text="early"))
        connections[database].close()

    early, late, started, rows = lease_of(), lease_of(), threading.Event(), []
    thread = threading.Thread(target=write)
    with atomic(using=database):
        fenced_update(reports.filter(pk=1), late, text="late")
        thread.start()
        assert started.wait(10)
        time.sleep(0.2)  # the other is in the database now, where no event can tell
    thread.join()
    assert rows == [0]
    assert reports.get().text == "late"


def test_a_fence_of_a_semaphore_keeps_nobody_out_and_is_refused(reports):
    with redis_semaphore("report", 2) as lease, pytest.raises(ValueError, match="semaphore"):
        fenced_update(reports.all(), lease)
    with redis_semaphore("report", 1) as lease:
        assert fenced_update(reports.all(), lease) == 1


@pytest.mark.parametrize("lease", [5, None, "five"])
def test_a_lease_is_needed(reports, lease):
    with pytest.raises(TypeError, match="takes a Lease"):
        fenced_update(reports.all(), lease)


def test_the_fence_cannot_be_chosen(reports):
    with pytest.raises(TypeError, match="'fence' is set to the lease's fence"):
        fenced_update(reports.all(), lease_of(), fence=5)


def test_a_field_too_small_for_a_fence_is_refused(reports):
    with pytest.raises(TypeError, match=r"Report\.pages cannot hold a fence"):
        fenced_update(reports.all(), lease_of(), fence_field="pages")


def test_a_fence_guards_its_own_table_only(database, reports):
    signed = SignedReport.objects.using(database)
    signed.create(pk=2)
    lease = lease_of()
    with pytest.raises(TypeError, match="two tables"):
        fenced_update(signed.all(), lease, signature="x")
    with pytest.raises(TypeError, match="two tables"):
        fenced_update(signed.all(), lease, fence_field="own_fence", text="x")
    assert fenced_update(signed.all(), lease, fence_field="own_fence", signature="x") == 1
