"""
Nodes die and slots move under the traffic of eight processes: calls, limits and locks.

What is promised: no request is executed twice; what was told "not executed" was not;
what was told "done" is there, unless the primary died before its replica had heard of
it (replication is asynchronous); a limit admits no more besides than just that; two
leases are never both kept at once, and what was lost is told; all goes on without a
restart; and no server has to be told its scripts again, as they were preloaded on the
replicas, too.

So that there is something to lose, the replica hears nothing for the last moments of
its primary. What it holds then is what it has when it is promoted.
"""

import time
from itertools import count
from typing import NamedTuple

import pytest
import redis
from redis.crc import key_slot

from redis_atomic import redis_lock
from redis_atomic.client.connections import Client, close_clients
from redis_atomic.client.preload import preload
from redis_atomic.exceptions import LockLost
from redis_atomic.scripting.builtin import builtins
from redis_atomic.scripting.script import Script
from redis_atomic.testing import embedded_server
from redis_atomic.testing.cluster import embedded_cluster
from redis_atomic.testing.sentinels import embedded_sentinels
from redis_atomic.testing.topology import ask, wait_until
from tests.servers import cache_at
from tests.test_cluster import FACTORY, Moving
from tests.test_sentinel import OPTIONS
from tests.test_topology_locks import slot_of_lock
from tests.traffic import LOCKS, SECRET_KEY, SOURCE, TAGS, USERS
from tests.traffic_checks import (
    LIMIT,
    Traffic,
    admitted,
    check_counts,
    check_limits,
    check_locks,
    cut_off,
    keys_of_limits,
    outcomes,
    units_held,
)

pytestmark = pytest.mark.stress

#: Seconds: what was told so long before the replica was cut off had reached it.
REPLICATED = 1.0

#: Seconds after a primary's death in which nothing else can have answered in its place.
SILENT = 0.9


@pytest.fixture
def traffic(tmp_path):
    started = []

    def start(caches):
        each = Traffic(caches, tmp_path)
        started.append(each)
        each.begin()
        return each

    yield start
    for each in started:
        each.kill()


def use(settings, location, servers, **options):
    """The caches of traffic on these servers, which know all scripts."""
    # Time enough for a failover within each call.
    settings.CACHES = {"default": cache_at(location, **options, SOCKET_TIMEOUT=10)}
    settings.SECRET_KEY = SECRET_KEY
    reports = preload(Client("default"), [Script("traffic", SOURCE), *builtins()])
    assert len(reports) == len(servers)
    # Redis 6.2 replicates scripts itself.
    assert {each.state for one in reports for each in one.outcomes} <= {"loaded", "present"}
    close_clients()
    for server in servers:
        ask(server, "CONFIG RESETSTAT")  # preloading asks for a script that nobody has
    return settings.CACHES


def noscripts(server):
    return ask(server, "INFO", "errorstats").get("errorstat_NOSCRIPT", {"count": 0})["count"]


class Death(NamedTuple):
    """Of a primary: when its replica was cut off and what it held then, when it died."""

    cut: float
    died: float
    dumps: dict

    def may_have_lost(self, line):
        return self.cut - REPLICATED < line.time < self.died + SILENT


def kill(primary, replica, locks):
    """
    End a primary whose replica has not heard its last words.

    Of two leases, the one that the replica has heard of is kept, the other told lost.
    """
    heard, unheard = locks
    kept = redis_lock(heard, ttl=20).acquire()
    wait_until(lambda: f"tests:lock:{{{heard}}}".encode() in ask(replica, "KEYS", "*"))
    cut = time.time()
    cut_off(replica)
    dumps = keys_of_limits(replica)
    ghost = redis_lock(unheard, ttl=6).acquire()
    time.sleep(0.5)  # in which much is told that will be lost
    died = time.time()
    primary.kill()
    wait_until(lambda: ask(replica, "ROLE")[0] == b"master")
    assert ghost.lost.wait(20)
    with pytest.raises(LockLost):
        ghost.release()
    with redis_lock(unheard, wait=10) as lease:
        assert lease.fence > ghost.fence
    kept.check()
    kept.release()
    return Death(cut, died, dumps)


def unreplicated_units(death, lines, settings):
    """By user: what a primary had admitted when it died, and its replica had not heard of."""
    with embedded_server() as server, redis.Redis.from_url(server.url) as client:
        settings.CACHES = {"default": cache_at(server.url)}
        held = units_held(death.dumps, client)
    before = death.died + SILENT
    return {user: max(admitted(lines, user, before) - units, 0) for user, units in held.items()}


def check(lines, client, death, settings):
    unreplicated = unreplicated_units(death, lines, settings)
    lost_calls = check_counts(lines, client, death.may_have_lost)
    lost_leases = check_locks(lines)
    check_limits(lines, unreplicated)
    assert lost_calls
    assert sum(unreplicated.values()) > 0, "this test shows nothing"
    over = sum(max(admitted(lines, user) - LIMIT, 0) for user in USERS)
    print(f"\nlost: {len(lost_calls)} calls, {len(lost_leases)} leases, and")
    print(f"{sum(unreplicated.values())} admissions, so {over} were above the limits")
    healed = [line for line in lines if line.time > death.died + 15]
    assert set(outcomes(healed, "count")) <= {"done"}
    assert set(outcomes(healed, "hit")) <= {"admitted", "refused"}


def test_a_dead_primary_of_a_cluster(settings, traffic):
    with embedded_cluster() as cluster:
        caches = use(settings, cluster.urls, cluster.servers, CONNECTION_FACTORY=FACTORY)
        running = traffic(caches)
        running.wait_for(10)
        primary = cluster.primary_of(0)
        (replica,) = cluster.replicas_of(primary)
        names = (f"held {n}" for n in count())
        here = (name for name in names if cluster.primary_of(slot_of_lock(name)) is primary)
        death = kill(primary, replica, (next(here), next(here)))
        running.wait_until_all_is_well(since=time.time())
        lines = running.stop()
        with redis.RedisCluster.from_url(cluster.urls[1]) as client:
            check(lines, client, death, settings)
        assert noscripts(replica) == 0


def test_slots_that_move_key_by_key(settings, traffic):
    with embedded_cluster(replicas=0) as cluster:
        caches = use(settings, cluster.urls, cluster.servers, CONNECTION_FACTORY=FACTORY)
        running = traffic(caches)
        running.wait_for(10)
        for slot in slots_of_each_kind(cluster):
            moving = Moving(cluster, slot)
            moving.begin()
            for key in ask(moving.source, "CLUSTER GETKEYSINSLOT", slot, 10):
                moving.move(key)
                time.sleep(0.05)  # meanwhile a call's keys are on both sides
            moving.move_all()
        running.wait_until_all_is_well(since=time.time())
        lines = running.stop()
        with redis.RedisCluster.from_url(cluster.urls[1]) as client:
            assert check_counts(lines, client) == []
        check_limits(lines, {})
        assert check_locks(lines) == []
        assert set(outcomes(lines, "count")) == {"done"}
        assert [noscripts(server) for server in cluster.servers] == [0] * 3


def slots_of_each_kind(cluster):
    """Of four tags of counted calls, four users and four locks."""
    keys = [key for server in cluster.servers for key in keys_of_limits(server)]
    limits = sorted({key_slot(key) for key in keys})[:4]
    counts = [key_slot(tag.encode()) for tag in TAGS[:4]]
    return [*counts, *limits, *map(slot_of_lock, LOCKS[:4])]


def test_a_failover_by_sentinels(settings, traffic):
    with embedded_sentinels() as sentinels:
        options = {**OPTIONS, "SENTINELS": sentinels.addresses}
        caches = use(settings, sentinels.url, sentinels.servers, **options)
        running = traffic(caches)
        running.wait_for(10)
        old, new = sentinels.servers
        death = kill(old, new, ("held 0", "held 1"))
        running.wait_until_all_is_well(since=time.time())
        lines = running.stop()
        with redis.Redis.from_url(new.url) as client:
            check(lines, client, death, settings)
        assert noscripts(new) == 0
