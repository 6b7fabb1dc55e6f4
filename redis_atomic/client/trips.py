"""
A trip: commands to one server, and their replies.

Whoever decides what to send where is a generator of trips, so that it is written
once for threads and for asyncio: it yields them, and is sent the replies or thrown
the error. ``travel.drive`` and ``adrive`` make the trips.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from redis import exceptions as errors

from ..exceptions import NotExecuted, RedisAtomicError
from ..scripting.packing import Arg
from .replies import ERROR_REPLIES, is_refusal, parse_error

if TYPE_CHECKING:
    from .server import Server

T = TypeVar("T")
Command: TypeAlias = tuple[Arg, ...]

#: The server, what to send it at once, and the seconds to wait before.
Trip: TypeAlias = "tuple[Server, Sequence[Command], float]"
Trips: TypeAlias = Generator[Trip, list[Any], T]

#: Takes commands that belong together where they must be executed.
Path: TypeAlias = Callable[[Sequence[Command]], Trips[list[Any]]]

#: Seconds: the first pause before a refused call is sent again, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5

#: A redirection is followed at once, this many times in a row.
MAX_HOPS = 5

#: Refusals that pass when the others have elected a primary, or moved a slot.
PASSING = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN"})


OUT_OF_REACH = (errors.ConnectionError, errors.TimeoutError, errors.ClusterDownError, OSError)


class Patience:
    """
    How long one call may wait for a topology to mend: ``budget`` seconds in all.

    Nothing is sent once it is over, but the last thing sent may take its own time.
    """

    def __init__(self, budget: float) -> None:
        self._end = time.monotonic() + budget
        self._pause = FIRST_PAUSE
        self._hops = 0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def pause(self) -> float:
        """Seconds to wait now: longer each time, never past the end, never in step."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return max(0.0, min(pause * random.uniform(0.5, 1), self._end - time.monotonic()))

    def hop(self) -> float:
        """Seconds to wait before a redirection is followed: none, unless they don't end."""
        self._hops += 1
        return 0.0 if self._hops <= MAX_HOPS else self.pause()


def is_passing(reply: Any) -> bool:
    """Whether this reply says: not executed, and ask again in a moment."""
    if not isinstance(reply, ERROR_REPLIES):
        return False
    told = parse_error(reply)
    return told.code in PASSING and is_refusal(told)


def may_pass(error: NotExecuted) -> bool:
    """Whether a server was out of reach as a dying one is, not for a wrong password."""
    cause = error.__cause__
    if isinstance(cause, errors.AuthenticationError):
        return False
    return isinstance(cause, OUT_OF_REACH)


def is_lasting(error: RedisAtomicError) -> bool:
    """Whether to ask again is in vain: a wrong password, a database that is not there."""
    cause = error.__cause__
    return isinstance(error, NotExecuted) and (
        isinstance(cause, errors.AuthenticationError) or "DB index is out of range" in str(cause)
    )
