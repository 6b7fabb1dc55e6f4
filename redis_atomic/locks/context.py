"""What runs here, in this thread or task: its sections, and the leases it holds."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import LockNotOwned

if TYPE_CHECKING:
    from .lease import Lease


class HasLease(Protocol):
    lease: Lease


#: The sections that run here, innermost last.
sections: contextvars.ContextVar[tuple[HasLease, ...]] = contextvars.ContextVar(
    "redis_atomic_sections", default=()
)


def current_lease() -> Lease:
    """
    The lease of the innermost section that runs here.

    LockNotOwned outside of one, and in a forked child inside its parent's. A task or
    thread that inherited the context of its starter sees the starter's lease.
    """
    for section in reversed(sections.get()):
        if not section.lease.ended:
            section.lease.check_process()
            return section.lease
    raise LockNotOwned("No lock is held here: current_lease() is for code inside a section.")


class HeldHere:
    """The leases of one thread or task, each by its place: the cache alias and the key."""

    def __init__(self) -> None:
        self._leases: dict[tuple[str, str], weakref.ref[Lease]] = {}

    def lease(self, place: tuple[str, str]) -> Lease | None:
        """The lease that is held in this place, if there is one."""
        reference = self._leases.get(place)
        lease = reference() if reference is not None else None
        return lease if lease is not None and lease.held else None

    def add(self, lease: Lease) -> None:
        """It is held; one that nobody refers to any more is forgotten."""
        place = lease.place
        self._leases[place] = weakref.ref(lease, partial(self._leases.pop, place))

    def discard(self, lease: Lease) -> None:
        """It is over. In its place may be a later one, of a semaphore."""
        reference = self._leases.get(lease.place)
        if reference is not None and reference() is lease:
            self._leases.pop(lease.place, None)


class _Thread(threading.local):
    def __init__(self) -> None:
        self.held = HeldHere()


_thread = _Thread()
_tasks: weakref.WeakKeyDictionary[Any, HeldHere] = weakref.WeakKeyDictionary()


def held_here() -> HeldHere:
    """The leases that were acquired by what runs here: a task, or else a thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        task = None
    if task is None:
        return _thread.held
    held = _tasks.get(task)
    if held is None:
        held = _tasks[task] = HeldHere()
    return held
