"""The bars that redis_atomic sets itself, and whether this run met them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import peers
from .harness import Result, Spread, ratio, spread
from .scenarios import asynchronous, exactness, locks, scripts, views
from .tables import markdown, number, with_spread

Results = Mapping[str, Result]
Measured = Callable[[Results], Spread | float | None]

MET = {None: "-", True: "yes", False: "**no**"}


@dataclass(frozen=True)
class Gate:
    """
    ``measured`` raises KeyError, or returns None, where there is nothing to compare.

    ``at_least`` or, if not, at most: the value that the median has to have. ``floor`` is
    what no client in Python does better, where that is measured, too.
    """

    text: str
    measured: Measured
    bar: float
    at_least: bool = False
    floor: Measured | None = None

    def value(self, results: Results) -> Spread | float | None:
        return _value(self.measured, results)

    def met(self, results: Results) -> bool | None:
        """None where it was not measured."""
        value = self.value(results)
        if value is None:
            return None
        middle = value.median if isinstance(value, Spread) else value
        return middle >= self.bar if self.at_least else middle <= self.bar


def _value(measured: Measured, results: Results) -> Spread | float | None:
    try:
        return measured(results)
    except KeyError:
        return None


def of(
    scenario: str, ours: str, base: str, figure: str = "seconds"
) -> Callable[[Results], Spread | None]:
    """So many times the base's figure."""
    return lambda results: ratio(
        results[scenario].rows[ours][figure], results[scenario].rows[base][figure]
    )


def rate(scenario: str, ours: str, base: str) -> Callable[[Results], Spread | None]:
    """So many calls for one of the base's."""
    return of(scenario, base, ours)


def view(scenario: str, base: str, ours: str = views.OURS) -> Callable[[Results], float | None]:
    """
    What our limit adds to a request, beside what theirs adds.

    Of the medians: in a single round a difference may be nothing, or less.
    """

    def measured(results: Results) -> float | None:
        result = results[scenario]
        added, theirs = (
            spread(views.added_to_plain(result, name, "seconds")).median for name in (ours, base)
        )
        return added / theirs if theirs > 0 else None

    return measured


def slowest_lead(results: Results) -> Spread | None:
    """Our rate beside that of the fastest peer, in the mix of which most is denied."""
    rows = results["denied"].rows
    others = [name for name in rows if not name.startswith(("redis_atomic", "redis-py"))]
    ours = rows[peers.OURS]["seconds"]
    return min([ratio(rows[name]["seconds"], ours) for name in others], default=None)


def p50_of_a_refusal(results: Results) -> float:
    return spread(results["remembered"].rows[peers.OURS]["p50"]).median * 1e6


def growth(results: Results) -> float:
    row = results["memory-denied"].rows[peers.OURS]
    return row["after"] / row["before"]


def allowed_too_many(results: Results) -> float:
    rows = results["exactness"].rows
    return sum(
        abs(rows[name]["allowed"] - exactness.LIMIT.amount)
        for name in (peers.OURS, exactness.UNCACHED)
    )


def gates() -> list[Gate]:
    decision = ("decision", peers.OURS)
    lead = f"{peers.OURS}, calls beside"
    return [
        *[
            Gate(
                f"a decision, {what} of the bare call",
                of(scenario, peers.OURS, peers.BASE, figure),
                bar,
                floor=of(scenario, peers.FLOOR, peers.BASE, figure),
            )
            for what, scenario, figure, bar in [
                ("TCP: time", "decision", "seconds", 0.80),
                ("TCP: client CPU", "decision", "cpu", 0.55),
                ("unix socket: time", "decision-unix", "seconds", 0.70),
            ]
        ],
        *[
            Gate(f"{lead} {name}", rate(*decision, name), bar, at_least=True)
            for name, bar in {
                peers.LIMITS: 1.6,
                peers.LIMITS_FIGURES: 3.5,
                peers.RATELIMIT: 3.0,
                peers.SMART: 3.0,
                peers.DRF: 2.8,
            }.items()
        ],
        Gate(
            "three limits in one call, calls beside one bare call",
            rate("three", peers.OURS, peers.BASE),
            0.9,
            at_least=True,
        ),
        Gate("90 % denied: calls beside the fastest peer", slowest_lead, 10.0, at_least=True),
        Gate(
            "90 % denied: server CPU of the bare call",
            of("denied", peers.OURS, peers.BASE, "server"),
            0.2,
        ),
        Gate("a refusal from the deny cache: p50 in us", p50_of_a_refusal, 0.5),
        *[
            Gate(
                f"asyncio, {count} at a time: {what}, calls beside redis.asyncio's EVALSHA",
                rate(f"asyncio-{count}", name, asynchronous.BASE),
                bar,
                at_least=True,
            )
            for count, bar in {1: 1.0, 8: 2.5, 64: 3.0}.items()
            for what, name in {
                "a script": asynchronous.SCRIPT,
                "a decision": peers.OURS,
            }.items()
        ],
        *[
            Gate(
                f"a view: added time beside {name.partition(',')[0]}",
                view("views", name),
                bar,
                floor=view("views", name, views.FLOOR),
            )
            for name, bar in {"limits, moving window": 0.6, "django-ratelimit": 0.45}.items()
        ],
        Gate(
            "an asynchronous view: added time beside limits",
            view("views-asgi", "limits, moving window"),
            0.6,
        ),
        Gate(
            "a denied view: requests beside a view without limit",
            rate("views", views.OURS_DENIED, views.PLAIN),
            0.8,
            at_least=True,
        ),
        Gate(
            "a denied asynchronous view: requests beside one without limit",
            rate("views-asgi", views.OURS_DENIED, views.PLAIN),
            0.8,
            at_least=True,
        ),
        Gate("a script call: time of redis-py's", of("script", scripts.OURS, scripts.BASE), 0.8),
        Gate("an uncontended lock: time of redis-py's", of("lock", locks.OURS, locks.BASE), 0.7),
        Gate("memory of a client after 5,000 denied requests: growth", growth, 1.0),
        Gate("8 processes: decisions above or below the limit", allowed_too_many, 0.0),
    ]


def table(results: Results, *, measured_only: bool = False) -> str:
    """Each bar, what was measured, and whether that meets it."""
    rows = []
    for gate in gates():
        value, met = gate.value(results), gate.met(results)
        if met is None and measured_only:
            continue
        bar = f"at {'least' if gate.at_least else 'most'} {gate.bar:g}"
        floor = "" if gate.floor is None else _told(_value(gate.floor, results))
        rows.append([gate.text, bar, _told(value), MET[met], floor])
    return markdown(["what", "bar", "measured", "met", "the floor"], rows)


def _told(value: Spread | float | None) -> str:
    if value is None:
        return "not measured"
    return with_spread(value) if isinstance(value, Spread) else number(value)
