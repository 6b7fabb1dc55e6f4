"""
Steps that ask Redis about a ticket, or for many at once.

The first trip of an ``Ask`` can be made ahead of the steps that it belongs to: when it
brings what was hoped for, none of them need be taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..client import deadline
from ..client.connections import Client
from ..client.deadline import awaited_within, within
from ..client.execution import arun, packed_trip, run
from ..client.pipeline import Pipeline
from ..exceptions import RedisAtomicError
from ..scripting.script import Call
from .forms import TokenCall
from .protocol import Ticket
from .steps import to_the_end


@dataclass(slots=True)
class Ask:
    """
    Send a call about a ticket, and note on the ticket what became of it.

    An answer that takes more than ``seconds`` is a lost one.
    """

    client: Client
    call: Call[Any]
    ticket: Ticket
    seconds: float
    outcome: Any = None  # of its first trip
    traced: bool = False
    end: float = math.inf  # until it is begun

    def begin(self) -> Any:
        """
        Make the first trip, in this thread and ahead of perform(): its outcome.

        None where it is not clear who is asked, or the call is not one that packs itself.
        """
        client, call, ticket = self.client, self.call, self.ticket
        self.traced = ticket.note_sent()
        self.end = time.monotonic() + self.seconds
        if type(call) is TokenCall and (client.topology is None or client.lean is not None):
            packed = call.packed(client)
            outer = deadline.begin(self.seconds)
            try:
                self.outcome = packed_trip(client, packed)
            except BaseException as error:
                ticket.note_failure(error, self.traced)
                raise
            finally:
                deadline.end(outer)
        return self.outcome

    def perform(self) -> Any:
        if self.end == math.inf:
            self.begin()
        try:
            with within(self.end - time.monotonic()):
                return run(self.client, self.call, self.outcome)
        except BaseException as error:
            self.ticket.note_failure(error, self.traced)
            raise

    async def aperform(self) -> Any:
        return await to_the_end(self._ask())

    async def _ask(self) -> Any:
        traced = self.ticket.note_sent()
        try:
            return await awaited_within(self.seconds, arun(self.client, self.call))
        except BaseException as error:
            self.ticket.note_failure(error, traced)
            raise


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
