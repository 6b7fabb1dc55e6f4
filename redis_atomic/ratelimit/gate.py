"""
What a request goes through: its limits are collected, asked in one call, and told.

``enter`` charges a request for all its rules at once, before the view; ``leave`` gives
back what the response shows not to count. Between the two runs the view, outside
of every ``try`` of ours: what it raises is its own, and passes through.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..signals import rate_limited, send
from .charge import Charge
from .charging import Asked, Rule, charges_of, planned
from .decision import Decision
from .header_fields import set_header_fields
from .http import refusal, with_refusal_fields
from .identity import Kwargs
from .limiter import adecide, arefund, decide, refund
from .requests import request_at, request_of
from .steps import Ask, Steps, awalk, called, walk
from .transport import setup

logger = logging.getLogger("redis_atomic.rate_limits")

#: How a request was let in: its refusal, or None to run the view; and what was decided.
Admission = tuple[HttpResponseBase | None, Decision | None]

UNLIMITED: Admission = None, None
NOTHING: Asked = request_at((), ()), ()


def enter(
    request: HttpRequest,
    rules: Sequence[Rule],
    *,
    view: str,
    kwargs: Kwargs,
    lasting: bool = True,
) -> Admission:
    """
    Charge the request for all these rules in one call, all or nothing.

    ``view`` is the scope of limits that have neither scope nor name, ``kwargs``
    are the URL's arguments. ``lasting``: other requests go by these rules, too.
    """
    asked = _asked_at_once(request, rules, view, kwargs, lasting)
    if asked is None:
        asked = walk(_asked(request, rules, view, kwargs))
    call, asking = asked
    if not asking:
        return UNLIMITED
    decision = decide(call)
    if _passes(request, decision):
        return None, decision
    return walk(_answer(request, asking, decision)), decision


async def aenter(
    request: HttpRequest,
    rules: Sequence[Rule],
    *,
    view: str,
    kwargs: Kwargs,
    lasting: bool = True,
) -> Admission:
    """See enter()."""
    asked = _asked_at_once(request, rules, view, kwargs, lasting)
    if asked is None:
        asked = await awalk(_asked(request, rules, view, kwargs))
    call, asking = asked
    if not asking:
        return UNLIMITED
    decision = await adecide(call)
    if _passes(request, decision):
        return None, decision
    return await awalk(_answer(request, asking, decision)), decision


def leave(request: HttpRequest, response: Any, decision: Decision | None) -> None:
    """
    Give back what the response shows not to count, and set the header fields.

    They tell what the limits said before the view ran.
    """
    if decision and (judging := _judging(decision)):
        walk(_give_back(decision, judging, response))
    _tell(request, response)


async def aleave(request: HttpRequest, response: Any, decision: Decision | None) -> None:
    """See leave()."""
    if decision and (judging := _judging(decision)):
        await awalk(_give_back(decision, judging, response))
    _tell(request, response)


def decisions_of(request: HttpRequest) -> list[Decision]:
    """
    What was decided for the request so far, by the middleware and by decorators.

    ``request.rate_limit`` is None until something is charged.
    """
    request = _request_itself(request)
    decisions: list[Decision] | None = getattr(request, "_rate_limit_decisions", None)
    if decisions is None:
        decisions = request._rate_limit_decisions = []  # type: ignore[attr-defined]
        request.rate_limit = None  # type: ignore[attr-defined]
    return decisions


def _asked_at_once(
    request: HttpRequest, rules: Sequence[Rule], view: str, kwargs: Kwargs, lasting: bool
) -> Asked | None:
    """What the request is charged, or None where that takes more steps."""
    decisions = decisions_of(request)
    if not setup().enabled:
        return NOTHING
    return planned(request, rules, view, kwargs) if lasting and not decisions else None


def _asked(request: HttpRequest, rules: Sequence[Rule], view: str, kwargs: Kwargs) -> Steps[Asked]:
    known = [charge for decision in decisions_of(request) for charge in decision._granted]
    pairs = yield from charges_of(request, rules, known, view, kwargs)
    return request_of([charge for charge, _ in pairs]), [rule for _, rule in pairs]


def _passes(request: HttpRequest, decision: Decision) -> bool:
    """Note the decision. Is that all there is to do before the view?"""
    decisions = decisions_of(request)
    decisions.append(decision)
    _request_itself(request).rate_limit = Decision.merged(decisions)  # type: ignore[attr-defined]
    return decision.allowed and not (rate_limited.receivers and decision.shadowed)


def _answer(
    request: HttpRequest, rules: Sequence[Rule], decision: Decision
) -> Steps[HttpResponseBase | None]:
    """Send the signal, and answer what refuses; None where the view is to run in any case."""
    if rate_limited.receivers:
        told = {"sender": None, "request": request, "decision": decision}
        yield Ask(partial(send, rate_limited, **told), partial(rate_limited.asend_robust, **told))
    if decision or not any(rule.block for rule in rules):
        return None
    response = yield from _refusal(request, rules, decision)
    _tell(request, response)
    return response


def _refusal(
    request: HttpRequest, rules: Sequence[Rule], decision: Decision
) -> Steps[HttpResponseBase]:
    """What the rule of the first limit that refuses answers, or the usual 429."""
    refusing = [
        rule
        for rule, state in zip(rules, decision.limits, strict=True)
        if state.refuses and not state.shadowed
    ]
    on_limit = refusing[0].on_limit if refusing else None
    if on_limit is not None:
        response: HttpResponseBase | None = yield from called(on_limit, request, decision)
        if response is not None:
            return with_refusal_fields(_checked(response, on_limit), decision)
    return (yield from refusal(request, decision))


def _checked(response: HttpResponseBase, on_limit: Any) -> HttpResponseBase:
    if not isinstance(response, HttpResponseBase):
        raise TypeError(
            f"on_limit {on_limit!r} returned {type(response).__name__}: return a response, or "
            "None for the usual one."
        )
    return response


def _tell(request: HttpRequest, response: Any) -> None:
    decisions = decisions_of(request)
    if decisions and isinstance(response, HttpResponseBase):
        set_header_fields(response, Decision.merged(decisions))


def _judging(decision: Decision) -> list[Charge]:
    """The charges that depend on the response."""
    return [each for each in decision._charges if each.tariff.limit.count_when is not None]


def _give_back(decision: Decision, charges: Sequence[Charge], response: Any) -> Steps[None]:
    back = []
    for charge in charges:
        if not (yield from _counts(charge.limit.count_when, response)):
            back.append(charge)
    if back:
        yield Ask(refund, arefund, (decision, back))


def _counts(count_when: Any, response: Any) -> Steps[Any]:
    """Where it raises the charge stays: the view has done its work."""
    try:
        return (yield from called(count_when, response))
    except Exception:
        logger.exception("count_when %r raised, so the request stays counted.", count_when)
        return True


def _request_itself(request: HttpRequest) -> HttpRequest:
    """Django's own request, where a framework hands its views one that wraps it."""
    itself: HttpRequest = getattr(request, "_request", request)
    return itself
