"""
The words of the lock's protocol: its calls, and what their replies mean.

A lock is a semaphore of one slot; the same scripts serve both. A *token* stands for
one attempt to acquire, and for the lease that comes of it; it is never used again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ..exceptions import NotExecuted
from ..scripting.builtin import builtin
from ..scripting.packing import Arg
from ..scripting.script import Call
from .forms import Form, TokenCall
from .keys import Keys
from .tokens import owner_of

T = TypeVar("T")

#: How long a slot is kept for a waiter who has been woken and has not yet answered:
#: the price of one waiter that died just now. (All times are seconds.)
GRANT = 1.0

#: The longest sleep of a waiter; two commands in it make 0.8 commands per second.
SLICE = 2.5

#: The queue of clients that are all dead vanishes by itself.
QUEUE_TTL = 30.0

#: A finished token is refused for so long: longer than a request can be under way.
TOMBSTONE = 60.0

#: Two clocks run at different speeds: a lease ends earlier here than on the server.
DRIFT_RATE, DRIFT = 0.01, 0.002

#: A script looks at every slot, so its cost grows with them.
MAX_LIMIT = 256

HELD, BUSY = "HELD", "BUSY"
GRANTED = HELD.encode()  # as it is received


class Answer(NamedTuple):
    """
    What an acquire is told.

    HELD: ``number`` is the fence, ``place`` the slot, from 1. BUSY: ``number`` is
    the milliseconds until a slot may be free, ``place`` the one in the queue
    from 0, or -1. A third state, FINISHED, refuses a token that was given up before.
    """

    state: str
    number: int
    place: int


class Holder(NamedTuple):
    """Who holds a slot: the token's readable owner, the fence, the seconds left."""

    owner: str
    fence: int
    token: str
    remaining: float


class LockInfo(NamedTuple):
    """A lock as it stands: its holders, how many wait, and the owners of the first ones."""

    name: str
    holders: tuple[Holder, ...]
    waiting: int
    waiters: tuple[str, ...]


class Terms:
    """
    What the calls of one process have in common. Times are seconds.

    ``nap``: the longest sleep of a waiter; ``fence_memory``: how long a fence is
    remembered; ``wakes``: push wake-ups, the one key that a script cannot declare.
    """

    def __init__(
        self, nap: float = SLICE, fence_memory: float = 3600.0, wakes: bool = True
    ) -> None:
        self.nap = nap
        # What is the same in each call, in the scripts' order: the latter two are their "terms".
        self.fence_memory = milliseconds(fence_memory)
        queueing = map(milliseconds, (nap + GRANT, max(QUEUE_TTL, 4 * nap), GRANT))
        self.queueing = " ".join(map(str, (*queueing, int(wakes))))
        self.granting = f"{milliseconds(GRANT)} {self.fence_memory} {int(wakes)}"


@functools.lru_cache(maxsize=256)
def _acquiring(limit: int, kind: str, terms: Terms, ttl: float, queueing: bool) -> Form[Answer]:
    args = (milliseconds(ttl), terms.fence_memory, f"{queueing:d} {terms.queueing}")
    return _form("lock_acquire", limit, kind, args, _answer)


@functools.lru_cache(maxsize=256)
def _finishing(limit: int, kind: str, terms: Terms, leave: bool, tombstone: float) -> Form[bool]:
    grave = milliseconds(tombstone) if tombstone else 0
    return _form("lock_finish", limit, kind, (int(leave), grave, terms.granting), bool)


def _form(
    script: str, limit: int, kind: str, args: tuple[Arg, ...], parse: Callable[[Any], T]
) -> Form[T]:
    keys_of = functools.partial(Keys, limit=limit, kind=kind)
    return Form(builtin(script), keys_of, 3 + limit, args, parse)


@dataclass(slots=True)
class Ticket:
    """
    One token, and what its owner has to remember of its requests.

    ``doubt``: a request had no reply, and may still be executed at any later time.
    ``queued``: it has stood in the queue. ``trace``: there may be something of it on
    the server, to be given back.
    """

    keys: Keys
    terms: Terms
    token: str
    doubt: bool = False
    queued: bool = False
    trace: bool = False

    def note_sent(self) -> bool:
        """A request is under way: there may be a trace of it. Whether there was one before."""
        before, self.trace = self.trace, True
        return before

    def note_failure(self, error: BaseException, before: bool) -> None:
        """Nothing was executed, or else nobody knows: an interrupted request may arrive, too."""
        if isinstance(error, NotExecuted):
            self.trace = before
        else:
            self.doubt = True

    def acquire(self, ttl: float, *, queueing: bool) -> TokenCall[Answer]:
        """Ask for a slot; in vain, ``queueing`` makes it a place in the queue."""
        keys = self.keys
        form = _acquiring(keys.limit, keys.kind, self.terms, ttl, queueing)
        return TokenCall(form, keys, self.token)

    def finish(self, ttl: float) -> TokenCall[bool]:
        """Give everything back; true if a slot was given back. The token is dead then."""
        leave = self.queued or self.doubt
        tombstone = max(TOMBSTONE, ttl) if self.doubt else 0.0
        keys = self.keys
        form = _finishing(keys.limit, keys.kind, self.terms, leave, tombstone)
        return TokenCall(form, keys, self.token)

    def extend(self, fence: int, slot: int, ttl: float) -> Call[bool]:
        """Make the lease last at least ``ttl`` from now; false if it is gone."""
        args = (f"{fence}:{self.token}", milliseconds(ttl))
        return Call(builtin("lock_extend"), (self.keys.slot(slot),), args, parse=bool)

    def listen(self, seconds: float) -> Call[object]:
        """Sleep until woken or the time is over. Whichever it was: ask again."""
        args = (f"{max(seconds, 0.001):.3f}",)  # 0 would be for ever
        return Call("BLPOP", (self.keys.wake(self.token),), args)


def force(keys: Keys, token: str, terms: Terms) -> Call[bool]:
    """Take the slot from this very token; false if somebody else holds by now."""
    return Ticket(keys, terms, token).finish(0.0)


def inspect(keys: Keys, waiters: int = 10) -> Call[LockInfo]:
    """Who holds and who waits, the first ``waiters`` by name. Changes nothing."""

    def parse(reply: Sequence[object]) -> LockInfo:
        return _info(keys.name, reply)

    return Call(builtin("lock_inspect"), (keys.queue, *keys.slots), (waiters,), parse=parse)


def _answer(reply: tuple[bytes, int, int]) -> Answer:
    state, number, place = reply
    return Answer(state.decode(), number, place)


def _info(name: str, reply: Sequence[object]) -> LockInfo:
    waiting, waiters, *slots = reply
    holders = []
    for value, left in zip(slots[::2], slots[1::2], strict=True):
        if held := _text(value):
            fence, _, token = held.partition(":")
            number = int(fence) if fence.isdecimal() else 0
            holders.append(Holder(owner_of(token), number, token, int(str(left)) / 1000))
    assert isinstance(waiters, list)
    owners = tuple(owner_of(_text(token)) for token in waiters)
    return LockInfo(name, tuple(holders), int(str(waiting)), owners)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def valid_for(ttl: float) -> float:
    """How long (seconds) a lease of this TTL may be believed in, from before it was asked for."""
    return ttl - ttl * DRIFT_RATE - DRIFT


def ttl_for(valid: float) -> float:
    """The TTL that makes a lease valid for so long: the inverse of valid_for()."""
    return (valid + DRIFT) / (1 - DRIFT_RATE)
