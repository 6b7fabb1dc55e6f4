"""
Rules, and what a request is charged by them.

A ``Rule`` is what one decorator, or one entry of RATE_LIMITS, asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import HttpRequest

from .addresses import client_address
from .charge import Charge, standing_tariff
from .decision import Decision
from .identity import Kwargs, identify, identity_told
from .limit import Limit, as_rate
from .methods import covers
from .networks import Exempt, is_in
from .steps import Steps, called


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


def charges_of(
    request: HttpRequest, rules: Iterable[Rule], known: list[Charge], view: str, kwargs: Kwargs
) -> Steps[list[tuple[Charge, Rule]]]:
    """
    What this request is to be charged, each with the rule that asks for it.

    ``known`` is what it was charged before, to which this is added.
    """
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
