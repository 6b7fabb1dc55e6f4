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
from .charge import Charge
from .decision import LimitState
from .rate import SECOND, Rate


class Entry(NamedTuple):
    """A limit that was asked for this request, and what it said."""

    charge: Charge
    state: LimitState

    @property
    def public(self) -> bool:
        return "post" not in self.charge.limit.kinds

    @property
    def refuses(self) -> bool:
        return self.state.retry_after != 0.0 and not self.state.shadowed


def set_header_fields(response: HttpResponseBase, entries: Iterable[Entry]) -> None:
    """Say in the response's header what these limits said."""
    entries = [entry for entry in entries if entry.public]
    if entries and conf.RATE_LIMIT_HEADERS == "draft":
        policies = _policies_of(entries)
        refusing = [entry for entry in entries if entry.refuses]
        response.headers["RateLimit-Policy"] = policies.field
        response.headers["RateLimit"] = ", ".join(
            [
                _quota(policy, entry, refused=bool(refusing))
                for policy, entry in zip(policies.each, entries, strict=True)
            ]
        )
    elif entries and conf.RATE_LIMIT_HEADERS == "legacy":
        state = min((entry.state for entry in entries), key=tightness)
        response.headers["X-RateLimit-Limit"] = str(state.limit)
        response.headers["X-RateLimit-Remaining"] = str(state.remaining)
        response.headers["X-RateLimit-Reset"] = str(math.ceil(time.time() + state.reset_after))


def tightness(state: LimitState) -> tuple[bool, float, float]:
    """Sorts the limit that matters most first: a refusal, then the least left."""
    return (not state.refuses or state.shadowed, state.remaining, -state.reset_after)


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
    return _policies(
        tuple([(entry.state.name, entry.state.limit, entry.charge.rate) for entry in entries])
    )


@lru_cache(maxsize=1024)
def _policies(limits: tuple[tuple[str, int, Rate], ...]) -> Policies:
    shared = Counter([name for name, _, _ in limits])
    each: dict[str, Policy] = {}
    for name, quota, rate in limits:
        if shared[name] > 1:
            name += f"-per-{rate.period}"
        while name in each:
            name += "-also"
        each[name] = Policy(name, quota, _window(quota, rate))
    field = ", ".join([f'"{name}";q={quota};w={window}' for name, quota, window in each.values()])
    return Policies(tuple(each.values()), field)


def _window(quota: int, rate: Rate) -> int:
    """Whole seconds, rounded up: of a bucket, the time that fills it."""
    return max(1, -(-rate.window * quota // (rate.amount * SECOND)))


def _quota(policy: Policy, entry: Entry, *, refused: bool) -> str:
    """
    What is left, and the time until more is.

    That time should not be later than Retry-After, so in a refusal only the
    limits that refuse tell it. Nor is it ever later than the window: a unit may
    count for a tick more than that, which rounding up would make a whole second.
    """
    state = entry.state
    field = f'"{policy.name}";r={state.remaining}'
    if refused and not entry.refuses:
        return field
    seconds = (state.retry_after if entry.refuses else None) or state.reset_after
    return f"{field};t={min(math.ceil(seconds), policy.window)}"
