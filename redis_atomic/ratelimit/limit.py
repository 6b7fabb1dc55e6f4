"""
``Limit``: a rule, as written in code or in settings. Pure: no Django, no Redis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import gcd
from typing import Any, Literal

from .methods import as_methods
from .networks import Network, as_exempt
from .rate import Rate

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
#: A header field's name is a token of RFC 9110.
KEY = re.compile(r"ip|user|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|(?:get|post|path):.+", re.DOTALL)

#: A window log takes three bytes a unit; a bucket takes sixteen whatever its rate.
MAX_LOGGED = 1_000_000
#: Lua's numbers are doubles: integers are exact up to here.
MAX_EXACT = 2**53


@dataclass(frozen=True)
class Limit:
    """
    One rate limit: how much, for whom, counted how.

    ``rate``       "100/m", a Rate, or a callable that takes the request and returns one
    ``key``        whose requests are counted together: "ip", "user", "header:X",
                   "get:f", "post:f", "path:kwarg", a tuple of these, or a callable
                   that takes the request and returns text; None: told at each call
    ``name``       what the response header calls it: a letter, then letters, digits
                   and ``_ . -``, at most 64
    ``algorithm``  "sliding_window": never more than the amount in any window;
                   "token_bucket": refills steadily, up to ``burst`` at once
    ``burst``      of a token bucket; by default the rate's amount
    ``scope``      limits of one scope, key and window share their counts; by default
                   the name, or the view
    ``missing``    when the key has no value: "skip" the limit, or one "shared"
                   count; by default the IP address is counted
    ``cost``       units of a request, or a callable that takes the request
    ``exempt``     a callable that takes the request, true: not limited; or a list of
                   networks such as "10.0.0.0/8", requests from which are not
    ``methods``    limits only these; GET includes HEAD; None: all
    ``count_when`` a callable that takes the response; false: the cost is given back
    ``shadow``     reports what it would refuse, and refuses nothing

    TypeError or ValueError names the argument that is wrong.
    """

    rate: Rate | str | Callable[..., Any]
    key: Any = field(default="ip", kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    algorithm: Literal["sliding_window", "token_bucket"] = field(
        default="sliding_window", kw_only=True
    )
    burst: int | None = field(default=None, kw_only=True)
    scope: str | None = field(default=None, kw_only=True)
    missing: Literal["skip", "shared"] | None = field(default=None, kw_only=True)
    cost: int | Callable[..., Any] = field(default=1, kw_only=True)
    exempt: Callable[..., Any] | Sequence[str | Network] | None = field(default=None, kw_only=True)
    methods: Iterable[str] | None = field(default=None, kw_only=True)
    count_when: Callable[..., Any] | None = field(default=None, kw_only=True)
    shadow: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.rate):
            object.__setattr__(self, "rate", as_rate(self.rate))
        if isinstance(self.key, list):
            object.__setattr__(self, "key", tuple(self.key))
        _check_key(self.key)
        if self.name is not None:
            check_name(self.name)
        if self.scope is not None:
            check_text("scope", self.scope)
        if self.missing not in (None, "skip", "shared"):
            raise ValueError(f"Limit: missing is 'skip', 'shared' or None, not {self.missing!r}.")
        if not callable(self.cost):
            check_cost(self.cost)
        object.__setattr__(self, "exempt", as_exempt(self.exempt))
        object.__setattr__(self, "methods", as_methods(self.methods))
        if not (self.count_when is None or callable(self.count_when)):
            raise TypeError("Limit: count_when must be a callable or None.")
        self._check_algorithm()

    def _check_algorithm(self) -> None:
        if self.algorithm not in ("sliding_window", "token_bucket"):
            raise ValueError(
                f"Limit: algorithm is 'sliding_window' or 'token_bucket', not {self.algorithm!r}."
            )
        if self.burst is not None:
            if self.algorithm != "token_bucket":
                raise ValueError("Limit: burst belongs to algorithm='token_bucket'.")
            if type(self.burst) is not int or self.burst < 1:
                raise ValueError(f"Limit: burst must be an int of 1 or more, not {self.burst!r}.")
        if isinstance(self.rate, Rate):
            self.check_rate(self.rate)

    def check_rate(self, rate: Rate) -> Rate:
        """Return the rate; ValueError where this limit's algorithm can't count it."""
        if self.algorithm == "sliding_window":
            if rate.amount > MAX_LOGGED:
                raise ValueError(
                    f"Limit: an exact window holds at most {MAX_LOGGED:,} units, and {rate} "
                    "is more: use algorithm='token_bucket'."
                )
        elif self.capacity(rate) * (rate.window // gcd(rate.window, rate.amount)) >= MAX_EXACT:
            raise ValueError(
                f"Limit: a burst of {self.capacity(rate):,} at {rate} can't be counted "
                "exactly: use a smaller burst or a shorter window."
            )
        return rate

    def capacity(self, rate: Rate) -> int:
        """What may be spent at once at this rate: the header's ``q``."""
        return rate.amount if self.burst is None else self.burst

    def label(self, rate: Rate) -> str:
        """The limit's name, or one made of its key and window: ``"ip-per-m"``."""
        if self.name is not None:
            return self.name
        return "-".join([*self.kinds[:4], "per", rate.period])

    @cached_property
    def fixed(self) -> bool:
        """Whether all requests are charged the same, and one is enough to know for whom."""
        asked = (self.rate, self.cost, *self.keys)
        return self.exempt is None and "user" not in self.keys and not any(map(callable, asked))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of identity that the key asks for: ``("ip",)``, ``("user", "header")``."""
        return tuple([k.partition(":")[0] if isinstance(k, str) else "callable" for k in self.keys])

    @cached_property
    def keys(self) -> tuple[Any, ...]:
        """The key's parts: one, or as many as its tuple has; none where it is None."""
        if self.key is None:
            return ()
        return self.key if isinstance(self.key, tuple) else (self.key,)

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """The key's parts as text that is the same in every process."""
        return tuple([key if isinstance(key, str) else name_of(key) for key in self.keys])

    @property
    def key_text(self) -> str:
        """The key as people read it: ``"ip and post:name"``."""
        return " and ".join(self.key_names or ("ip",))


def name_of(function: Callable[..., Any]) -> str:
    """A callable's dotted name; an object that can be called goes by its class."""
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def as_rate(value: Any) -> Rate:
    """A Rate of a Rate or of its text; TypeError or ValueError for anything else."""
    return value if isinstance(value, Rate) else Rate.parse(value)


def check_text(argument: str, value: object) -> None:
    """TypeError unless the value is text that is not empty."""
    if not (isinstance(value, str) and value):
        raise TypeError(f"Limit: {argument} must be a text that is not empty, not {value!r}.")


def check_name(name: str) -> str:
    """Return the name of a limit; ValueError if it can't travel in a header."""
    check_text("name", name)
    if NAME.fullmatch(name) is None:
        raise ValueError(
            f"The name of a limit is a letter, then letters, digits, '_', '.', '-', at most "
            f"64 in all; not {name!r}."
        )
    return name


def check_cost(cost: Any) -> int:
    """Return a cost, 0 or more; TypeError unless it is an int, ValueError if negative."""
    if type(cost) is not int:
        raise TypeError(f"A cost is a whole number of units, not {cost!r}.")
    if cost < 0:
        raise ValueError(f"A cost is 0 or more, not {cost}. To give units back, use refund().")
    return cost


def usual_cost(limit: Limit) -> int:
    """The limit's own cost where there is no request to compute one from: else 1."""
    return limit.cost if isinstance(limit.cost, int) else 1


def check_apart(limits: Iterable[Limit]) -> None:
    """
    ValueError if two limits, applied to one view, would always share one count.

    They would if key, scope, algorithm and window are the same (for a bucket:
    the whole rate); of callables what their names are, as two lambdas have. Limits whose
    rate is a callable are not looked at.
    """
    for one, other in combinations([x for x in limits if isinstance(x.rate, Rate)], 2):
        if _count(one) == _count(other):
            raise ValueError(
                f"The limits {one.rate} and {other.rate} by {one.key!r} share one count: "
                "keep the stricter one, or give one of them a scope."
            )


def _count(limit: Limit) -> tuple[object, ...]:
    rate = limit.rate if isinstance(limit.rate, Rate) else None
    unit = rate if limit.algorithm == "token_bucket" else rate and rate.window
    return limit.key_names, limit.scope or limit.name, limit.algorithm, unit


def _check_key(key: Any) -> None:
    if key is None:
        return
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if not (callable(part) or (isinstance(part, str) and KEY.fullmatch(part))):
            raise ValueError(
                f"Limit: key {part!r} is none of 'ip', 'user', 'header:X', 'get:field', "
                "'post:field', 'path:argument', a tuple of these, or a callable."
            )
    if not parts:
        raise ValueError("Limit: key is an empty tuple; name what to count by, such as 'ip'.")
