"""
The keeper: renews the leases of this process, and notices those that are lost.

For each cache alias one thread serves all threads of a process, a timer in each event
loop its tasks: where one server is silent, the leases of another do not wait. A
third of its TTL after the last renewal a lease is extended, together with all others
that are due. The keeper knows leases by weak references only; it starts when there is
one and ends when there is none, and nothing is renewed beyond its ``max_hold``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
import weakref
from typing import Any

from ..exceptions import LockUnavailable
from .ending import tell_loss
from .lease import Lease
from .renewal import AGAIN, next_event, next_renewal, renew
from .steps import adrive, drive

logger = logging.getLogger("redis_atomic.locks")

#: Leases that are due so soon are renewed in the same trip (seconds).
TOGETHER = 0.05


class Keeper:
    """Leases of one cache alias and one thread of control, and when to look at them next."""

    def __init__(self) -> None:
        self._leases: set[weakref.ref[Lease]] = set()

    def discard(self, lease: Lease) -> None:
        """It has ended, well or not."""
        self._leases.discard(weakref.ref(lease))

    def current(self) -> list[Lease]:
        """The leases to look after; those that nobody refers to any more are forgotten."""
        known = {reference: reference() for reference in list(self._leases)}
        self._leases.difference_update([each for each, lease in known.items() if lease is None])
        return [lease for lease in known.values() if lease is not None]

    def due(self) -> list[Lease]:
        soon = time.monotonic() + TOGETHER
        return [lease for lease in self.current() if next_renewal(lease) <= soon]

    def lost(self) -> list[Lease]:
        lost = [lease for lease in self.current() if lease.granted and lease.lost.is_set()]
        for lease in lost:
            self.discard(lease)
        return lost

    def next_look(self) -> float:
        """When something may have to be done; infinity if there is nothing to look after."""
        now = time.monotonic()
        return min([next_event(lease, now) for lease in self.current()], default=math.inf)


class ThreadKeeper(Keeper):
    """The keeper of the threads of a process: a daemon thread while there are leases."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next = math.inf  # when the thread looks by itself

    def watch(self, lease: Lease) -> None:
        """Look after this lease, which may not be granted yet."""
        lease.keeper = self
        self._leases.add(weakref.ref(lease))
        if lease.began + lease.ttl / 3 < self._next:  # mostly it comes by in time
            with self._changed:
                if self._thread is None or not self._thread.is_alive():
                    self._start(lease)
                else:
                    self._changed.notify()

    def _start(self, lease: Lease) -> None:
        thread = threading.Thread(target=self._run, name="redis_atomic lock keeper", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self.discard(lease)
            raise LockUnavailable(
                f"The lock {lease.name!r} was not acquired: no thread could be started to renew "
                f"it ({error})."
            ) from error
        self._thread = thread

    def _run(self) -> None:
        try:
            while self._sleep():
                try:
                    self._look()
                except Exception:
                    logger.exception("The lock keeper failed; it goes on")
                    time.sleep(AGAIN)
        finally:
            self._next = math.inf  # whatever ended it: the next lease starts another

    def _sleep(self) -> bool:
        """Wait for the next thing to do; false when there is nothing, and the thread ends."""
        with self._changed:
            while (next_look := self._tell_next()) > time.monotonic():
                if next_look == math.inf:
                    self._thread = None
                    return False
                self._changed.wait(min(next_look - time.monotonic(), 3600.0))
            return True

    def _tell_next(self) -> float:
        """When to look next: as those know who come later, and found out after they were told."""
        self._next = self.next_look()
        while (next_look := self.next_look()) < self._next:
            self._next = next_look
        return next_look

    def _look(self) -> None:
        drive(renew(self.due()))
        for lease in self.lost():
            # A thread of its own: whatever a receiver does, the other leases are renewed.
            tell = threading.Thread(
                target=drive, args=(tell_loss(lease),), name="redis_atomic lock lost", daemon=True
            )
            try:
                tell.start()
            except RuntimeError:  # no more threads: better to be late than silent
                drive(tell_loss(lease))


class LoopKeeper(Keeper):
    """The keeper of one event loop: a timer, and a task while it asks Redis."""

    def __init__(self) -> None:
        super().__init__()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, lease: Lease) -> None:
        """Look after this lease, which may not be granted yet."""
        lease.keeper = self
        self._leases.add(weakref.ref(lease))
        self._schedule(next_event(lease, time.monotonic()))

    def _schedule(self, when: float) -> None:
        """Look then, or at the earlier time that is planned already."""
        loop = asyncio.get_running_loop()
        at = loop.time() + when - time.monotonic()
        if self._timer is not None and self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._start)

    def _start(self) -> None:
        self._timer = None
        if self._leases:
            self._spawn(self._look())

    async def _look(self) -> None:
        try:
            await adrive(renew(self.due()))
        except Exception:
            logger.exception("The lock keeper failed; it goes on")
            await asyncio.sleep(AGAIN)
        for lease in self.lost():
            self._spawn(adrive(tell_loss(lease)))
        if (next_look := self.next_look()) < math.inf:
            self._schedule(next_look)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)


_threads: dict[str, ThreadKeeper] = {}  # by cache alias
_loops: dict[asyncio.AbstractEventLoop, dict[str, LoopKeeper]] = {}

os.register_at_fork(after_in_child=_threads.clear)  # a child starts with keepers of its own


def watch(lease: Lease) -> None:
    """Look after a lease of this thread."""
    alias = lease.client.alias
    keeper = _threads.get(alias) or _threads.setdefault(alias, ThreadKeeper())
    keeper.watch(lease)


def watch_in_loop(lease: Lease) -> None:
    """Look after a lease of the running event loop."""
    alias = lease.client.alias
    keepers = _loops.get(asyncio.get_running_loop()) or _keepers_of_this_loop()
    keeper = keepers.get(alias) or keepers.setdefault(alias, LoopKeeper())
    keeper.watch(lease)


def _keepers_of_this_loop() -> dict[str, LoopKeeper]:
    for other in [known for known in list(_loops) if known.is_closed()]:
        _loops.pop(other, None)
    return _loops.setdefault(asyncio.get_running_loop(), {})
