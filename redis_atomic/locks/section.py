"""A section: one run of the code that a lock protects, from entering to leaving."""

from __future__ import annotations

import asyncio
import logging
import weakref
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from ..exceptions import LockLost, LockNotOwned, LockUnavailable
from . import context
from .acquiring import aacquire, acquire
from .lease import Lease
from .steps import to_the_end

if TYPE_CHECKING:
    from .definition import Lock

logger = logging.getLogger("redis_atomic.locks")


class Section:
    """
    One run under a lock. It belongs to one thread or task and is used once.

    ``frame`` is where its ``with`` stands, if it has one: a generator's may be closed in
    another thread or task.
    """

    is_over = False
    _cancelling: Cancelling | None = None

    def __init__(self, lock: Lock, name: str, frame: FrameType | None = None) -> None:
        self.lock = lock
        self._name = name
        # An ExitStack enters in one frame and leaves in another.
        in_a_stack = frame is not None and frame.f_globals.get("__name__") == "contextlib"
        self._frame = None if in_a_stack else frame

    def __enter__(self) -> Lease:
        self.lease = acquire(self.lock, self._name)
        self._begin()
        return self.lease

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if self._has_to_leave:
                self.lease.release()
        except (LockUnavailable, LockLost) as trouble:
            self._judge(trouble, error)
        finally:  # whatever interrupts it, nothing here keeps the lease, and so its renewal, on
            self._end()

    async def __aenter__(self) -> Lease:
        self.lease = await aacquire(self.lock, self._name)
        self._begin()
        if self.lock.cancel_on_lost:
            self._cancelling = Cancelling(self.lease)
        return self.lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end()
        ours = False
        try:
            try:
                if self._has_to_leave:
                    try:
                        await to_the_end(self.lease.arelease())
                    except (LockUnavailable, LockLost) as trouble:
                        self._judge(trouble, error)
            finally:  # whatever the body has made of it, our request to cancel is taken back
                ours = self._cancelling is not None and self._cancelling.was_ours()
        except asyncio.CancelledError as late:
            if ours:
                raise self.lease.loss() from late
            raise
        if ours and isinstance(error, asyncio.CancelledError):
            raise self.lease.loss() from error

    def _begin(self) -> None:
        context.enter(self)
        if self._frame is not None:
            _entered[self._frame, self.lock] = self

    def _end(self) -> None:
        self.is_over = True
        context.leave(self)
        if self._frame is not None and _entered.get((self._frame, self.lock)) is self:
            del _entered[self._frame, self.lock]
        self._frame = None

    @property
    def _has_to_leave(self) -> bool:
        """Whether the lease is still to be given back."""
        return not self.lease.ended and not self.lease.awaits_transaction

    def _judge(self, trouble: LockUnavailable | LockLost, error: BaseException | None) -> None:
        """What giving back has come to: the body's own exception wins over all we have to say."""
        if isinstance(trouble, LockUnavailable):
            # The work is done, and was done under the lock: to fail it now would be untrue.
            logger.warning("%s", trouble)
        elif error is None:
            raise trouble
        else:
            error.add_note(str(trouble))


class Cancelling:
    """Cancel the running task when the lease is lost, as asyncio.timeout() does at its time."""

    def __init__(self, lease: Lease) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._done = False
        lease.lost.call_when_over(lambda: loop.call_soon_threadsafe(self._cancel, lease))

    def _cancel(self, lease: Lease) -> None:
        if lease.lost.is_set() and not lease.ended:
            self._done = True
            self._task.cancel(f"The lock {lease.name!r} was lost.")

    def was_ours(self) -> bool:
        """Whether nobody but us has cancelled the task; our own request is taken back."""
        return self._done and self._task.uncancel() <= self._before


#: The sections that have not ended, by where their ``with`` stands: the innermost of each lock.
_entered: weakref.WeakValueDictionary[tuple[FrameType, Lock], Section] = (
    weakref.WeakValueDictionary()
)


def section_of(lock: Lock, frame: FrameType) -> Section:
    """The section that this ``with`` has entered, or else the innermost of this context."""
    entered = _entered.get((frame, lock))
    if entered is not None:
        return entered
    for section in reversed(context.sections.get()):
        if isinstance(section, Section) and section.lock is lock:
            return section
    raise LockNotOwned(
        "The section was not entered in this context. To acquire in one thread or task and "
        "give back in another, use acquire() and release()."
    )
