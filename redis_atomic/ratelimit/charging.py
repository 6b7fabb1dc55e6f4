"""
Rules, and what a request is charged by them.

A ``Rule`` is what one decorator, or one entry of RATE_LIMITS, asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from django.core.signals import setting_changed
from django.http import HttpRequest

from .addresses import client_address
from .charge import Charge, Identity, Tariff, standing_tariff
from .decision import Decision
from .identity import Kwargs, Teller, identify, teller
from .limit import Limit, as_rate
from .methods import covers
from .networks import Exempt, is_in
from .requests import Request, request_at
from .steps import Steps, called


@dataclass(frozen=True, slots=True, eq=False)
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
        return view if self.methods is None else f"{view}:{','.join(sorted(self.methods))}"


def charges_of(
    request: HttpRequest, rules: Iterable[Rule], known: Sequence[Charge], view: str, kwargs: Kwargs
) -> Steps[list[tuple[Charge, Rule]]]:
    """
    What this request is to be charged, each with the rule that asks for it.

    ``known`` is what it was charged before.
    """
    asked: list[tuple[Charge, Rule]] = []
    for rule in rules:
        if not covers(rule.methods, request.method):
            continue
        if rule.exempt is not None and (yield from _is_exempt(request, rule.exempt)):
            continue
        for limit in rule.limits():
            charge = yield from _charge(request, limit, _scope(limit, rule, view), kwargs)
            if charge is None or _is_among(charge, known):
                continue
            before = [other for other, _ in asked if _are_one(charge, other)]
            if before and (charge.limit.shadow or not before[0].limit.shadow):
                continue
            # One in shadow mode gives way to the same limit that refuses.
            asked = [each for each in asked if each[0] not in before]
            asked.append((charge, rule))
    return asked


def _scope(limit: Limit, rule: Rule, view: str) -> str:
    return limit.scope or limit.name or rule.scope_in(view)


#: What is asked for a request, and the rule that asks for each charge of it.
Asked = tuple[Request, Sequence[Rule]]


class Plan(NamedTuple):
    """What fixed rules charge all requests of a method, and who tells an identity for each."""

    tariffs: tuple[Tariff, ...]
    tellers: tuple[Teller, ...]
    rules: tuple[Rule, ...]


def planned(request: HttpRequest, rules: Sequence[Rule], view: str, kwargs: Kwargs) -> Asked | None:
    """
    charges_of() for a request that has not been charged, as what is to be asked.

    None where somebody has to be asked for a limit, or a limit does not apply.
    """
    plan = _plan(tuple(rules), view, request.method)
    if plan is None:
        return None
    identities: list[Identity] = []
    for tell in plan.tellers:
        identity = tell(request, kwargs)
        if identity is None:
            return None
        identities.append(identity)
    return request_at(plan.tariffs, tuple(identities)), plan.rules


@lru_cache(maxsize=1024)
def _plan(rules: tuple[Rule, ...], view: str, method: str | None) -> Plan | None:
    pairs = [
        (limit, rule)
        for rule in rules
        if covers(rule.methods, method)
        for limit in rule.limits()
        if _is_for(limit, method)
    ]
    counts = [
        (_scope(limit, rule, view), limit.rate, limit.algorithm)
        for limit, rule in pairs
        if limit.name is not None  # it may be asked for in two places
    ]
    if any(rule.exempt is not None for rule in rules) or len(set(counts)) < len(counts):
        return None
    if not all(limit.fixed for limit, _ in pairs):
        return None
    return Plan(
        tuple([standing_tariff(limit, _scope(limit, rule, view)) for limit, rule in pairs]),
        tuple([teller(limit.key or "ip", limit.missing) for limit, _ in pairs]),
        tuple([rule for _, rule in pairs]),
    )


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "REDIS_ATOMIC":
        _plan.cache_clear()


setting_changed.connect(_forget, dispatch_uid="redis_atomic.plans")


def _is_for(limit: Limit, method: str | None) -> bool:
    methods: Any = limit.methods
    return covers(methods, method)


def _is_exempt(request: HttpRequest, exempt: Any) -> Steps[Any]:
    """Networks exempt by the same address that the key "ip" counts."""
    if callable(exempt):
        return (yield from called(exempt, request))
    return is_in(client_address(request), exempt)


def _is_among(charge: Charge, known: Iterable[Charge]) -> bool:
    return any(_are_one(charge, other) for other in known)


def _are_one(charge: Charge, other: Charge) -> bool:
    """Are they a named limit that is asked for in two places? It counts once a request."""
    return charge.limit.name is not None and (
        charge.scope,
        charge.identity,
        charge.rate,
        charge.limit.algorithm,
    ) == (
        other.scope,
        other.identity,
        other.rate,
        other.limit.algorithm,
    )


def _charge(request: HttpRequest, limit: Limit, scope: str, kwargs: Kwargs) -> Steps[Charge | None]:
    """The limit for this request, or None where it does not apply to it."""
    if not _is_for(limit, request.method):
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
