import json
import os
import threading
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from redis_atomic.client.connections import close_clients
from redis_atomic.exceptions import LockBusy, LockLost
from redis_atomic.locks.inspection import lock_states, take_away
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from redis_atomic.testing.cluster import embedded_cluster
from tests.settings import CACHES, REDIS_URL


def redis_locks(*args, **options):
    out, err = StringIO(), StringIO()
    call_command("redis_locks", *args, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def as_json(*args):
    return json.loads(redis_locks(*args, "--format", "json")[0])


class Waiter:
    """A thread that waits for the lock, and gives it back when it has it."""

    def __init__(self, name, wait=15):
        self.lock, self.got = redis_lock(name, wait=wait), None
        self.thread = threading.Thread(target=self._wait)
        self.thread.start()
        while not self.lock.info().waiting:
            time.sleep(0.005)

    def _wait(self):
        try:
            with self.lock as lease:
                self.got = lease
        except LockBusy:
            pass


def test_without_locks_it_says_so():
    assert redis_locks()[0] == "No locks.\n"
    assert as_json() == []


def test_it_lists_who_holds_what_and_how_many_wait():
    with redis_lock("invoice:7", ttl=20) as lease:
        waiter = Waiter("invoice:7")
        heading, line = redis_locks()[0].splitlines()
        (state,) = as_json()
    waiter.thread.join()
    assert heading.split() == ["NAME", "HOLDER", "FENCE", "HELD", "TTL", "WAITING", "STUCK"]
    assert line.split()[0] == "invoice:7"
    assert str(lease.fence) in line
    (holder,) = state.pop("holders")
    assert state.pop("waiters")[0].endswith(f":{os.getpid()}")
    assert state == {"name": "invoice:7", "kind": "lock", "waiting": 1, "stuck": None}
    assert holder["owner"].endswith(f":{os.getpid()}")
    assert holder["fence"] == lease.fence
    assert 0 <= holder["held"] < 15
    assert 5 < holder["ttl"] <= 20


def test_released_locks_are_not_listed():
    redis_lock("a").acquire().release()
    assert as_json() == []


def test_names_come_in_order_and_may_have_any_characters():
    names = ["a:b", "a*?[x]", "ü\\", "x" * 500]
    leases = [redis_lock(name).acquire() for name in names]
    listed = [state["name"] for state in as_json()]
    assert listed == sorted(lease.name for lease in leases)
    for lease in leases:
        (state,) = lock_states(name=lease.name)
        assert state.holders[0].fence == lease.fence
        lease.release()


def test_all_holders_of_a_semaphore_are_listed():
    semaphore = redis_semaphore("slots", 4)
    leases = [semaphore.acquire() for _ in range(3)]
    leases.pop(0).release()
    (state,) = as_json()
    assert state["kind"] == "semaphore"
    assert {holder["fence"] for holder in state["holders"]} == {lease.fence for lease in leases}
    for lease in leases:
        lease.release()


def test_other_keys_and_other_projects_locks_are_left_out(server_client):
    server_client.set("lock:{other}", "1:x")  # another KEY_PREFIX
    server_client.set("tests:unlock:{other}", "1:x")
    server_client.set("tests:lock:{other}:more", "1:x")
    assert as_json() == []


def test_many_other_keys_are_no_hindrance(server_client):
    with server_client.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.set(f"tests:1:{number}", "x")
        pipeline.execute()
    with redis_lock("a"):
        assert [state["name"] for state in as_json()] == ["a"]


def test_another_cache_may_be_asked():
    caches = CACHES | {"other": CACHES["default"] | {"KEY_PREFIX": "other"}}
    with override_settings(CACHES=caches), redis_lock("a", cache="other"):
        assert as_json() == []
        assert [state["name"] for state in as_json("--cache", "other")] == ["a"]


def test_the_locks_of_all_nodes_of_a_cluster_are_listed(settings):
    names = [f"lock {number}" for number in range(12)]
    with embedded_cluster() as cluster:
        factory = {"CONNECTION_FACTORY": "redis_atomic.cluster.ClusterConnectionFactory"}
        options = {"LOCATION": cluster.urls, "OPTIONS": factory}
        settings.CACHES = {"default": CACHES["default"] | options}
        leases = [redis_lock(name).acquire() for name in names]
        assert [state["name"] for state in as_json()] == sorted(names)
        redis_locks("--break", names[5])
        assert [state["name"] for state in as_json()] == sorted({*names} - {names[5]})
        for lease in [*leases[:5], *leases[6:]]:
            lease.release()
        with pytest.raises(LockLost):
            leases[5].release()
        close_clients()


# --- stuck


@pytest.fixture
def held_for_300_seconds(server_client):
    """A lock named old, whose lease began that long ago."""
    fence = int((time.time() - 300) * 1e6)
    server_client.set("tests:lock:{old}", f"{fence}:host:1:token", ex=30)


def test_a_lock_held_for_too_long_is_stuck(held_for_300_seconds):
    with redis_lock("new"):
        assert [state["name"] for state in as_json("--stuck", "--max-hold", "200")] == ["old"]
        assert as_json("--stuck") == []


def test_the_longest_hold_follows_the_setting(held_for_300_seconds):
    with override_settings(REDIS_ATOMIC={"LOCK_TTL": 10}):
        (state,) = as_json("--stuck")
    assert state["stuck"] == "held longer than 200 s"
    assert 299 < state["holders"][0]["held"] < 400


def test_times_of_the_settings_may_be_timedeltas(settings):
    settings.REDIS_ATOMIC = {
        "LOCK_TTL": timedelta(seconds=30),
        "LOCK_FENCE_MEMORY": timedelta(hours=1),
    }
    lease = redis_lock("a").acquire()
    assert [lock["name"] for lock in as_json()] == ["a"]
    redis_locks("--break", "a")
    assert as_json() == []
    with pytest.raises(LockLost):
        lease.release()


def test_waiters_without_a_holder_are_stuck(server_client):
    server_client.rpush("tests:lock:{left}:queue", "host:1:token")
    assert as_json("--stuck")[0]["stuck"] == "waiters, but no holder"
    assert redis_locks()[0].splitlines()[1].split()[:6] == ["left", "-", "-", "-", "-", "1"]


def test_a_busy_lock_is_not_stuck():
    with redis_lock("a"):
        waiter = Waiter("a")
        assert as_json("--stuck") == []
    waiter.thread.join()


# --- breaking


def test_a_broken_lock_goes_to_the_next_in_the_queue():
    lease = redis_lock("a").acquire()
    waiter = Waiter("a")
    out, err = redis_locks("--break", "a")
    waiter.thread.join()
    assert str(lease.fence) in out
    assert f":{os.getpid()}" in err
    assert waiter.got.fence > lease.fence
    with pytest.raises(LockLost):
        lease.release()


def test_only_the_named_lock_is_broken():
    with redis_lock("ab"):
        lease = redis_lock("a").acquire()
        redis_locks("--break", "a")
        assert [state["name"] for state in as_json()] == ["ab"]
    with pytest.raises(LockLost):
        lease.release()


def test_a_lock_that_changed_hands_since_it_was_shown_is_left_alone():
    lease = redis_lock("a").acquire()
    (seen,) = lock_states()
    lease.release()
    with redis_lock("a") as now:
        assert take_away(seen) == []
        now.check()
        assert lock_states()[0].holders[0].fence == now.fence


def test_a_lock_that_nobody_holds_cannot_be_broken():
    with pytest.raises(CommandError, match="Nobody holds 'a'"):
        redis_locks("--break", "a")


def test_a_lock_that_is_not_stuck_is_not_said_to_be_free():
    with redis_lock("a"), pytest.raises(CommandError, match="'a' is not stuck: nothing was taken"):
        redis_locks("--break", "a", "--stuck")


def test_a_long_name_can_be_broken_as_it_is_shown():
    lease = redis_lock("x" * 500).acquire()
    (state,) = as_json()
    redis_locks("--break", state["name"])
    assert as_json() == []
    with pytest.raises(LockLost):
        lease.release()


# --- errors


@pytest.mark.parametrize(
    ("alias", "location"),
    [("default", "redis://127.0.0.1:1/0"), ("nowhere", REDIS_URL)],
    ids=["no server", "no cache"],
)
def test_what_cannot_be_asked_is_an_error_for_people(alias, location):
    caches = {"default": CACHES["default"] | {"LOCATION": location}}
    with override_settings(CACHES=caches), pytest.raises(CommandError):
        redis_locks("--cache", alias)


def test_a_cache_without_redis_is_an_error_for_people():
    with pytest.raises(CommandError, match="not a django-redis cache"):
        redis_locks("--cache", "memory")


def test_a_nonsensical_time_is_an_error_for_people():
    with pytest.raises(CommandError, match="max_hold"):
        redis_locks("--max-hold", "-1")
