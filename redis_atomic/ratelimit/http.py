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
from functools import lru_cache
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader
from django.utils.cache import patch_cache_control

from ..conf import conf
from .charge import Charge
from .decision import Decision, LimitState
from .rate import SECOND, Rate
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
        return self.state.retry_after != 0.0 and not self.state.shadowed


class HttpResponseTooManyRequests(HttpResponse):
    status_code = 429


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
    accept = request.META.get("HTTP_ACCEPT", "*/*")
    return forms[0] if len(accept) > LONGEST_ACCEPT else _preferred_by(accept, forms)


@lru_cache(maxsize=128)  # all browsers of one make send the same
def _preferred_by(accept: str, forms: tuple[str, ...]) -> str | None:
    request = HttpRequest()
    request.META["HTTP_ACCEPT"] = accept
    return request.get_preferred_type(forms)


def set_refusal_fields(response: HttpResponseBase, decision: Decision) -> None:
    """Retry-After, and nothing for caches to keep (RFC 6585, section 4)."""
    seconds = retry_after(decision)
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    if "Cache-Control" in response.headers:
        patch_cache_control(response, no_store=True)
    else:
        response.headers["Cache-Control"] = "no-store"


def retry_after(decision: Decision) -> int | None:
    """Whole seconds after which the request will pass, at least 1; None: never."""
    return None if decision.retry_after is None else max(1, math.ceil(decision.retry_after))


def _text(decision: Decision) -> HttpResponse:
    text = f"Too many requests. {_advice(decision)}\n"
    return HttpResponseTooManyRequests(text.encode(), content_type="text/plain; charset=utf-8")


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
    """
    The project's template, or None.

    Django keeps what it finds. That there is none it looks up again, which takes as
    long as the rest of an answer, so this is kept here, except while somebody may be
    writing one.
    """
    global _has_template
    if not _has_template:
        return None
    try:
        return loader.get_template(TEMPLATE)
    except TemplateDoesNotExist:
        _has_template = settings.DEBUG
        return None


_has_template = True


def _forget(*, setting: str, **kwargs: object) -> None:
    global _has_template
    if setting in {"TEMPLATES", "DEBUG", "INSTALLED_APPS"}:
        _has_template = True


setting_changed.connect(_forget, dispatch_uid="redis_atomic.limits_template")
