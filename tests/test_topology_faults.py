"""
Nodes die and slots move under the traffic of eight processes.

What is promised: no request is executed twice; what was told "not executed" was not;
what was told "done" is there, unless the primary died before its replica had heard of
it (replication is asynchronous: here within a second of the death, on the dead
primary's slots alone); all goes on without a restart; and no server has to be told its
scripts again, as they were preloaded on the replicas, too.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from redis.crc import key_slot

from redis_atomic.client.connections import Client, close_clients
from redis_atomic.client.preload import preload
from redis_atomic.scripting.script import Script
from redis_atomic.testing.topology import ask, embedded_cluster, embedded_sentinels, wait_until
from tests.test_cluster import FACTORY, Moving
from tests.test_sentinel import OPTIONS
from tests.traffic import SOURCE, TAGS, keys_of

pytestmark = pytest.mark.stress

#: Seconds: a reply acknowledged so long before a primary's death was replicated.
REPLICATED = 1.0


class Line(NamedTuple):
    time: float
    tag: str
    request: str
    outcome: str


class Traffic:
    """Eight processes, half of them on asyncio with three tasks each."""

    def __init__(self, caches, folder):
        self._stop = folder / "stop"
        self._outputs = [(folder / f"{n}.txt").open("w+") for n in range(8)]
        words = [sys.executable, "-W", "ignore", str(Path(__file__).parent / "traffic.py")]
        self._processes = [
            subprocess.Popen(
                [*words, json.dumps(caches), str(self._stop), f"p{n}", ("sync", "asyncio")[n % 2]],
                stdout=output,
                cwd=Path(__file__).parent.parent,
                env={"PYTHONPATH": "."},
            )
            for n, output in enumerate(self._outputs)
        ]

    def lines(self):
        lines = []
        for output in self._outputs:
            text = Path(output.name).read_text()
            for line in text[: text.rfind("\n") + 1].splitlines():
                at, *rest = line.split("\t")
                lines.append(Line(float(at), *rest))
        return lines

    def wait_for(self, done, since=0.0):
        """Until each process was told ``done`` so many times after a moment."""

        def enough():
            each = Counter(
                line.request.split("-")[0].split(".")[0]
                for line in self.lines()
                if line.outcome == "done" and line.time > since
            )
            return len(each) == 8 and min(each.values()) >= done

        wait_until(enough, 60)

    def stop(self):
        self._stop.touch()
        assert [process.wait(30) for process in self._processes] == [0] * 8
        for output in self._outputs:
            output.close()
        return self.lines()


@pytest.fixture
def traffic(tmp_path):
    started = []

    def start(caches):
        started.append(Traffic(caches, tmp_path))
        return started[-1]

    yield start
    for each in started:
        for process in each._processes:
            process.kill()
            process.wait()


def cache_at(location, **options):
    backend = "django_redis.cache.RedisCache"
    # Time enough for a failover within each call.
    options["SOCKET_TIMEOUT"] = 10
    return {"default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}}


def load_everywhere(settings, caches, servers):
    settings.CACHES = caches
    reports = preload(Client("default"), [Script("traffic", SOURCE)])
    assert len(reports) == len(servers)
    # Redis 6.2 replicates scripts itself.
    assert {each.outcomes[0].state for each in reports} <= {"loaded", "present"}
    close_clients()
    for server in servers:
        ask(server, "CONFIG RESETSTAT")  # preloading asks for a script that nobody has


def check(lines, read, may_be_lost=lambda line: False):
    """Hold what was told against what is there; returns the requests that were lost."""
    errors = [line for line in lines if line.outcome.startswith("error")]
    assert errors == []
    lost = []
    for tag in TAGS:
        ids, count, twice = read(tag)
        told = [line for line in lines if line.tag == tag]
        assert twice is None, f"{tag}: executed twice"
        assert int(count or 0) == len(ids), f"{tag}: the count and its ids differ"
        not_executed = {line.request.encode() for line in told if line.outcome == "not executed"}
        assert not not_executed & ids
        missing = [
            line for line in told if line.outcome == "done" and line.request.encode() not in ids
        ]
        assert [line for line in missing if not may_be_lost(line)] == []
        lost += missing
    return lost


def reader(client):
    def read(tag):
        ids, count, twice = (f":1:{key}" for key in keys_of(tag))
        return client.smembers(ids), client.get(count), client.get(twice)

    return read


def noscripts(server):
    return ask(server, "INFO", "errorstats").get("errorstat_NOSCRIPT", {"count": 0})["count"]


def test_a_dead_primary_of_a_cluster(settings, traffic):
    with embedded_cluster() as cluster:
        caches = cache_at(cluster.urls, CONNECTION_FACTORY=FACTORY)
        load_everywhere(settings, caches, cluster.servers)
        running = traffic(caches)
        running.wait_for(30)
        primary = cluster.primary_of(0)
        (replica,) = cluster.replicas_of(primary)
        died = time.time()
        primary.kill()
        wait_until(lambda: ask(replica, "ROLE")[0] == b"master")
        running.wait_for(30, since=time.time())
        lines = running.stop()

        def may_be_lost(line):
            recent = died - REPLICATED < line.time < died + 0.1
            return recent and cluster.primary_of(key_slot(line.tag.encode())) is replica

        with redis.RedisCluster.from_url(cluster.urls[1]) as client:
            lost = check(lines, reader(client), may_be_lost)
        outcomes = Counter(line.outcome for line in lines)
        print(f"\n{dict(outcomes)}, lost by replication: {len(lost)}")
        assert noscripts(replica) == 0
        healed = [line for line in lines if line.time > died + 15]
        assert {line.outcome for line in healed} <= {"done"}


def test_slots_that_move_key_by_key(settings, traffic):
    with embedded_cluster(replicas=0) as cluster:
        caches = cache_at(cluster.urls, CONNECTION_FACTORY=FACTORY)
        load_everywhere(settings, caches, cluster.servers)
        running = traffic(caches)
        running.wait_for(30)
        for tag in TAGS[:8]:
            moving = Moving(cluster, key_slot(tag.encode()))
            moving.begin()
            for key in keys_of(tag):
                moving.move(f":1:{key}")
                time.sleep(0.05)  # meanwhile a call's keys are on both sides
            moving.move_all()
        running.wait_for(30, since=time.time())
        lines = running.stop()
        with redis.RedisCluster.from_url(cluster.urls[1]) as client:
            assert check(lines, reader(client)) == []
        assert {line.outcome for line in lines} == {"done"}
        assert [noscripts(server) for server in cluster.servers] == [0] * 3


def test_a_failover_by_sentinels(settings, traffic):
    with embedded_sentinels() as sentinels:
        caches = cache_at(sentinels.url, **OPTIONS, SENTINELS=sentinels.addresses)
        load_everywhere(settings, caches, sentinels.servers)
        running = traffic(caches)
        running.wait_for(30)
        old, new = sentinels.servers
        died = time.time()
        old.kill()
        running.wait_for(30, since=died + 0.5)
        lines = running.stop()
        with redis.Redis.from_url(new.url) as client:
            lost = check(
                lines, reader(client), lambda line: died - REPLICATED < line.time < died + 0.1
            )
        outcomes = Counter(line.outcome for line in lines)
        print(f"\n{dict(outcomes)}, lost by replication: {len(lost)}")
        assert noscripts(new) == 0
