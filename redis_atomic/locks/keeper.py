"""
The keeper: renews the leases of this process, and notices those that are lost.

One thread serves all the threads of a process, a timer in each event loop its tasks.
Every third of its TTL a lease is extended, together with all others that are due; it
is renewed no longer than ``max_hold``, nor beyond its own life: the keeper knows
leases by weak references only, and starts when there is one and ends when there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..client.connections import Client, client_for
from ..exceptions import IndeterminateResult, NotExecuted, RedisAtomicError
from ..scripting.script import Call
from .lease import Lease
from .pipelining import apipeline, pipeline
from .waiting import Steps, adrive, drive

logger = logging.getLogger("redis_atomic.locks")

#: A server that does not answer within this time (seconds) is asked again: the
#: keeper must not stand still for as long as a caller may.
TIMEOUT = 1.0

#: After trouble, ask again so soon: a TTL's third may be much longer (seconds).
AGAIN = 0.5


def next_event(lease: Lease, now: float) -> float:
    """When to look at the lease next; for one that is not granted yet, the soonest it may need."""
    if not lease.granted:
        return now + lease.ttl / 3
    return min(lease.renew_at, lease.lost.deadline)


def renewal_ttl(lease: Lease, now: float) -> float:
    """How long it may be renewed for: its TTL, or what is left of max_hold."""
    return min(lease.ttl, lease.began + lease.max_hold - now)


@dataclass(slots=True)
class AskMany:
    """Send the calls in one trip: a result or an error for each."""

    client: Client
    calls: Sequence[Call[Any]]

    def perform(self) -> list[Any]:
        return pipeline(self.client, self.calls)

    async def aperform(self) -> list[Any]:
        return await apipeline(self.client, self.calls)
