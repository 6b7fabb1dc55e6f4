"""Locks and limits where servers fail and slots move: rows of the lock's fault catalogue."""

import threading
import time

import pytest
from redis.crc import key_slot

from redis_atomic import RateLimiter, redis_lock
from redis_atomic.client.connections import close_clients
from redis_atomic.exceptions import LockLost, LockUnavailable
from redis_atomic.testing.cluster import embedded_cluster
from redis_atomic.testing.sentinels import embedded_sentinels
from redis_atomic.testing.topology import wait_until
from tests.test_cluster import FACTORY, Moving
from tests.test_sentinel import OPTIONS

pytestmark = pytest.mark.stress


def use(settings, location, **options):
    cache = {**settings.CACHES["default"], "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {"default": cache}


@pytest.fixture(scope="module")
def bare_cluster():
    """Three primaries, none with a replica."""
    with embedded_cluster(replicas=0) as cluster:
        yield cluster


@pytest.fixture
def on_cluster(settings, bare_cluster):
    use(settings, bare_cluster.urls, CONNECTION_FACTORY=FACTORY)
    yield bare_cluster
    close_clients()


def slot_of_lock(name):
    return key_slot(f"{{{name}}}".encode())


def test_a_lock_is_kept_and_waited_for_while_its_slot_moves(on_cluster):
    """Held through the migration, renewed, handed over to a waiter, given back."""
    moving = Moving(on_cluster, slot_of_lock("moving"))
    got = []

    def wait_for_it():
        with redis_lock("moving", ttl=3, wait=20):
            got.append(time.monotonic())

    with redis_lock("moving", ttl=3) as lease:
        waiter = threading.Thread(target=wait_for_it)
        waiter.start()
        moving.begin()
        time.sleep(2)
        moving.move_all()
        time.sleep(2)
        lease.check()
        assert got == []
        released = time.monotonic()
    waiter.join()
    assert got
    assert got[0] - released < 5


def test_a_lock_whose_node_is_dead_is_unavailable_and_others_go_on(settings, bare_cluster):
    use(settings, bare_cluster.urls, CONNECTION_FACTORY=FACTORY, SOCKET_TIMEOUT=0.3)
    dead = bare_cluster.primary_of(slot_of_lock("a"))
    others = [f"b{n}" for n in range(20)]
    other = next(x for x in others if bare_cluster.primary_of(slot_of_lock(x)) is not dead)
    dead.pause()  # nothing replaces it
    try:
        with pytest.raises(LockUnavailable), redis_lock("a", ttl=3, wait=1):
            pass
        with redis_lock(other, ttl=3, wait=5):
            pass
    finally:
        dead.resume()
        bare_cluster.wait_until_healthy()
        close_clients()


def test_a_lease_whose_node_dies_is_told_lost(settings):
    with embedded_cluster(replicas=0) as cluster:
        use(settings, cluster.urls, CONNECTION_FACTORY=FACTORY, SOCKET_TIMEOUT=0.3)
        lost = threading.Event()

        def work():
            with redis_lock("mine", ttl=1.5, on_lost=lambda lease: lost.set()) as lease:
                cluster.primary_of(slot_of_lock("mine")).kill()
                assert lost.wait(10)
                lease.check()

        with pytest.raises(LockLost):
            work()
        close_clients()


def test_a_lease_survives_a_sentinel_failover_shorter_than_its_ttl(settings):
    with embedded_sentinels() as sentinels:
        use(settings, sentinels.url, **OPTIONS, SENTINELS=sentinels.addresses)
        with redis_lock("report", ttl=20) as lease:
            time.sleep(0.2)  # replicated
            old = sentinels.master
            old.kill()
            wait_until(lambda: sentinels.master is not old)
            lease.check()
            lease.extend(to=30)
        with redis_lock("report", ttl=5, wait=10):
            pass
        close_clients()


# --- Limits


def test_limits_of_one_identity_are_one_call_and_hold_on_a_cluster(on_cluster):
    limiter = RateLimiter("5/h", "50/d", name="cluster")
    for user in range(20):
        decisions = [limiter.hit(f"user:{user}") for _ in range(7)]
        assert [bool(each) for each in decisions] == [True] * 5 + [False] * 2
        assert not any(each.degraded for each in decisions)


async def test_limits_hold_on_asyncio_too(on_cluster):
    limiter = RateLimiter("5/h", name="asyncio")
    decisions = [await limiter.ahit("user:1") for _ in range(7)]
    assert [bool(each) for each in decisions] == [True] * 5 + [False] * 2
    assert not any(each.degraded for each in decisions)


def test_limits_count_exactly_while_their_slots_move(on_cluster, settings):
    settings.REDIS_ATOMIC = {"RATE_LIMIT_TIMEOUT": 10}  # time to wait for a key that moves
    limiter = RateLimiter("100/h", name="moving")
    users = [f"user:{n}" for n in range(12)]
    stop = threading.Event()
    admitted = dict.fromkeys(users, 0)
    degraded = []

    def hit(user):
        while not stop.is_set():
            decision = limiter.hit(user)
            degraded.extend([decision] if decision.degraded else [])
            admitted[user] += decision.allowed
            time.sleep(0.005)

    threads = [threading.Thread(target=hit, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    slots = {key_slot(key) for server in on_cluster.servers for key in keys_of(server)}
    for slot in list(slots)[:4]:
        Moving(on_cluster, slot).move_all()
    wait_until(lambda: min(admitted.values()) >= 100 or bool(degraded))
    stop.set()
    for thread in threads:
        thread.join()
    assert degraded == []
    assert admitted == dict.fromkeys(users, 100)


def keys_of(server):
    from redis_atomic.testing.topology import ask

    return [key for key in ask(server, "KEYS", "*") if b"rl1" in key]
