"""
Rate limits in tests: switched off, forgotten, exhausted.

From ``reset_rate_limits`` or ``exhaust`` on, this process counts for itself, under
key names of its own: other workers on the same server, and runs before this one,
neither see its counts nor lose theirs. The end of a ``with reset_rate_limits()`` is
the end of that, too.
"""

from __future__ import annotations

import atexit
import os
from collections import defaultdict
from contextlib import AbstractContextManager, suppress
from functools import cache
from typing import Self
from uuid import uuid4

from ..client.connections import Client
from ..client.execution import run
from ..conf import conf
from ..exceptions import RedisAtomicError
from ..ratelimit import failure, keys, requests
from ..ratelimit.charge import Charge
from ..ratelimit.decision import Decision
from ..ratelimit.deny_cache import deny_cache
from ..ratelimit.named import identity_at
from ..ratelimit.rate_limiter import RateLimiter
from ..ratelimit.transport import limits_client
from ..scripting.script import Call, PrefixedKey, RawKey
from .settings import OverrideSettings, override


class OwnKeys(AbstractContextManager["OwnKeys"]):
    """
    Key names of this process's own for its limits, and a list of those it has used.

    The end of the outermost ``with`` block is the end of their use.
    """

    def __init__(self) -> None:
        self._key_for = keys.key_for
        self._blocks = 0
        self._start_anew()
        os.register_at_fork(after_in_child=self._start_anew)
        atexit.register(self.forget)

    def _start_anew(self) -> None:
        """Take another name: nothing is counted under it."""
        self._name = f"test-{uuid4().hex}"
        self._used: dict[Client, set[bytes]] = defaultdict(set)
        requests.forget()

    def use(self) -> None:
        """Count under these keys from now on."""
        if keys.key_for != self.key_for:
            keys.key_for = self.key_for
            self.forget()

    def __enter__(self) -> Self:
        self._blocks += 1
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._blocks -= 1
        self.forget()
        if not self._blocks:
            keys.key_for = self._key_for

    def key_for(self, charge: Charge) -> PrefixedKey:
        """The key under which this charge is counted here."""
        key = PrefixedKey(f"{self._name}:{self._key_for(charge).name}")
        client = limits_client()
        self._used[client].add(client.make_key(key))
        return key

    def forget(self) -> None:
        """Delete what was used, and start anew, without Redis, too."""
        used = self._used
        self._start_anew()
        deny_cache.clear()
        failure.local_limiter._counts.clear()
        for client, names in used.items():
            # A server that does not answer keeps them until their time runs out.
            with suppress(RedisAtomicError):
                for name in names:  # one by one: in a cluster they are in many slots
                    run(client, Call("DEL", (RawKey(name),)))


@cache
def _own_keys() -> OwnKeys:
    return OwnKeys()


def rate_limits_disabled() -> OverrideSettings:
    """
    No limits: nothing is counted, nothing refused.

    A context manager, and a decorator of test functions, sync and async, and of
    test case classes: ``with rate_limits_disabled(): …``.
    """
    return override(RATE_LIMIT_ENABLED=False)


def reset_rate_limits() -> AbstractContextManager[object]:
    """
    Forget all that this process has counted and refused, now.

    What it returns does so again at the end of a ``with`` block, so that no key
    stays behind. In a test case ``self.enterContext(reset_rate_limits())`` in
    ``setUp``, with pytest a fixture of one line: ``with reset_rate_limits(): yield``.
    Never raises because of Redis.
    """
    own_keys = _own_keys()
    own_keys.use()
    own_keys.forget()
    return own_keys


def exhaust(limit: str | RateLimiter, *identity: str) -> Decision:
    """
    Spend what an identity has left of a limit, so that its next request is refused.

    ``exhaust("login", "ip:127.0.0.1")``: a name of RATE_LIMITS, or a RateLimiter,
    and the identity as decorators make it; several texts for a tuple key. Of
    several rates the one with least left is spent. Returns the last Decision.

    ValueError for an identity that the named limit does not count by, RuntimeError where
    limits are switched off, or Redis does not answer.
    """
    if not conf.RATE_LIMIT_ENABLED:
        raise RuntimeError("exhaust() can't spend a limit while RATE_LIMIT_ENABLED is False.")
    _own_keys().use()
    asked = RateLimiter(limit) if isinstance(limit, str) else limit
    if isinstance(limit, str):
        who = identity_at(limit, identity)
    else:  # what is asked by hand counts as it stands
        who = identity[0] if len(identity) == 1 else identity
    decision = asked.hit(who, cost=asked.peek(who).remaining)
    if decision.degraded:
        raise RuntimeError(f"exhaust() can't spend {limit!r}: Redis does not answer.")
    return decision
