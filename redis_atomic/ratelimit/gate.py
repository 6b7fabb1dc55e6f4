"""
What a request goes through: its limits are collected, asked in one call, and told.

A ``Rule`` is what one decorator, or one entry of RATE_LIMITS, asks for. ``enter``
charges a request for all its rules at once, before the view; ``leave`` gives
back what the response shows not to count. Between the two runs the view, outside
of every ``try`` of ours: what it raises is its own, and passes through.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..signals import rate_limited
from .addresses import client_address
from .charge import Charge, standing_tariff
from .decision import Decision
from .header_fields import Entry, set_header_fields
from .http import refusal, set_refusal_fields
from .identity import Kwargs, identify, identity_told
from .limit import Limit, as_rate
from .limiter import adecide, arefund, decide, refund
from .methods import covers
from .networks import Exempt, is_in
from .steps import Ask, Steps, called
from .transport import setup

logger = logging.getLogger("redis_atomic.rate_limits")


@dataclass(frozen=True, slots=True)
class Rule:
    """
    Limits that are asked for together, and the requests they are for.

    ``limits`` returns them when a request comes, as settings may have changed.
    ``methods`` is None for all.
    """

    limits: Callable[[], Sequence[Limit]]
    methods: frozenset[str] | None = None
    exempt: Exempt | None = None
    on_limit: Callable[[HttpRequest, Decision], Any] | None = None
    block: bool = True

    def scope_in(self, view: str) -> str:
        """The scope of a limit without one: 5/m for POST does not count with 90/m for all."""
        return view if self.methods is None else _scope_of(view, self.methods)


@lru_cache(maxsize=1024)
def _scope_of(view: str, methods: frozenset[str]) -> str:
    return f"{view}:{','.join(sorted(methods))}"


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
    asked = yield from _charges(request, rules, record, view, kwargs)
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


def _charges(
    request: HttpRequest, rules: Iterable[Rule], record: Record, view: str, kwargs: Kwargs
) -> Steps[list[tuple[Charge, Rule]]]:
    """What this request is to be charged, each with the rule that asks for it."""
    known = [entry.charge for entry in record.entries]
    asked: list[tuple[Charge, Rule]] = []
    for rule in rules:
        if not covers(rule.methods, request.method):
            continue
        if rule.exempt is not None and (yield from _is_exempt(request, rule.exempt)):
            continue
        for limit in rule.limits():
            scope = limit.scope or limit.name or rule.scope_in(view)
            if limit.fixed:
                charge = _fixed_charge(request, limit, scope, kwargs)
            else:
                charge = yield from _charge(request, limit, scope, kwargs)
            if charge is None or _is_known(charge, known):
                continue
            known.append(charge)
            asked.append((charge, rule))
    return asked


def _is_exempt(request: HttpRequest, exempt: Any) -> Steps[Any]:
    """Networks exempt by the same address that the key "ip" counts."""
    if callable(exempt):
        return (yield from called(exempt, request))
    return is_in(client_address(request), exempt)


def _is_known(charge: Charge, known: Iterable[Charge]) -> bool:
    """Is it a named limit that was asked for in another place? It counts once a request."""
    return charge.limit.name is not None and any(_are_one(charge, other) for other in known)


def _are_one(charge: Charge, other: Charge) -> bool:
    return (charge.scope, charge.identity, charge.rate, charge.limit.algorithm) == (
        other.scope,
        other.identity,
        other.rate,
        other.limit.algorithm,
    )


def _fixed_charge(request: HttpRequest, limit: Limit, scope: str, kwargs: Kwargs) -> Charge | None:
    """_charge() without asking: so the usual limit costs little."""
    methods: Any = limit.methods
    exempt: Any = limit.exempt
    if not covers(methods, request.method):
        return None
    if exempt is not None and is_in(client_address(request), exempt):
        return None
    identity = identity_told(request, limit.key or "ip", kwargs, missing=limit.missing)
    return None if identity is None else Charge.at(standing_tariff(limit, scope), identity)


def _charge(request: HttpRequest, limit: Limit, scope: str, kwargs: Kwargs) -> Steps[Charge | None]:
    """The limit for this request, or None where it does not apply to it."""
    methods: Any = limit.methods
    if not covers(methods, request.method):
        return None
    if limit.exempt is not None and (yield from _is_exempt(request, limit.exempt)):
        return None
    rate: Any = limit.rate
    if callable(rate):
        rate = yield from called(rate, request)
        if rate is None:
            return None
    identity = yield from identify(request, limit.key or "ip", kwargs, missing=limit.missing)
    if identity is None:
        return None
    cost: Any = limit.cost
    if callable(cost):
        cost = yield from called(cost, request)
    return Charge(limit, as_rate(rate), scope, identity, cost)


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
