"""What runs here, in this thread or task: its sections, and the leases it holds."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import LockNotOwned

if TYPE_CHECKING:
    from .lease import Lease


class HasLease(Protocol):
    lease: Lease


#: The sections that run here, innermost last. None is a run without its lock.
sections: contextvars.ContextVar[tuple[HasLease | None, ...]] = contextvars.ContextVar(
    "redis_atomic_sections", default=()
)


@contextlib.contextmanager
def without_lease() -> Iterator[None]:
    """In this block no lease is the current one: those around it are of other locks."""
    around = sections.get()
    sections.set((*around, None))
    try:
        yield
    finally:
        sections.set(around)


def current_lease() -> Lease:
    """
    The lease of the innermost section that runs here.

    LockNotOwned outside of one, in a function that runs without its lock (on_error="run"),
    and in a forked child inside its parent's section. A task or thread that inherited the
    context of its starter sees the starter's lease.
    """
    for section in reversed(sections.get()):
        if section is None:
            break
        if not section.lease.ended:
            section.lease.check_process()
            return section.lease
    raise LockNotOwned("No lock is held here: current_lease() is for code inside a section.")


#: The leases of one thread or task, by cache alias and key.
HeldHere = dict[tuple[str, str], "weakref.ref[Lease]"]


class _Thread(threading.local):
    def __init__(self) -> None:
        self.held: HeldHere = {}


_thread = _Thread()
_tasks: weakref.WeakKeyDictionary[Any, HeldHere] = weakref.WeakKeyDictionary()


def held_here() -> HeldHere:
    """The leases that were acquired by what runs here: a task, or else a thread."""
    loop = asyncio._get_running_loop()  # current_task() would raise where there is none
    task = None if loop is None else asyncio.current_task(loop)
    if task is None:
        return _thread.held
    held = _tasks.get(task)
    if held is None:
        held = _tasks[task] = {}
    return held
