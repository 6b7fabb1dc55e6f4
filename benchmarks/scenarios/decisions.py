"""One decision that allows, and three at once: 100 requests a minute, 600 clients."""

from __future__ import annotations

from dataclasses import replace

from ..harness import Result
from ..peers import BASE, Rate, contestant, floor_contestant, peers
from ..slices import Plan, race
from ..tables import micros, rate, times, value
from .scenario import Run, Scenario

MINUTE = Rate(100, 60)
THREE = Rate(10, 1), MINUTE, Rate(1000, 3600)
CLIENTS = [f"ip:{number}" for number in range(600)]
#: Nobody is new: settings that changed since the last slice made us forget who asked.
WARM = CLIENTS


def allowed(refused: int, calls: int) -> None:
    """Refusals would be another measurement; ours is one, too, when Redis did not answer."""
    if refused:
        raise AssertionError(f"of {calls} calls {refused} were refused")


def plan(run: Run) -> Plan:
    return Plan(run.rounds, run.calls, CLIENTS, WARM, allowed)


def on_tcp(run: Run) -> Result:
    url = run.server.url
    found = [contestant(name, url, MINUTE) for name in peers]
    return race(run.server, [*found, floor_contestant(url, MINUTE)], plan(run))


def on_unix_socket(run: Run) -> Result:
    url = run.server.unix_url
    found = [
        contestant(name, url, MINUTE, alias="unix") for name, each in peers.items() if each.unix
    ]
    result = race(run.server, [*found, floor_contestant(url, MINUTE)], plan(run))
    for name, each in peers.items():
        if not each.unix:
            result.leave_out(name, "uses the cache, which is on TCP here, or no unix socket")
    return result


def three_at_once(run: Run) -> Result:
    url = run.server.url
    found = [contestant(name, url, *THREE) for name in peers]
    halved = replace(plan(run), calls=run.calls // 2, latency=False)
    return race(run.server, found, halved)


COLUMNS = [
    value("kind", "kind"),
    value("figures", "figures"),
    micros("us", "seconds"),
    micros("p50 us", "p50"),
    micros("p99 us", "p99"),
    times("x time of the bare call", "seconds", BASE),
    times("x its client CPU", "cpu", BASE),
    micros("server CPU us", "server"),
]
SCENARIOS = [
    Scenario("decision", "One decision, TCP", on_tcp, COLUMNS, "seconds"),
    Scenario("decision-unix", "One decision, unix socket", on_unix_socket, COLUMNS, "seconds"),
    Scenario(
        "three",
        "Three limits for one client",
        three_at_once,
        [*COLUMNS[:3], rate("x calls of one bare call", BASE), *COLUMNS[6:]],
        "seconds",
    ),
]
