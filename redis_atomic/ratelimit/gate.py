"""
What a request goes through: its limits are collected, asked in one call, and told.

``enter`` charges a request for all its rules at once, before the view; ``leave`` gives
back what the response shows not to count. Between the two runs the view, outside
of every ``try`` of ours: what it raises is its own, and passes through.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..signals import rate_limited
from .charge import Charge
from .charging import Rule, charges_of
from .decision import Decision
from .header_fields import Entry, set_header_fields
from .http import refusal, set_refusal_fields
from .identity import Kwargs
from .limiter import adecide, arefund, decide, refund
from .steps import Ask, Steps, called
from .transport import setup

logger = logging.getLogger("redis_atomic.rate_limits")


class Record:
    """What a request has been charged so far, by the middleware and by decorators."""

    __slots__ = ("decisions", "entries")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.decisions: list[Decision] = []

    def add(self, charges: Sequence[Charge], decision: Decision) -> list[Entry]:
        entries = list(map(Entry, charges, decision._states))
        self.entries += entries
        self.decisions.append(decision)
        return entries


class Admission(NamedTuple):
    """How a request was let in. ``response`` is the refusal, or None: run the view."""

    response: HttpResponseBase | None = None
    decision: Decision | None = None
    entries: Sequence[Entry] = ()


UNLIMITED = Admission()


def enter(
    request: HttpRequest, rules: Sequence[Rule], *, view: str, kwargs: Kwargs
) -> Steps[Admission]:
    """
    Charge the request for all these rules in one call, all or nothing.

    ``view`` is the scope of limits that have neither scope nor name, ``kwargs``
    are the URL's arguments.
    """
    record = record_of(request)
    if not setup().enabled:
        return UNLIMITED
    known = [entry.charge for entry in record.entries]
    asked = yield from charges_of(request, rules, known, view, kwargs)
    if not asked:
        return UNLIMITED
    charges = [charge for charge, _ in asked]
    decision = yield Ask(decide, adecide, (charges,))
    entries = record.add(charges, decision)
    _request_itself(request).rate_limit = Decision.merged(record.decisions)  # type: ignore[attr-defined]
    if not decision or decision.shadowed:
        yield from _tell(request, decision)
    if decision or not any(rule.block for rule in rules):
        return Admission(None, decision, entries)
    response = yield from _answer(request, [rule for _, rule in asked], decision, entries)
    set_header_fields(response, record.entries)
    return Admission(response, decision, entries)


def leave(request: HttpRequest, response: Any, admission: Admission) -> Steps[None]:
    """
    Give back what the response shows not to count, and set the header fields.

    They tell what the limits said before the view ran.
    """
    if admission.decision:
        back = yield from _not_to_count(response, admission.entries)
        if back:
            yield Ask(refund, arefund, (admission.decision, back))
    if isinstance(response, HttpResponseBase):
        set_header_fields(response, record_of(request).entries)


def record_of(request: HttpRequest) -> Record:
    """The request's record; ``request.rate_limit`` is None until something is charged."""
    request = _request_itself(request)
    record: Record | None = getattr(request, "_rate_limit_record", None)
    if record is None:
        record = Record()
        request._rate_limit_record = record  # type: ignore[attr-defined]
        request.rate_limit = None  # type: ignore[attr-defined]
    return record


def _answer(
    request: HttpRequest, rules: Sequence[Rule], decision: Decision, entries: Sequence[Entry]
) -> Steps[HttpResponseBase]:
    """What the rule of the first limit that refuses answers, or the usual 429."""
    refusing = [rule for rule, entry in zip(rules, entries, strict=True) if entry.refuses]
    on_limit = refusing[0].on_limit
    response: HttpResponseBase | None = None
    if on_limit is not None:
        response = yield from called(on_limit, request, decision)
    if response is None:
        response = yield from refusal(request, decision, entries)
    set_refusal_fields(response, decision)
    return response


def _not_to_count(response: Any, entries: Iterable[Entry]) -> Steps[list[Charge]]:
    """The charges to give back. Where count_when raises they stay: the view has done its work."""
    back = []
    for charge, _ in entries:
        count_when = charge.limit.count_when
        if count_when is None:
            continue
        try:
            counts = yield from called(count_when, response)
        except Exception:
            logger.exception("count_when %r raised, so the request stays counted.", count_when)
        else:
            if not counts:
                back.append(charge)
    return back


def _tell(request: HttpRequest, decision: Decision) -> Steps[None]:
    if rate_limited.receivers:
        told = {"sender": None, "request": request, "decision": decision}
        yield Ask(
            partial(rate_limited.send_robust, **told), partial(rate_limited.asend_robust, **told)
        )


def _request_itself(request: HttpRequest) -> HttpRequest:
    """Django's own request, where a framework hands its views one that wraps it."""
    itself: HttpRequest = getattr(request, "_request", request)
    return itself
