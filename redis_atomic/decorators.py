"""``@rate_limit``: limits for a view."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial, wraps
from inspect import isawaitable
from typing import Any, TypeVar, cast

from django.http import HttpRequest
from django.views import View as ClassBasedView

from .coroutines import is_awaited
from .ratelimit.charging import Rule
from .ratelimit.decision import Decision
from .ratelimit.gate import aenter, aleave, enter, leave
from .ratelimit.limit import Limit, check_apart, check_name
from .ratelimit.methods import as_methods
from .ratelimit.named import limits_named
from .ratelimit.networks import as_exempt
from .ratelimit.rate import Rate

View = TypeVar("View", bound=Callable[..., Any])


def rate_limit(
    *limits: str | Rate | Limit,
    key: Any = None,
    scope: str | None = None,
    cost: int | Callable[[HttpRequest], Any] = 1,
    methods: Iterable[str] | None = None,
    exempt: Callable[[HttpRequest], Any] | Iterable[str] | None = None,
    count_when: Callable[[Any], Any] | None = None,
    on_limit: Callable[..., Any] | None = None,
    block: bool = True,
    shadow: bool = False,
) -> Callable[[View], View]:
    """
    Limit how often a view is called (decorator).

    ``limits`` are rates (``"5/m"``), names from RATE_LIMITS, or Limits; they are
    asked in one call, all or nothing. A request that one of them refuses is
    answered 429, and none of them is charged.

    ``key``         of the rates: whose requests count together; "ip" by default
    ``scope``       limits of one scope count together; by default a named limit
                    counts under its name, a rate under the view (and ``methods``)
    ``cost``        units of a request, or a callable that takes the request
    ``methods``     limit only these; GET includes HEAD
    ``exempt``      a callable that takes the request, or a list of networks
    ``count_when``  a callable that takes the response; where it is false, the
                    charge is given back. A view that raises stays charged
    ``on_limit``    called with the request and the Decision, returns the response
                    to a refused request, or None for the usual one
    ``block``       False: run the view in any case; it reads ``request.rate_limit``
    ``shadow``      count and report, refuse nothing

    All callables may be async. ``request.rate_limit`` is the Decision of all
    that limited the request, or None.

    Works on functions and partials, sync or async, and through
    ``method_decorator`` on methods. Decorators directly above each other make
    one call, if they agree on ``block``. Place it above ``cache_page``: a page
    from the cache counts, and no client's header fields are stored.

    TypeError or ValueError for arguments that can't be; what callables raise is
    raised by the view, but for ``count_when``: that is logged, and the charge stays.
    """
    if not limits:
        raise TypeError("rate_limit() needs a limit: write @rate_limit('5/m').")
    given = tuple([_limit_or_name(limit, key) for limit in limits])
    says: dict[str, Any] = {"scope": scope, "count_when": count_when, "shadow": shadow or None}
    if type(cost) is not int or cost != 1:
        says["cost"] = cost
    if not (on_limit is None or callable(on_limit)):
        raise TypeError(f"on_limit={on_limit!r}: give a callable of the request and the Decision.")
    rule = Rule(
        _Limits(given, {name: value for name, value in says.items() if value is not None}),
        methods=as_methods(methods),
        exempt=as_exempt(exempt),
        on_limit=on_limit,
        block=block,
    )
    return partial(_limited, rule=rule)


def _limit_or_name(limit: Any, key: Any) -> str | Limit:
    """A Limit of a rate; a name stays a name, to be looked up when a request comes."""
    if isinstance(limit, Limit) or (isinstance(limit, str) and limit[:1].isalpha()):
        if key is not None:
            raise TypeError(
                f"key= goes with a rate such as '5/m'; {limit!r} has a key of its own. "
                "Write it there: Limit('5/m', key=…), or KEY in RATE_LIMITS."
            )
        return limit if isinstance(limit, Limit) else check_name(limit)
    if callable(limit):
        raise TypeError(
            f"rate_limit() was given {limit!r}: write @rate_limit('5/m') above a view, and "
            "Limit(callable) for a rate that is found out for each request."
        )
    return Limit(limit, key="ip" if key is None else key)


class _Limits:
    """
    The limits of a decorator, with what it says of them all.

    ``stated`` are those known when the view is defined; names are looked up when
    a request comes, because settings may change.
    """

    def __init__(self, given: Sequence[str | Limit], says: dict[str, Any]) -> None:
        self._given = given
        self._says = says
        Limit("1/s", **says)  # tells now what is wrong in it, not when a name is looked up
        self.stated = [replace(each, **says) for each in given if isinstance(each, Limit)]
        check_apart(self.stated)
        self._looked_up: tuple[list[Limit], list[Limit]] = ([], [])

    def __call__(self) -> Sequence[Limit]:
        if len(self.stated) == len(self._given):
            return self.stated
        found: list[Limit] = []
        for each in self._given:
            found += limits_named(each) if isinstance(each, str) else (each,)
        if self._looked_up[0] != found:
            self._looked_up = found, [replace(limit, **self._says) for limit in found]
        return self._looked_up[1]


@dataclass(frozen=True, slots=True)
class _Limited:
    """What a limited view is made of. Other decorators copy it along, so it names its owner."""

    owner: weakref.ref[Callable[..., Any]]
    view: Callable[..., Any]
    rules: tuple[Rule, ...]


def _limited(view: View, rule: Rule) -> View:
    """The view behind the rule, and behind those of a decorator directly beneath."""
    if isinstance(view, type):
        raise TypeError(
            f"@rate_limit is for views, and {view.__name__} is a class: write "
            "@method_decorator(rate_limit('5/m'), name='dispatch') above it."
        )
    if not callable(view):
        raise TypeError(f"@rate_limit decorates a view, a callable of the request, not {view!r}.")
    rules: tuple[Rule, ...] = (rule,)
    marks: dict[str, Any] = {}
    beneath: _Limited | None = getattr(view, "_rate_limited", None)
    if beneath and beneath.owner() is view and beneath.rules[0].block == rule.block:
        marks = vars(view)  # such as login_not_required leaves between the two
        rules, view = (rule, *beneath.rules), cast(View, beneath.view)
        _check_apart(rules)
    wrapper = (_awrapper if is_awaited(view) else _wrapper)(view, rules, _scope_of(view))
    vars(wrapper).update(marks)
    wrapper._rate_limited = _Limited(weakref.ref(wrapper), view, rules)
    return cast(View, wrapper)


@lru_cache(maxsize=256)
def _check_apart(rules: tuple[Rule, ...]) -> None:
    check_apart(
        [
            replace(limit, scope=limit.scope or limit.name or rule.scope_in("view"))
            for rule in rules
            for limit in cast(_Limits, rule.limits).stated
        ]
    )


def _wrapper(view: Callable[..., Any], rules: Sequence[Rule], scope: str) -> Any:
    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        _check_request(request)
        response, decision = enter(request, rules, view=scope, kwargs=kwargs)
        if response is None:
            response = view(request, *args, **kwargs)
            if isawaitable(response):  # a decorator beneath does not show that the view is async
                return _leave_later(request, response, decision)
            leave(request, response, decision)
        return response

    return limited


async def _leave_later(
    request: HttpRequest, awaited: Awaitable[Any], decision: Decision | None
) -> Any:
    response = await awaited
    await aleave(request, response, decision)
    return response


def _awrapper(view: Callable[..., Any], rules: Sequence[Rule], scope: str) -> Any:
    @wraps(view)
    async def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        _check_request(request)
        response, decision = await aenter(request, rules, view=scope, kwargs=kwargs)
        if response is None:
            response = await view(request, *args, **kwargs)
            await aleave(request, response, decision)
        return response

    return limited


def _check_request(request: Any) -> None:
    if not hasattr(request, "META"):
        raise TypeError(
            f"@rate_limit was given {type(request).__name__} for a request. On a method write "
            "@method_decorator(rate_limit('5/m'))."
        )


def _scope_of(view: Any) -> str:
    """The view's dotted name; of a class-based view, its class's."""
    while isinstance(view, partial):
        view = view.func
    if isinstance(getattr(view, "__self__", None), ClassBasedView):
        view = type(view.__self__)
    view = getattr(view, "view_class", None) or getattr(view, "cls", None) or view
    if not hasattr(view, "__qualname__"):
        view = type(view)
    # REST framework's @api_view gives its class only the function's __name__.
    whole = view.__qualname__.endswith(view.__name__)
    return f"view:{view.__module__}.{view.__qualname__ if whole else view.__name__}"
