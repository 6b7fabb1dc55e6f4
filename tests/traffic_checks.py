"""Eight processes of traffic, and what they were told held against what is there."""

import json
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import redis

from redis_atomic import RateLimiter
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.testing.topology import ask, wait_until
from tests.traffic import LIMITS, LOCKS, TAGS, USERS, keys_of

PROCESSES = 8
LIMIT = Rate.parse(LIMITS[0]).amount


class Line(NamedTuple):
    time: float
    kind: str
    name: str
    what: str
    outcome: str


class Section(NamedTuple):
    """What was done under a lock. Moments are seconds of the monotonic clock."""

    start: float
    end: float
    fence: int
    outcome: str


class Traffic:
    """Eight processes, half of them on asyncio with three tasks each."""

    def __init__(self, caches, folder):
        self._stop = folder / "stop"
        self._outputs = [(folder / f"{n}.txt").open("w+") for n in range(PROCESSES)]
        words = [sys.executable, "-W", "ignore", "-m", "tests.traffic"]
        self._processes = [
            subprocess.Popen(
                [*words, json.dumps(caches), str(self._stop), f"p{n}", ("sync", "asyncio")[n % 2]],
                stdin=subprocess.PIPE,
                stdout=output,
                cwd=Path(__file__).parent.parent,
            )
            for n, output in enumerate(self._outputs)
        ]

    def begin(self):
        """Together: a late one would only find what the others have left of the limits."""
        wait_until(lambda: len(self.lines()) == PROCESSES, 60)
        for process in self._processes:
            process.stdin.close()

    def lines(self):
        lines = []
        for output in self._outputs:
            text = Path(output.name).read_text()
            for line in text[: text.rfind("\n") + 1].splitlines():
                at, *rest = line.split("\t")
                lines.append(Line(float(at), *rest))
        return lines

    def wait_for(self, counted, since=0.0):
        """Until each process had so many calls counted after a moment."""

        def enough():
            each = Counter(
                line.what.split("-")[0].split(".")[0]
                for line in self.lines()
                if (line.kind, line.outcome) == ("count", "done") and line.time > since
            )
            return len(each) == PROCESSES and min(each.values()) >= counted

        wait_until(enough, 60)

    def wait_until_all_is_well(self, since):
        """Until after a moment each user was told to be at the limit, and each lock was held."""

        def well():
            after = [line for line in self.lines() if line.time > since]
            told = {(line.kind, line.outcome, line.name) for line in after}
            wanted = {("hit", "refused", user) for user in USERS}
            return told >= wanted | {("hold", "done", lock) for lock in LOCKS}

        self.wait_for(30, since)
        wait_until(well, 60)

    def stop(self):
        self._stop.touch()
        assert [process.wait(30) for process in self._processes] == [0] * PROCESSES
        for output in self._outputs:
            output.close()
        lines = self.lines()
        assert [line for line in lines if line.outcome.startswith("error")] == []
        return lines

    def kill(self):
        for process in self._processes:
            with process:  # closes its stdin, and waits
                process.kill()


def outcomes(lines, kind):
    return Counter(line.outcome for line in lines if line.kind == kind)


# Counted calls


def check_counts(lines, client, may_be_lost=lambda line: False):
    """What was told is there, each once; returns the requests that were lost."""
    lost = []
    for tag in TAGS:
        ids, count, twice = (f"tests:1:{key}" for key in keys_of(tag))
        ids, count, twice = client.smembers(ids), client.get(count), client.get(twice)
        told = [line for line in lines if (line.kind, line.name) == ("count", tag)]
        assert twice is None, f"{tag}: executed twice"
        assert int(count or 0) == len(ids), f"{tag}: the count and its ids differ"
        assert not {line.what.encode() for line in told if line.outcome == "not executed"} & ids
        missing = [
            line for line in told if line.outcome == "done" and line.what.encode() not in ids
        ]
        assert [line for line in missing if not may_be_lost(line)] == []
        lost += missing
    return lost


# Limits


def admitted(lines, user, until=float("inf")):
    """How often Redis admitted a user. What a process decided by itself is not in it."""
    told = [line for line in lines if line.kind == "hit" and line.name == user]
    return sum(line.outcome == "admitted" and line.time < until for line in told)


def check_limits(lines, unreplicated):
    """
    Never more than the limit and what the promoted replica had not heard of.

    Decisions that were degraded are each process's own: at most the limit in each.
    """
    for user in USERS:
        assert admitted(lines, user) <= LIMIT + unreplicated.get(user, 0)
        alone = [x for x in lines if (x.name, x.outcome) == (user, "degraded admitted")]
        assert len(alone) <= PROCESSES * LIMIT


def keys_of_limits(server):
    """What a server holds of limits, as DUMP has it."""
    with redis.Redis.from_url(server.url, single_connection_client=True) as client:
        with suppress(redis.ResponseError):  # no cluster: no need
            client.execute_command("READONLY")
        return {key: client.dump(key) for key in client.keys("tests:rl1:*")}


def units_held(dumps, client):
    """By user, how many units these keys hold; ``client`` is of an empty default cache."""
    for key, dump in dumps.items():
        client.restore(key, 3_600_000, dump)
    limiter = RateLimiter(*LIMITS, name="traffic")
    units = {user: LIMIT - limiter.peek(user).limits[0].remaining for user in USERS}
    return {user: held for user, held in units.items() if held}


# Locks


def sections(lines, name):
    for line in lines:
        if line.kind == "hold" and line.name == name and len(line.what.split()) == 3:
            fence, start, end = line.what.split()
            yield Section(float(start), float(end), int(fence), line.outcome)


def check_locks(lines):
    """No two kept leases at once, fences in the order of grants; returns what was lost."""
    lost = []
    for name in LOCKS:
        granted = sorted(sections(lines, name))
        kept = [section for section in granted if section.outcome != "lost"]
        assert all(one.end <= other.start for one, other in pairwise(kept)), name
        check_fences(granted)
        lost += [section for section in granted if section.outcome == "lost"]
    return lost


def check_fences(granted):
    latest = 0.0
    for section in sorted(granted, key=lambda each: each.fence):
        assert section.end > latest, "a later grant has a lower fence"
        latest = max(latest, section.start)


def cut_off(replica):
    """Let a replica hear no more of its primary. It can be promoted all the same."""
    ask(replica, "CONFIG SET", "masterauth", "wrong")
    ask(replica, "CLIENT KILL", "TYPE", "master")
    wait_until(lambda: ask(replica, "ROLE")[3] != b"connected")
