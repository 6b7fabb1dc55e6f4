"""
A process full of workers that fight for one lock, and write down when they held it.

``python -m tests.lock_worker OPTIONS-AS-JSON``; it ends when its stdin does. A line of
the log is ``in WHO FENCE TIME``, ``out WHO FENCE TIME`` or ``tried WHO OUTCOME SECONDS``,
with times on the monotonic clock, which all processes of a machine share.
"""

import asyncio
import itertools
import json
import os
import random
import sys
import threading
import time
from contextlib import suppress

import django
from django.conf import settings


def main(options):
    settings.configure(CACHES=options["caches"])
    django.setup()
    from redis_atomic.locks import protocol

    protocol.GRANT = options["grant"]
    log = os.open(options["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    stop = threading.Event()
    workers = [Worker(options, log, stop) for _ in range(options["threads"] + options["tasks"])]
    threads = [threading.Thread(target=worker.work) for worker in workers[: options["threads"]]]

    async def tasks():
        await asyncio.gather(*(worker.awork() for worker in workers[options["threads"] :]))

    threads.append(threading.Thread(target=asyncio.run, args=[tasks()]))
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()


class Worker:
    numbers = itertools.count()

    def __init__(self, options, log, stop):
        self.options, self.log, self.stop = options, log, stop
        self.who = f"{os.getpid()}.{next(self.numbers)}"
        self.random = random.Random()

    def say(self, *words):
        os.write(self.log, (" ".join(map(str, words)) + "\n").encode())

    def lock(self):
        from redis_atomic.locks.lock import redis_lock, redis_semaphore

        unfair = self.random.random() < 0.05
        how = {"ttl": self.options["ttl"], "fair": not unfair, "wait": 0.3 if unfair else 30}
        if self.options["limit"] == 1:
            return redis_lock("stress", **how)
        return redis_semaphore("stress", self.options["limit"], **how)

    def section(self):
        return self.random.random() * (0.5 if self.random.random() < 0.03 else 0.003)

    def work(self):
        while not self.stop.is_set():
            began, outcome = time.monotonic(), "ok"
            try:
                with self.lock() as lease:
                    self.enter(lease)
                    time.sleep(self.section())
                    self.leave(lease)
            except Exception as error:  # noqa: BLE001  any outcome is written down
                outcome = type(error).__name__
            self.say("tried", self.who, outcome, time.monotonic() - began)

    async def awork(self):
        while not self.stop.is_set():
            began, outcome = time.monotonic(), "ok"
            limit = self.random.random() if self.random.random() < 0.1 else 60
            try:
                async with asyncio.timeout(limit):  # cancelled anywhere, now and then
                    async with self.lock() as lease:
                        self.enter(lease)
                        try:
                            await asyncio.sleep(self.section())
                        finally:
                            self.leave(lease)
            except Exception as error:  # noqa: BLE001
                outcome = type(error).__name__
            self.say("tried", self.who, outcome, time.monotonic() - began)

    def enter(self, lease):
        now = time.monotonic()
        with suppress(Exception):  # a lease that is lost by now was never believed in
            lease.check()
            self.say("in", self.who, lease.fence, now)

    def leave(self, lease):
        self.say("out", self.who, lease.fence, min(time.monotonic(), lease.lost.deadline))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
