"""
How to wait for a lock: ask, and where it is held, sleep until it makes sense to ask again.

Redis is asked again after a lost reply, too, always with the same token: so a slot
that was granted by the lost reply is found, and never a second one is taken.
"""

from __future__ import annotations

import math
import random
import time
from typing import NamedTuple

from ..client.connections import Client, client_for
from ..client.trips import is_lasting
from ..exceptions import (
    IndeterminateResult,
    LockBusy,
    LockUnavailable,
    NotExecuted,
    RedisAtomicError,
)
from .asking import Ask
from .protocol import BUSY, GRANT, GRANTED, HELD, Answer, Ticket, valid_for
from .steps import LISTENERS, Listen, Sleep, Step, Steps

#: No answer of Redis is waited for longer than this (seconds), whatever the alias allows.
TIMEOUT = 5.0

#: A free-for-all poll, and a pause after trouble: "full jitter", so that nobody marches in step.
POLL = (0.002, 0.050)
TROUBLE = (0.010, 0.100)

#: When the time to wait is over, a last answer may still take so long (seconds).
LAST_ANSWER = 0.5


class Grant(NamedTuple):
    """A slot that is ours: its fence and number, when it was asked for and how long it counts."""

    fence: int
    slot: int
    sent: float
    until: float


class Attempt:
    """
    One attempt to acquire. Times are seconds on the monotonic clock.

    ``wait`` is how long to try: 0 for once, ``inf`` for ever. ``fair``: stand in
    the queue; else take what happens to be free. ``listening``: sleep until woken;
    else ask now and then.
    """

    troubled: float | None = None  # since when nobody answers
    deaf = False  # the last listening failed
    _begun: Ask | None = None  # its first trip is made

    def __init__(
        self,
        ticket: Ticket,
        client: Client,
        ttl: float,
        wait: float,
        fair: bool = True,
        listening: bool = True,
    ) -> None:
        self.ticket = ticket
        self.client = client
        self.ttl = ttl
        self.wait = wait
        self.queueing = fair and wait > 0
        self.listening = listening
        self.began = self._sent = time.monotonic()

    @property
    def waited(self) -> float:
        return time.monotonic() - self.began

    def at_once(self) -> Grant | None:
        """The grant, where the first answer is one; None: acquire() goes on from what it is."""
        stood = self.ticket.queued
        self._begun = ask = self._ask()
        reply = ask.begin()
        if type(reply) is list and reply[0] == GRANTED:
            self.ticket.queued = stood
            return self._grant(reply[1], reply[2])
        return None

    def acquire(self) -> Steps[Grant]:
        """
        Ask until there is a slot or no time.

        Raises LockBusy or LockUnavailable. Whatever it ends with but a grant, or if
        it is interrupted, ``finish`` has to follow.
        """
        ticket, stood = self.ticket, False
        while True:
            ask, self._begun = self._begun or self._ask(), None
            try:
                answer = yield ask
            except (NotExecuted, IndeterminateResult) as error:
                yield self._after(error)
                continue
            except RedisAtomicError as error:
                raise self._unavailable(error) from error
            if answer.state == HELD:
                ticket.queued = stood
                return self._grant(answer.number, answer.place)
            self.troubled, stood = None, self.queueing
            if answer.state != BUSY:
                raise AssertionError(f"The finished token {ticket.token} was used again.")
            yield from self._pause(answer)

    def _ask(self) -> Ask:
        """With the same token each time: a slot granted by a lost reply is found again."""
        ticket, self._sent = self.ticket, time.monotonic()
        ticket.queued |= self.queueing  # so much may be true, should we be interrupted
        call = ticket.acquire(self.ttl, queueing=self.queueing)
        return Ask(self.client, call, ticket, self._time_for_an_answer(self._sent))

    def _grant(self, fence: int, slot: int) -> Grant:
        until = self._sent + valid_for(self.ttl)
        if time.monotonic() >= until:
            raise LockUnavailable(
                f"The lock {self._name!r} was granted, but the answer took longer than its "
                f"TTL of {self.ttl:g} s. Choose a TTL well above the time of a round trip."
            )
        return Grant(fence, slot, self._sent, until)

    def _pause(self, answer: Answer) -> Steps[None]:
        """Sleep until it makes sense to ask again; LockBusy when the time is over."""
        if not self.queueing and not self.ticket.doubt:
            self.ticket.trace = False  # asked, refused, and not even queued
        left = self.began + self.wait - time.monotonic()
        if left <= 0:
            raise LockBusy(
                f"The lock {self._name!r} is held by somebody else; waited {self.waited:.2f} s.",
                retry_after=answer.number / 1000,
            )
        # When a holder's time ends all waiters know: the head of the queue shall be first.
        told = answer.number / 1000 + 0.001 + 0.005 * min(max(answer.place, 0), 20)
        seconds = min(told, self.ticket.terms.nap, left)
        if not self.queueing or not self.listening or self.deaf:
            self.deaf = False
            yield Sleep(min(seconds, self._poll(answer)))
            return
        # Connections of their own: no release ever waits for a connection that a waiter has.
        waits = client_for(
            self.client.alias, "lock waits", timeout=TIMEOUT, max_connections=LISTENERS
        )
        try:
            # Only saves time: woken or not, even after an error, it is the answer that counts.
            yield Listen(waits, self.ticket.listen(seconds), seconds + LAST_ANSWER)
        except RedisAtomicError as error:
            self.deaf = True
            if not isinstance(error, IndeterminateResult):
                yield Sleep(min(seconds, self._poll(answer)))

    def _poll(self, answer: Answer) -> float:
        """Seconds: well below a grant, and the sooner the nearer to the head of the queue."""
        shortest, longest = POLL
        return random.uniform(shortest, min(longest * max(answer.place + 1, 1), 0.45 * GRANT))

    def _after(self, error: RedisAtomicError) -> Step:
        """A short sleep, or LockUnavailable when there is no time or no hope left."""
        now = time.monotonic()
        self.troubled = now if self.troubled is None else self.troubled
        if now >= self._patience() or is_lasting(error):
            raise self._unavailable(error) from error
        return Sleep(random.uniform(*TROUBLE))

    def _patience(self) -> float:
        if math.isinf(self.wait):  # waiting for ever is for a busy lock, not for a dead server
            return (self.troubled or 0) + max(self.ttl, 1.0)
        if self.wait == 0 and self.ticket.doubt:
            return self.began + self._one_try
        return self.began + self.wait

    @property
    def _one_try(self) -> float:
        """One try, but an answer to it would be good."""
        return min(1.0, self.ttl / 2)

    def _time_for_an_answer(self, now: float) -> float:
        """Seconds: what is left of ``wait``, and after it a moment for the answer that counts."""
        left = self.began + (self.wait or self._one_try) - now
        return min(max(left, LAST_ANSWER), TIMEOUT)

    def _unavailable(self, error: RedisAtomicError) -> LockUnavailable:
        return LockUnavailable(
            f"Whether the lock {self._name!r} is free could not be found out within "
            f"{self.waited:.2f} s; it was not acquired. {error}"
        )

    @property
    def _name(self) -> str:
        return self.ticket.keys.name
