"""
One process of traffic: counted calls, limits and locks, and what it was told of each.

    python -m tests.traffic CACHES-as-JSON STOP-FILE NAME sync|asyncio

It says that it is ready, and begins when its stdin is closed. A counted call adds its
id to a set and counts; an id that is there already counts as twice. A hit is of one of
a few users. A lock is held for some milliseconds. Lines on stdout: time, kind, name,
what it was, outcome. A lock's is fence, start and end.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path

from django.conf import settings

TAGS = [f"t{n}" for n in range(24)]  # hash tags on all primaries
USERS = [f"user:{n}" for n in range(12)]  # and so are these
LOCKS = [f"lock {n}" for n in range(24)]
LIMITS = ("100/h", "1000/d")
LOCK = {"ttl": 3, "wait": 0.2}
SECRET_KEY = "only for tests"  # the identities in limits' keys are hashed with it
SOURCE = b"""
if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then redis.call('INCR', KEYS[3]) end
return redis.call('INCR', KEYS[2])
"""


def keys_of(tag):
    return f"{{{tag}}}:ids", f"{{{tag}}}:count", f"{{{tag}}}:twice"


def main():
    caches, stop, name, mode = sys.argv[1:]
    settings.configure(CACHES=json.loads(caches), SECRET_KEY=SECRET_KEY)
    limiter()  # imports what takes longest
    tell("ready", name, "", "")
    sys.stdin.read()
    if mode == "asyncio":
        asyncio.run(awork(Path(stop), name))
    else:
        work(Path(stop), name)


def rounds(stop, name):
    """A tag, a request's id, a user and a lock for each round."""
    number = 0
    while not stop.exists():
        number += 1
        tag, user = TAGS[number % len(TAGS)], USERS[number % len(USERS)]
        yield tag, f"{name}-{number}", user, random.choice(LOCKS)


def work(stop, name):
    for tag, request_id, user, lock in rounds(stop, name):
        count(tag, request_id)
        hit(user)
        hold(lock)


async def awork(stop, name):
    await asyncio.gather(*(atask(stop, f"{name}.{n}") for n in range(3)))


async def atask(stop, name):
    for tag, request_id, user, lock in rounds(stop, name):
        await acount(tag, request_id)
        await ahit(user)
        await ahold(lock)


# Counted calls


def call_of(tag, request_id):
    from redis_atomic import Call
    from redis_atomic.scripting.script import Script

    return Call(Script("traffic", SOURCE), keys_of(tag), (request_id,))


def count(tag, request_id):
    from redis_atomic.client.connections import client_for
    from redis_atomic.client.execution import run

    try:
        run(client_for("default"), call_of(tag, request_id))
    except Exception as error:  # noqa: BLE001
        tell("count", tag, request_id, outcome_of(error))
    else:
        tell("count", tag, request_id, "done")


async def acount(tag, request_id):
    from redis_atomic.client.connections import client_for
    from redis_atomic.client.execution import arun

    try:
        await arun(client_for("default"), call_of(tag, request_id))
    except Exception as error:  # noqa: BLE001
        tell("count", tag, request_id, outcome_of(error))
    else:
        tell("count", tag, request_id, "done")


# Limits


def limiter():
    from redis_atomic import RateLimiter

    return RateLimiter(*LIMITS, name="traffic")


def hit(user):
    tell_decision(user, limiter().hit(user))


async def ahit(user):
    tell_decision(user, await limiter().ahit(user))


def tell_decision(user, decision):
    words = ["degraded"] * decision.degraded + ["admitted" if decision else "refused"]
    tell("hit", user, "", " ".join(words))


# Locks


def hold(name):
    from redis_atomic import redis_lock

    section = []
    try:
        with redis_lock(name, **LOCK) as lease:
            section += [lease.fence, time.monotonic()]
            time.sleep(0.005)
            section += [time.monotonic()]
    except Exception as error:  # noqa: BLE001
        tell("hold", name, words(section), outcome_of(error))
    else:
        tell("hold", name, words(section), "done")


async def ahold(name):
    from redis_atomic import redis_lock

    section = []
    try:
        async with redis_lock(name, **LOCK) as lease:
            section += [lease.fence, time.monotonic()]
            await asyncio.sleep(0.005)
            section += [time.monotonic()]
    except Exception as error:  # noqa: BLE001
        tell("hold", name, words(section), outcome_of(error))
    else:
        tell("hold", name, words(section), "done")


def words(section):
    return " ".join(map(str, section))


# What it was told


def outcome_of(error):
    from redis_atomic.exceptions import (
        IndeterminateResult,
        LockBusy,
        LockLost,
        LockUnavailable,
        NotExecuted,
    )

    outcomes = {
        NotExecuted: "not executed",
        IndeterminateResult: "unknown",
        LockBusy: "busy",
        LockLost: "lost",
        LockUnavailable: "unavailable",
    }
    return outcomes.get(type(error), f"error {error!r}")


def tell(kind, name, what, outcome):
    print(time.time(), kind, name, what, outcome, sep="\t", flush=True)


if __name__ == "__main__":
    main()
