"""
What a limit says over HTTP: header fields, and the answer of a refused request.

``RATE_LIMIT_HEADERS`` "draft": ``RateLimit-Policy`` and ``RateLimit`` as
draft-ietf-httpapi-ratelimit-headers-10 has them, lists of RFC 9651::

    RateLimit-Policy: "login-per-m";q=5;w=60, "login-per-h";q=50;w=3600
    RateLimit: "login-per-m";r=3;t=12, "login-per-h";r=41;t=3021

"legacy": ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (Unix time) of the
tightest limit. None: neither. ``Retry-After`` is always sent with a refusal that
waiting helps.

Limits with a ``post:`` key are in none of them: they would tell everybody how
often somebody else has tried.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader
from django.utils.cache import patch_cache_control

from ..conf import conf
from .charge import Charge
from .decision import Decision, LimitState
from .rate import SECOND
from .steps import Ask, Steps

#: IANA's registry of problem types; these two are the draft's.
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"

TEMPLATE = "429.html"
#: Browsers send about 150 characters; Django raises an error for one type of 10,000.
LONGEST_ACCEPT = 2000
JSON_TYPES = ("application/problem+json", "application/json")


class Entry(NamedTuple):
    """A limit that was asked for this request, and what it said."""

    charge: Charge
    state: LimitState

    @property
    def public(self) -> bool:
        return "post" not in self.charge.limit.kinds

    @property
    def refuses(self) -> bool:
        return self.state.refuses and not self.state.shadowed


class HttpResponseTooManyRequests(HttpResponse):
    status_code = 429


def set_header_fields(response: HttpResponseBase, entries: Iterable[Entry]) -> None:
    """Say in the response's header what these limits said."""
    entries = [entry for entry in entries if entry.public]
    if entries and conf.RATE_LIMIT_HEADERS == "draft":
        names = policy_names(entries)
        response["RateLimit-Policy"] = ", ".join(map(_policy, names, entries))
        refused = any(entry.refuses for entry in entries)
        response["RateLimit"] = ", ".join(
            [_quota(*each, refused=refused) for each in zip(names, entries, strict=True)]
        )
    elif entries and conf.RATE_LIMIT_HEADERS == "legacy":
        state = min((entry.state for entry in entries), key=tightness)
        response["X-RateLimit-Limit"] = str(state.limit)
        response["X-RateLimit-Remaining"] = str(state.remaining)
        response["X-RateLimit-Reset"] = str(math.ceil(time.time() + state.reset_after))


def tightness(state: LimitState) -> tuple[bool, float, float]:
    """Sorts the limit that matters most first: a refusal, then the least left."""
    return (not state.refuses or state.shadowed, state.remaining, -state.reset_after)


def policy_names(entries: Sequence[Entry]) -> list[str]:
    """A name for each limit, no two alike: its own, with its window where that repeats."""
    shared = Counter(entry.state.name for entry in entries)
    names: list[str] = []
    for entry in entries:
        name = entry.state.name
        if shared[name] > 1:
            name += f"-per-{entry.charge.rate.period}"
        while name in names:
            name += "-also"
        names.append(name)
    return names


def _policy(name: str, entry: Entry) -> str:
    """The quota and the time it is for: of a bucket, the time that fills it."""
    return f'"{name}";q={entry.state.limit};w={_window(entry)}'


def _window(entry: Entry) -> int:
    """Whole seconds, rounded up."""
    rate, quota = entry.charge.rate, entry.state.limit
    return max(1, -(-rate.window * quota // (rate.amount * SECOND)))


def _quota(name: str, entry: Entry, *, refused: bool) -> str:
    """
    What is left, and the time until more is.

    That time should not be later than Retry-After, so in a refusal only the
    limits that refuse tell it. Nor is it ever later than the window: a unit may
    count for a tick more than that, which rounding up would make a whole second.
    """
    state = entry.state
    field = f'"{name}";r={state.remaining}'
    if refused and not entry.refuses:
        return field
    seconds = (state.retry_after if entry.refuses else None) or state.reset_after
    return f"{field};t={min(math.ceil(seconds), _window(entry))}"


def refusal(
    request: HttpRequest, decision: Decision, entries: Sequence[Entry]
) -> Steps[HttpResponse]:
    """
    The answer of a refused request: 429, in the form that the client prefers.

    The project's ``429.html`` where there is one (context: ``decision`` and
    ``retry_after``, whole seconds or None), problem details (RFC 9457) as JSON,
    or text.
    """
    template = _template()
    forms = ("text/plain", *JSON_TYPES) if template is None else ("text/html", *JSON_TYPES)
    form = _preferred(request, forms)
    if form in JSON_TYPES:
        return _problem(decision, entries)
    if template is None or form != "text/html":
        return _text(decision)
    context = {"decision": decision, "retry_after": retry_after(decision)}
    # A template's context processors may ask the database.
    body = yield Ask(
        lambda: template.render(context, request),
        lambda: sync_to_async(template.render)(context, request),
    )
    return HttpResponseTooManyRequests(body)


def _preferred(request: HttpRequest, forms: tuple[str, ...]) -> str | None:
    """The client's choice of these; the first where its Accept is too long to be one."""
    if len(request.META.get("HTTP_ACCEPT", "")) > LONGEST_ACCEPT:
        return forms[0]
    return request.get_preferred_type(forms)


def set_refusal_fields(response: HttpResponseBase, decision: Decision) -> None:
    """Retry-After, and nothing for caches to keep (RFC 6585, section 4)."""
    seconds = retry_after(decision)
    if seconds is not None:
        response["Retry-After"] = str(seconds)
    patch_cache_control(response, no_store=True)


def retry_after(decision: Decision) -> int | None:
    """Whole seconds after which the request will pass, at least 1; None: never."""
    return None if decision.retry_after is None else max(1, math.ceil(decision.retry_after))


def _text(decision: Decision) -> HttpResponse:
    return HttpResponseTooManyRequests(
        f"Too many requests. {_advice(decision)}\n", content_type="text/plain; charset=utf-8"
    )


def _problem(decision: Decision, entries: Sequence[Entry]) -> HttpResponse:
    public = [entry for entry in entries if entry.public]
    closed = decision.degraded and conf.RATE_LIMIT_ON_ERROR == "closed"
    kind = "temporary-reduced-capacity" if closed else "quota-exceeded"
    problem = {
        "type": PROBLEM_TYPES + kind,
        "title": "Too many requests",
        "status": 429,
        "detail": _advice(decision),
        "violated-policies": [
            name for name, entry in zip(policy_names(public), public, strict=True) if entry.refuses
        ],
    }
    return JsonResponse(problem, status=429, content_type=JSON_TYPES[0])


def _advice(decision: Decision) -> str:
    seconds = retry_after(decision)
    if seconds is None:
        return "This request costs more than is ever allowed at once."
    return f"Try again in {seconds} second{'s' if seconds != 1 else ''}."


def _template() -> Any:
    try:
        return loader.get_template(TEMPLATE)
    except TemplateDoesNotExist:
        return None
