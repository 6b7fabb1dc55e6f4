"""One call of a script with what was there before it, and what is expected after."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from ..client.connections import Client
from ..exceptions import ReplyError
from ..scripting.arguments import Seconds, milliseconds
from ..scripting.script import Call, Key
from .values import Entry, Server, comparable, plant, read, read_entry

#: Stands for a result that is not looked at.
ANYTHING = object()

#: What a call should raise: the exception's class, or the code of a ReplyError.
Raises = type[Exception] | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: its result, or its error."""

    value: Any = None
    error: Exception | None = None

    def __str__(self) -> str:
        if self.error is None:
            return f"returned {self.value!r}"
        return f"raised {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True)
class Expectation:
    """How a call should end, and what its keys hold then. Keys are as sent to Redis."""

    result: Any = ANYTHING
    raises: Raises | None = None
    state: Mapping[bytes, Any] = field(default_factory=dict)
    ttl: Mapping[bytes, Seconds | None] = field(default_factory=dict)


#: The course of a trial: it yields calls, each with the client to use, and is sent how they ended.
Steps = Generator[tuple[Client, Call[Any]], Outcome, Any]


class Trial:
    """
    A call that can be made again and again, each time after the same set-up.

    This is what a probe works on: it says ``trial.prepare()``, then
    ``outcome = yield from trial.execute()``, and looks at what happened.
    """

    def __init__(
        self,
        client: Client,
        call: Call[Any],
        setup: Mapping[bytes, Any],
        expected: Expectation,
        prefix: str,
        pattern: Callable[[Key], bytes],
    ) -> None:
        self.client = client
        self.call = call
        self.keys = [client.make_key(key, call.version) for key in call.keys]
        self.setup = setup
        self.expected = expected
        self.server: Server = redis.Redis(connection_pool=client.pool)
        self.pattern = pattern
        self._named = {*self.keys, *setup, *expected.state, *expected.ttl}
        self._prefix = prefix.encode()
        self._prepared_at = 0.0

    def refuse_existing_keys(self) -> None:
        """RuntimeError if a key exists that the trial would overwrite and delete."""
        for key in sorted(self._named):
            if self.server.exists(key):
                raise RuntimeError(f"{key!r} exists already, so nothing was run or changed.")

    def prepare(self) -> None:
        """Make the keys what they are before the call."""
        self.clean()
        self._prepared_at = time.monotonic()
        for key, value in self.setup.items():
            plant(self.server, key, value)

    def execute(self, client: Client | None = None) -> Steps:
        """Make the call, by another client if one is given; returns its Outcome."""
        return (yield client or self.client, self.call)

    def clean(self) -> None:
        """Delete the keys, also those that the script made of their names."""
        if keys := self._all_keys():
            self.server.delete(*keys)

    def snapshot(self) -> dict[bytes, Entry]:
        """What the keys hold, also those that the script made of their names."""
        return {key: read_entry(self.server, key) for key in sorted(self._all_keys())}

    def _all_keys(self) -> set[bytes]:
        pattern = b"*" + self._prefix + b"*"
        return {*self._named, *self.server.scan_iter(match=pattern, count=1000)}

    def verify(self, outcome: Outcome) -> None:
        """AssertionError if it is not as expected; an error that is not is raised itself."""
        self._verify_end(outcome)
        for key, value in self.expected.state.items():
            found = read(self.server, key)
            expect(found == comparable(value), f"{key!r} should hold {value!r}, not {found!r}.")
        for key, ttl in self.expected.ttl.items():
            self._verify_ttl(key, ttl)

    def _verify_end(self, outcome: Outcome) -> None:
        result, raises = self.expected.result, self.expected.raises
        if raises is not None:
            expect(
                is_raised(outcome.error, raises),
                f"{self.call.name} should have raised {raises}, and {outcome}.",
            )
        elif outcome.error is not None:
            raise outcome.error
        else:
            expect(
                result is ANYTHING or outcome.value == result,
                f"{self.call.name} should have returned {result!r}, and {outcome}.",
            )

    def _verify_ttl(self, key: bytes, expected: Seconds | None) -> None:
        left = self.server.pttl(key)
        if expected is None:
            expect(left == -1, f"{key!r} should exist without a TTL: PTTL says {left}.")
            return
        ttl = milliseconds("ttl", expected)
        passed = (time.monotonic() - self._prepared_at) * 1000
        # Two clocks, each read to the millisecond.
        expect(
            ttl - passed - 5 <= left <= ttl + 5,
            f"{key!r} should expire {ttl} ms after the call; at most {passed:.0f} ms later "
            f"PTTL says {left}.",
        )


Probe = Callable[[Trial], Steps]


def is_raised(error: Exception | None, raises: Raises) -> bool:
    if isinstance(raises, str):
        return isinstance(error, ReplyError) and error.code == raises
    return isinstance(error, raises)


def expect(truth: bool, message: str) -> None:
    """``assert``, which ``python -O`` would leave out."""
    if not truth:
        raise AssertionError(message)
