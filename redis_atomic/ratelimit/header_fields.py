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
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from django.http.response import HttpResponseBase

from ..conf import conf
from .answer import NEVER
from .charge import Tariff
from .decision import Decision
from .rate import SECOND, Rate


def set_header_fields(response: HttpResponseBase, decision: Decision) -> None:
    """Say in the response's header what the limits said."""
    form, policies = conf.RATE_LIMIT_HEADERS, _policies_of(decision)
    if not policies.each:
        return
    numbers, headers = decision._numbers, response.headers
    if form == "draft":
        refused = not decision.allowed
        headers["RateLimit-Policy"] = policies.field
        headers["RateLimit"] = ", ".join(
            [_quota(policy, numbers, refused) for policy in policies.each]
        )
    elif form == "legacy":
        policy = min(policies.each, key=lambda each: _tightness(each, numbers))
        remaining, _, reset_after = numbers[policy.at : policy.at + 3]
        headers["X-RateLimit-Limit"] = str(policy.quota)
        headers["X-RateLimit-Remaining"] = str(remaining)
        headers["X-RateLimit-Reset"] = str(math.ceil(time.time() + reset_after / SECOND))


def refusing_policies(decision: Decision) -> list[str]:
    """The names of the limits that refuse, as the header has them."""
    numbers = decision._numbers
    return [policy.name for policy in _policies_of(decision).each if _refuses(policy, numbers)]


class Policy(NamedTuple):
    """
    A quota as the header tells it, and the whole seconds it is for.

    ``at`` is where the limit's numbers are: remaining, retry_after, reset_after.
    """

    name: str
    quota: int
    window: int
    at: int
    shadow: bool


class Policies(NamedTuple):
    """
    The limits of a response, and RateLimit-Policy, which is the same for all requests.

    They are only those of which other clients may hear.
    """

    each: tuple[Policy, ...]
    field: str


def _policies_of(decision: Decision) -> Policies:
    return _policies(tuple([charge.tariff for charge in decision._charges]))


@lru_cache(maxsize=1024)
def _policies(tariffs: tuple[Tariff, ...]) -> Policies:
    shared = Counter([tariff.label for tariff in tariffs if tariff.public])
    each: dict[str, Policy] = {}
    for place, tariff in enumerate(tariffs):
        if not tariff.public:
            continue
        name, quota = tariff.label, tariff.capacity
        if shared[name] > 1:
            name += f"-per-{tariff.rate.period}"
        while name in each:
            name += "-also"
        window = _window(quota, tariff.rate)
        each[name] = Policy(name, quota, window, 3 * place, tariff.limit.shadow)
    field = ", ".join([f'"{it.name}";q={it.quota};w={it.window}' for it in each.values()])
    return Policies(tuple(each.values()), field)


def _window(quota: int, rate: Rate) -> int:
    """Whole seconds, rounded up: of a bucket, the time that fills it."""
    return max(1, -(-rate.window * quota // (rate.amount * SECOND)))


def _refuses(policy: Policy, numbers: Sequence[int]) -> bool:
    return numbers[policy.at + 1] != 0 and not policy.shadow


def _tightness(policy: Policy, numbers: Sequence[int]) -> tuple[bool, int, int]:
    """Sorts the limit that matters most first: a refusal, then the least left."""
    return not _refuses(policy, numbers), numbers[policy.at], -numbers[policy.at + 2]


def _quota(policy: Policy, numbers: Sequence[int], refused: bool) -> str:
    """
    What is left, and the time until more is.

    That time should not be later than Retry-After, so in a refusal only the
    limits that refuse tell it. Nor is it ever later than the window: a unit may
    count for a tick more than that, which rounding up would make a whole second.
    """
    name, _, window, at, _ = policy
    time_left = numbers[at + 2]
    if refused:
        if not _refuses(policy, numbers):
            return f'"{name}";r={numbers[at]}'
        if numbers[at + 1] != NEVER:
            time_left = numbers[at + 1]
    seconds = min(-(-time_left // SECOND), window)
    return f'"{name}";r={numbers[at]};t={seconds}'
