"""What runs here, in this thread or task: its sections, and the leases it holds."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import LockNotOwned

if TYPE_CHECKING:
    from .lease import Lease


class Entered(Protocol):
    """What runs here: a section, or a run without its lock, which has no lease."""

    @property
    def lease(self) -> Lease | None: ...
    @property
    def is_over(self) -> bool: ...


class WithoutLease:
    """A run without its lock: the leases around it are of other locks."""

    lease = None
    is_over = False

    def __enter__(self) -> None:
        enter(self)

    def __exit__(self, *exc_info: object) -> None:
        leave(self)


#: What runs here, innermost last.
sections: contextvars.ContextVar[tuple[Entered, ...]] = contextvars.ContextVar(
    "redis_atomic_sections", default=()
)


def enter(section: Entered) -> None:
    """It begins here. Those that have ended elsewhere, as in another thread, are forgotten."""
    sections.set((*[each for each in sections.get() if not each.is_over], section))


def leave(section: Entered) -> None:
    sections.set(tuple([each for each in sections.get() if each is not section]))


def current_lease() -> Lease:
    """
    The lease of the innermost section that runs here.

    LockNotOwned outside of one, in a function that runs without its lock (on_error="run"),
    and in a forked child inside its parent's section. A task or thread that inherited the
    context of its starter sees the starter's lease.
    """
    for section in reversed(sections.get()):
        lease = section.lease
        if lease is None:
            break
        if not lease.ended:
            lease.check_process()
            return lease
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
