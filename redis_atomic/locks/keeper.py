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
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..client.connections import Client, client_for
from ..client.pipeline import Pipeline
from ..exceptions import IndeterminateResult, LockUnavailable, NotExecuted, RedisAtomicError
from ..scripting.script import Call
from .lease import Lease
from .steps import Steps, adrive, drive

logger = logging.getLogger("redis_atomic.locks")

#: An answer that takes longer is asked for again (seconds): all leases of the process
#: wait for it, so the keeper is less patient than a caller may be.
TIMEOUT = 1.0

#: How soon after trouble to ask again (seconds), where a third of the TTL is longer.
AGAIN = 0.5

#: Leases that are due so soon are renewed in the same trip (seconds).
TOGETHER = 0.05


@dataclass(slots=True)
class AskMany:
    """Send calls in one trip; a result or an exception for each."""

    client: Client
    calls: Sequence[Call[Any]]

    def perform(self) -> list[Any]:
        pipeline = Pipeline(self.client)
        results = [pipeline.add(call) for call in self.calls]
        pipeline.execute()
        return [_outcome(result) for result in results]

    async def aperform(self) -> list[Any]:
        pipeline = Pipeline(self.client)
        results = [pipeline.add(call) for call in self.calls]
        await pipeline.aexecute()
        return [_outcome(result) for result in results]


def _outcome(result: Any) -> Any:
    try:
        return result.value
    except RedisAtomicError as error:
        return error


def renew(leases: list[Lease]) -> Steps[None]:
    """Extend the leases that are due, all of one cache alias, in one trip."""
    if not leases:
        return
    client = client_for(leases[0].client.alias, "lock keeper", timeout=TIMEOUT)
    sent = time.monotonic()
    ttls = [lease.renewal_ttl(sent) for lease in leases]
    calls = [lease.renewal(ttl) for lease, ttl in zip(leases, ttls, strict=True)]
    try:
        answers = yield AskMany(client, calls)
    except (NotExecuted, IndeterminateResult) as error:
        answers = [error] * len(leases)
    for lease, ttl, answer in zip(leases, ttls, answers, strict=True):
        if isinstance(answer, RedisAtomicError):
            # The deadline decides: until then there is hope, and then the loss is told.
            logger.warning("The lock %r could not be renewed: %s", lease.name, answer)
            lease.note_trouble(answer, AGAIN)
        else:
            lease.note_renewal(sent, ttl, answer)


class Keeper:
    """Leases of one cache alias and one thread of control, and when to look at them next."""

    def __init__(self) -> None:
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()

    def current(self) -> list[Lease]:
        """The leases to look after; what has ended, well or not, is forgotten."""
        leases = [lease for lease in self.leases if not lease.ended]
        self.leases = weakref.WeakSet(leases)
        return leases

    def due(self, leases: list[Lease]) -> list[Lease]:
        soon = time.monotonic() + TOGETHER
        return [lease for lease in leases if lease.next_renewal(soon) <= soon]

    def lost(self, leases: list[Lease]) -> list[Lease]:
        lost = [lease for lease in leases if lease.granted and lease.lost.is_set()]
        self.leases.difference_update(lost)
        return lost

    def next_look(self) -> float:
        """When something may have to be done; infinity if there is nothing to look after."""
        now = time.monotonic()
        return min((lease.next_event(now) for lease in self.current()), default=float("inf"))


class ThreadKeeper(Keeper):
    """The keeper of the threads of a process: a daemon thread while there are leases."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next = float("inf")

    def watch(self, lease: Lease) -> None:
        """Look after this lease, which may not be granted yet."""
        with self._changed:
            self.leases.add(lease)
            if self._thread is None or not self._thread.is_alive():
                self._start(lease)
            elif time.monotonic() + lease.ttl / 3 < self._next:
                self._changed.notify()

    def _start(self, lease: Lease) -> None:
        thread = threading.Thread(target=self._run, name="redis_atomic lock keeper", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise LockUnavailable(
                f"The lock {lease.name!r} was not acquired: no thread could be started to renew "
                f"it ({error})."
            ) from error
        self._thread = thread

    def _run(self) -> None:
        while self._sleep():
            try:
                self._look()
            except Exception:
                logger.exception("The lock keeper failed; it goes on")
                time.sleep(AGAIN)

    def _sleep(self) -> bool:
        """Wait for the next thing to do; false when there is nothing, and the thread ends."""
        with self._changed:
            while (next_look := self.next_look()) > time.monotonic():
                if next_look == float("inf"):
                    self._thread = None
                    return False
                self._next = next_look
                self._changed.wait(min(next_look - time.monotonic(), 3600.0))
            return True

    def _look(self) -> None:
        with self._changed:
            due = self.due(self.current())
        drive(renew(due))
        with self._changed:
            lost = self.lost(self.current())
        for lease in lost:
            # A thread of its own: whatever a receiver does, the other leases are renewed.
            tell = threading.Thread(
                target=drive, args=(lease.tell_loss(),), name="redis_atomic lock lost", daemon=True
            )
            try:
                tell.start()
            except RuntimeError:  # no more threads: better to be late than silent
                drive(lease.tell_loss())


class LoopKeeper(Keeper):
    """The keeper of one event loop: a timer, and a task while it asks Redis."""

    def __init__(self) -> None:
        super().__init__()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, lease: Lease) -> None:
        """Look after this lease, which may not be granted yet."""
        self.leases.add(lease)
        self._schedule(lease.next_event(time.monotonic()))

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
        if self.current():
            self._spawn(self._look())

    async def _look(self) -> None:
        try:
            await adrive(renew(self.due(self.current())))
        except Exception:
            logger.exception("The lock keeper failed; it goes on")
            await asyncio.sleep(AGAIN)
        for lease in self.lost(self.current()):
            self._spawn(adrive(lease.tell_loss()))
        if (next_look := self.next_look()) < float("inf"):
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
    _threads.setdefault(lease.client.alias, ThreadKeeper()).watch(lease)


def watch_in_loop(lease: Lease) -> None:
    """Look after a lease of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _loops:
        for other in [known for known in list(_loops) if known.is_closed()]:
            _loops.pop(other, None)
        _loops[loop] = {}
    _loops[loop].setdefault(lease.client.alias, LoopKeeper()).watch(lease)
