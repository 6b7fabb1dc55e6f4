"""
How to give back: at once, and where Redis does not confirm it, in the background.

A server that stood still executes what it was sent as soon as it goes on, an acquire
whose caller has given up, too. So its token is finished again and again until that is
confirmed: then no lock is held that nobody owns.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

from ..client.connections import Client
from ..client.deadline import within
from ..client.pipeline import Pipeline
from ..exceptions import IndeterminateResult, NotExecuted, RedisAtomicError
from .asking import Ask
from .protocol import TOMBSTONE, Ticket
from .steps import Sleep, Steps
from .waiting import LAST_ANSWER, TROUBLE

logger = logging.getLogger("redis_atomic.locks")

#: Giving back is tried so often, and for so long (seconds), before it is left to the background.
TRIES, TIME = 4, 2.0

#: After an acquire that had no answer there is little hope: for so long (seconds).
HOPELESS = 0.25

#: In the background an answer may take so long, and the next try comes after (seconds).
TIMEOUT, AGAIN = 1.0, 0.5

#: So many are given back in one trip.
TOGETHER = 500


class Finished(NamedTuple):
    """
    What became of giving back: ``freed`` a slot, or None if nobody answered.

    ``repeated``: an earlier try had no answer, so it may be that one that freed it.
    """

    freed: bool | None
    repeated: bool


def first_try(ticket: Ticket, client: Client, ttl: float) -> Ask:
    """What finish() asks first, for those who begin with it themselves."""
    return Ask(client, ticket.finish(ttl), ticket, TIME)


def finish(
    ticket: Ticket,
    client: Client,
    ttl: float,
    patience: float = TIME,
    begun: Ask | None = None,
) -> Steps[Finished]:
    """
    Give back what the ticket has; unconfirmed after ``patience`` seconds, in the background.

    From here on the token is dead; nothing else may ever be sent with it. ``begun`` is a
    first try that is under way.
    """
    end = time.monotonic() + patience
    repeated = False
    for _ in range(TRIES):
        left = max(end - time.monotonic(), min(patience, LAST_ANSWER))
        ask, begun = begun or Ask(client, ticket.finish(ttl), ticket, left), None
        try:
            freed: bool = yield ask
        except (NotExecuted, IndeterminateResult) as error:
            repeated |= isinstance(error, IndeterminateResult)
            if time.monotonic() >= end:
                break
            yield Sleep(random.uniform(*TROUBLE))
        except RedisAtomicError:
            logger.exception("The lock %r could not be given back", ticket.keys.name)
            return Finished(None, repeated)
        else:
            ticket.trace = False
            return Finished(freed, repeated)
    in_background.add(client, Unreturned(ticket, ttl, time.monotonic() + max(ttl, TOMBSTONE)))
    return Finished(None, repeated)


@dataclass(frozen=True, eq=False, slots=True)
class Unreturned:
    """What has not been given back yet. After ``until`` nothing of it is on the server."""

    ticket: Ticket
    ttl: float
    until: float  # monotonic


class Background:
    """A daemon thread for each client that has something to give back, while it has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unreturned: dict[Client, list[Unreturned]] = {}

    def add(self, client: Client, unreturned: Unreturned) -> None:
        """Give this back, too."""
        with self._lock:
            if client in self._unreturned:
                self._unreturned[client].append(unreturned)
                return
            thread = threading.Thread(
                target=self._run, args=(client,), name="redis_atomic lock return", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is ending
                logger.warning("%r is left to its TTL: %s", unreturned.ticket.keys.name, error)
            else:
                self._unreturned[client] = [unreturned]

    def _run(self, client: Client) -> None:
        answered: set[Unreturned] = set()
        while waiting := self._still_waiting(client, answered):
            answered = set()
            try:
                answered = _give_back(client, waiting[:TOGETHER])
            except Exception:
                logger.exception("Giving back locks failed; it is tried again")
            if not answered:
                time.sleep(AGAIN)

    def _still_waiting(self, client: Client, answered: set[Unreturned]) -> list[Unreturned]:
        """What there is to do now that these are done; if nothing, the thread is to end."""
        now = time.monotonic()
        with self._lock:
            unreturned = self._unreturned.pop(client)
            waiting = [each for each in unreturned if each not in answered and now < each.until]
            if waiting:
                self._unreturned[client] = waiting
            return list(waiting)


def _give_back(client: Client, waiting: list[Unreturned]) -> set[Unreturned]:
    """Send all in one trip; those that were answered, or cannot be."""
    pipeline = Pipeline(client)
    results = [pipeline.add(each.ticket.finish(each.ttl)) for each in waiting]
    answered = set()
    try:
        with within(TIMEOUT):
            pipeline.execute()
    except (NotExecuted, IndeterminateResult) as error:
        logger.debug("Not given back yet: %s", error)
    for each, result in zip(waiting, results, strict=True):
        try:
            _ = result.value
        except (NotExecuted, IndeterminateResult):
            continue
        except RedisAtomicError as error:
            logger.error("The lock %r could not be given back: %s", each.ticket.keys.name, error)
        answered.add(each)
    return answered


in_background = Background()


def _start_anew() -> None:
    global in_background
    in_background = Background()


os.register_at_fork(after_in_child=_start_anew)  # its threads stayed with the parent
