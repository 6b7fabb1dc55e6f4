"""
Thirty-two workers, one lock, and everything that can go wrong, for a minute.

Eight processes of two threads and two tasks each fight for a lock, while others of
them are killed and paused, requests and replies get lost, and scripts are flushed.
REDIS_ATOMIC_STRESS_SECONDS makes it longer.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import NamedTuple

import pytest
import redis

from redis_atomic.locks.keys import Keys
from redis_atomic.testing import embedded_server, lost_reply_proxy

SECONDS = float(os.environ.get("REDIS_ATOMIC_STRESS_SECONDS", "60"))
PROCESSES, THREADS, TASKS = 8, 2, 2
TTL, GRANT, SOCKET_TIMEOUT = 1.0, 0.3, 0.5
SLICE = SOCKET_TIMEOUT / 2
LONGEST_PAUSE = 1.6

#: How long a machine with other work may sleep through (seconds).
ROOM = 5.0


class Held(NamedTuple):
    start: float
    end: float
    fence: int
    who: str


class Fight:
    """The processes, and those who disturb them."""

    def __init__(self, server, proxy, log, limit):
        self.redis = redis.Redis.from_url(server.url)
        self.proxy = proxy
        self.options = {
            "caches": {
                "default": {
                    "BACKEND": "django_redis.cache.RedisCache",
                    "LOCATION": proxy.url,
                    "KEY_PREFIX": "stress",
                    "OPTIONS": {"SOCKET_TIMEOUT": SOCKET_TIMEOUT},
                }
            },
            "log": str(log),
            "threads": THREADS,
            "tasks": TASKS,
            "ttl": TTL,
            "grant": GRANT,
            "limit": limit,
        }
        self.random = random.Random()
        self.killed = {}  # pid: when
        self.paused = set()
        self.faults = Counter()
        self.processes = [self.spawn() for _ in range(PROCESSES)]

    def spawn(self):
        command = [sys.executable, "-m", "tests.lock_worker", json.dumps(self.options)]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    def await_all(self, log):
        """Until each process has got something done."""
        end = time.monotonic() + 60
        while len({who.partition(".")[0] for who in at_work(log)}) < PROCESSES:
            assert time.monotonic() < end, "the processes did not start"
            time.sleep(0.1)

    def disturb(self, seconds):
        end = time.monotonic() + seconds
        faults = [self.kill, self.pause, self.lose_reply, self.lose_request, self.deafen]
        faults += [self.flush_scripts]
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.1, 0.5))
            fault = self.random.choice(faults)
            self.faults[fault.__name__] += 1
            fault()

    def kill(self):
        number = self.random.randrange(PROCESSES)
        process = self.processes[number]
        if process.pid in self.paused:
            return  # its belief has ended meanwhile, unwritten
        self.killed[process.pid] = time.monotonic()
        process.kill()
        process.wait()
        process.stdin.close()
        self.processes[number] = self.spawn()

    def pause(self):
        process = self.random.choice(self.processes)
        if process.pid in self.paused:
            return
        self.paused.add(process.pid)
        process.send_signal(signal.SIGSTOP)
        threading.Timer(self.random.uniform(0.05, LONGEST_PAUSE), self.resume, [process]).start()

    def resume(self, process):
        process.send_signal(signal.SIGCONT)
        self.paused.discard(process.pid)

    def lose_reply(self):
        self.proxy.lose_replies(self.random.randint(1, 2), containing=b"EVALSHA")

    def lose_request(self):
        self.proxy.lose_requests(self.random.randint(1, 2), containing=b"EVALSHA")

    def deafen(self):
        self.proxy.lose_replies(1, containing=b"BLPOP")

    def flush_scripts(self):
        self.redis.script_flush()

    def end(self):
        while self.paused:
            time.sleep(0.05)
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            assert process.wait(60) == 0
        self.redis.close()


def at_work(log):
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def read(log, killed):
    """What the workers wrote: their leases in order of time, and how their tries went."""
    held, entered, tries = [], {}, []
    for line in log.read_text().splitlines():
        what, who, value, at = line.split()
        if what == "in":
            entered[who, value] = float(at)
        elif what == "out" and (who, value) in entered:
            held.append(Held(entered.pop((who, value)), float(at), int(value), who))
        elif what == "tried":
            tries.append((value, float(at)))
    for (who, fence), start in entered.items():  # they never came out
        held.append(Held(start, killed[int(who.partition(".")[0])], int(fence), who))
    return sorted(held), tries


def most_at_once(held):
    """How many leases were valid at the same time."""
    edges = sorted([(each.start, 1) for each in held] + [(each.end, -1) for each in held])
    now = most = 0
    for _, edge in edges:
        now += edge
        most = max(most, now)
    return most


def longest_idle(held, limit):
    """The longest time that a slot was free although workers waited all the while."""
    ends = sorted(each.end for each in held)
    return max(each.start - end for each, end in zip(held[limit:], ends, strict=False))


@pytest.mark.stress
@pytest.mark.everywhere
# A worker that was killed while it connected makes a thread of the proxy fail at the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("limit", "share"), [(1, 1.0), (3, 0.3)], ids=["lock", "semaphore"])
def test_whatever_goes_wrong_no_two_leases_overlap(tmp_path, limit, share):
    log = tmp_path / "log"
    with embedded_server(tcp=True) as server, lost_reply_proxy(server.tcp_url) as proxy:
        fight = Fight(server, proxy, log, limit)
        fight.await_all(log)
        fight.disturb(SECONDS * share)
        fight.end()
        held, tries = read(log, fight.killed)
        outcomes = Counter(outcome for outcome, _ in tries)
        idle, wait = longest_idle(held, limit), max(seconds for _, seconds in tries)
        print(
            f"{len(held)} leases, {outcomes}, {len(fight.killed)} killed, {fight.faults}, "
            f"lost {proxy.lost}, longest idle {idle:.2f} s, longest try {wait:.2f} s"
        )
        fences = [each.fence for each in held]
        assert len(held) > 5 * SECONDS * share, "they did get something done"
        assert len(set(fences)) == len(fences)
        assert most_at_once(held) <= limit
        if limit == 1:
            assert fences == sorted(fences), "fences grow in the order of the grants"
        assert idle < TTL + GRANT + SLICE + LONGEST_PAUSE + ROOM
        assert set(outcomes) <= {"ok", "LockBusy", "LockLost", "LockUnavailable", "TimeoutError"}
        assert outcomes["ok"] > 0.5 * len(tries)
        nothing_is_left(server, limit)


def nothing_is_left(server, limit):
    """Only the fence, and tombstones that end by themselves; the last waiters may be dead ones."""
    keys = Keys("stress", limit, "lock" if limit == 1 else "semaphore")
    with redis.Redis.from_url(server.url) as client:
        end = time.monotonic() + 60
        while True:
            names = {name.decode() for name in client.scan_iter()}
            assert all(client.pttl(name) > 0 or not client.exists(name) for name in names)
            tombstones = {name for name in names if client.type(name) == b"string"}
            tombstones = {name for name in tombstones if f"{keys.base}:wake:" in name}
            if names - tombstones == {f"stress:{keys.base}:fence"}:
                return
            assert time.monotonic() < end, names
            time.sleep(0.2)
