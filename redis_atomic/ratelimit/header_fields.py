"""
What limits say in the header of a response.

``RATE_LIMIT_HEADERS`` "draft": ``RateLimit-Policy`` and ``RateLimit`` as
draft-ietf-httpapi-ratelimit-headers-10 has them, lists of RFC 9651::

    RateLimit-Policy: "login-per-m";q=5;w=60, "login-per-h";q=50;w=3600
    RateLimit: "login-per-m";r=3;t=12, "login-per-h";r=41;t=3021

"legacy": ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (Unix time) of the
tightest limit. None: neither.

Limits with a ``post:`` key are in none of them: they would tell everybody how
often somebody else has tried.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from django.http.response import HttpResponseBase

from ..conf import conf
from .answer import NEVER, State
from .charge import Charge, Tariff
from .rate import SECOND, Rate


class Entry(NamedTuple):
    """A limit that was asked for this request, and what it said."""

    charge: Charge
    state: State

    @property
    def refuses(self) -> bool:
        return self.state.retry_after != 0 and not self.charge.tariff.limit.shadow


def set_header_fields(response: HttpResponseBase, entries: Iterable[Entry]) -> None:
    """Say in the response's header what these limits said."""
    form, entries = conf.RATE_LIMIT_HEADERS, public(entries)
    if entries and form == "draft":
        policies, headers = _policies_of(entries), response.headers
        refused = bool([entry for entry in entries if entry.refuses])
        headers["RateLimit-Policy"] = policies.field
        headers["RateLimit"] = ", ".join(
            [
                _quota(policy, entry, refused)
                for policy, entry in zip(policies.each, entries, strict=True)
            ]
        )
    elif entries and form == "legacy":
        entry = min(entries, key=tightness)
        state, reset = entry.state, time.time() + entry.state.reset_after / SECOND
        response.headers["X-RateLimit-Limit"] = str(entry.charge.capacity)
        response.headers["X-RateLimit-Remaining"] = str(state.remaining)
        response.headers["X-RateLimit-Reset"] = str(math.ceil(reset))


def public(entries: Iterable[Entry]) -> list[Entry]:
    """Those of which other clients may hear."""
    return [entry for entry in entries if entry.charge.tariff.public]


def tightness(entry: Entry) -> tuple[bool, int, int]:
    """Sorts the limit that matters most first: a refusal, then the least left."""
    return (not entry.refuses, entry.state.remaining, -entry.state.reset_after)


def policy_names(entries: Sequence[Entry]) -> list[str]:
    """A name for each limit, no two alike: its own, with its window where that repeats."""
    return [policy.name for policy in _policies_of(entries).each]


class Policy(NamedTuple):
    """A quota as the header tells it, and the whole seconds it is for."""

    name: str
    quota: int
    window: int


class Policies(NamedTuple):
    """The limits of a response, and RateLimit-Policy, which is the same for all requests."""

    each: tuple[Policy, ...]
    field: str


def _policies_of(entries: Sequence[Entry]) -> Policies:
    return _policies(tuple([entry.charge.tariff for entry in entries]))


@lru_cache(maxsize=1024)
def _policies(tariffs: tuple[Tariff, ...]) -> Policies:
    shared = Counter([tariff.label for tariff in tariffs])
    each: dict[str, Policy] = {}
    for tariff in tariffs:
        name, quota = tariff.label, tariff.capacity
        if shared[name] > 1:
            name += f"-per-{tariff.rate.period}"
        while name in each:
            name += "-also"
        each[name] = Policy(name, quota, _window(quota, tariff.rate))
    field = ", ".join([f'"{name}";q={quota};w={window}' for name, quota, window in each.values()])
    return Policies(tuple(each.values()), field)


def _window(quota: int, rate: Rate) -> int:
    """Whole seconds, rounded up: of a bucket, the time that fills it."""
    return max(1, -(-rate.window * quota // (rate.amount * SECOND)))


def _quota(policy: Policy, entry: Entry, refused: bool) -> str:
    """
    What is left, and the time until more is.

    That time should not be later than Retry-After, so in a refusal only the
    limits that refuse tell it. Nor is it ever later than the window: a unit may
    count for a tick more than that, which rounding up would make a whole second.
    """
    state, time_left = entry.state, entry.state.reset_after
    if refused:
        if not entry.refuses:
            return f'"{policy.name}";r={state.remaining}'
        if state.retry_after != NEVER:
            time_left = state.retry_after
    seconds = min(-(-time_left // SECOND), policy.window)
    return f'"{policy.name}";r={state.remaining};t={seconds}'
