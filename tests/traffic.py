"""
One process of traffic: calls with request ids, and what it was told of each.

    python tests/traffic.py CACHES-as-JSON STOP-FILE NAME sync|asyncio

Each call adds its id to a set and counts; an id that is there already counts as twice.
Lines on stdout: time, tag, id, outcome ("done", "not executed", "unknown", or an error).
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from django.conf import settings

TAGS = [f"t{n}" for n in range(24)]  # hash tags on all primaries
SOURCE = b"""
if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then redis.call('INCR', KEYS[3]) end
return redis.call('INCR', KEYS[2])
"""


def keys_of(tag):
    return f"{{{tag}}}:ids", f"{{{tag}}}:count", f"{{{tag}}}:twice"


def main():
    caches, stop, name, mode = sys.argv[1:]
    settings.configure(CACHES=json.loads(caches), SECRET_KEY="x")
    if mode == "asyncio":
        asyncio.run(awork(Path(stop), name))
    else:
        sync(Path(stop), name)


def requests(stop, name):
    number = 0
    while not stop.exists():
        number += 1
        yield TAGS[number % len(TAGS)], f"{name}-{number}"


def call_of(tag, request_id):
    from redis_atomic import Call
    from redis_atomic.scripting.script import Script

    return Call(Script("traffic", SOURCE), keys_of(tag), (request_id,))


def sync(stop, name):
    from redis_atomic.client.connections import client_for
    from redis_atomic.client.execution import run

    client = client_for("default")
    for tag, request_id in requests(stop, name):
        try:
            run(client, call_of(tag, request_id))
        except Exception as error:  # noqa: BLE001
            tell(tag, request_id, error)
        else:
            tell(tag, request_id, None)
        time.sleep(0.001)


async def awork(stop, name):
    await asyncio.gather(*(one(stop, f"{name}.{n}") for n in range(3)))


async def one(stop, name):
    from redis_atomic.client.connections import client_for
    from redis_atomic.client.execution import arun

    client = client_for("default")
    for tag, request_id in requests(stop, name):
        try:
            await arun(client, call_of(tag, request_id))
        except Exception as error:  # noqa: BLE001
            tell(tag, request_id, error)
        else:
            tell(tag, request_id, None)
        await asyncio.sleep(0.003)


def tell(tag, request_id, error):
    from redis_atomic.exceptions import IndeterminateResult, NotExecuted

    outcomes = {NotExecuted: "not executed", IndeterminateResult: "unknown", type(None): "done"}
    outcome = outcomes.get(type(error), f"error {error!r}")
    print(time.time(), tag, request_id, outcome, sep="\t", flush=True)


if __name__ == "__main__":
    main()
