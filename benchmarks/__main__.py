"""
What redis_atomic costs, beside what others cost: ``tox -e benchmark``, or

    python -m benchmarks [--only NAME …] [--rounds 21] [--quick] [--into FOLDER] [--strict]
    python -m benchmarks --report | --check

A run of everything writes docs/benchmarks/results.json and the plots beside it, and fills
the tables of docs/benchmarks.md and the README. With --only or --quick it only prints,
unless --into names a folder. --report fills the pages and draws the plots again out of the
JSON that is there; --check fails if the pages say anything else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from . import gates, plots, report
from .awake import awake
from .harness import Result
from .machine import machine
from .project import configure
from .scenarios import SCENARIOS, Run, Scenario
from .servers import running


def main() -> int:
    options = parsed()
    if options.check:
        return check()
    if options.report:
        report.refresh()
        return draw(report.RESULTS)
    try:
        with running() as server:
            configure(server.url, server.unix_url)
            about = machine(server)
            with awake() as about["cores"]:
                print(json.dumps(about, indent=1), flush=True)
                results = measure(chosen(options.only), Run(server, options.rounds, options.quick))
    except ImportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{gates.table(results, measured_only=bool(options.only))}")
    if folder := destination(options):
        save(folder, about, results, merge=bool(options.only))
    return int(options.strict and any(gate.met(results) is False for gate in gates.gates()))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"what begins so, of {names}")
    parser.add_argument(
        "--rounds", type=int, help="15 or more, to be told of (default: 21, of views 15)"
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds: does it run?")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="write JSON and plots there")
    parser.add_argument("--strict", action="store_true", help="fail if a bar is not met")
    parser.add_argument("--report", action="store_true", help="measure nothing: pages and plots")
    parser.add_argument("--check", action="store_true", help="fail if a page is not of the JSON")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 21)
    if options.rounds < 1:
        parser.error("--rounds is at least 1.")
    if options.only and not chosen(options.only):
        parser.error(f"nothing begins with {' or '.join(options.only)}: there are {names}.")
    return options


def chosen(names: list[str] | None) -> list[Scenario]:
    return [each for each in SCENARIOS if names is None or each.name.startswith(tuple(names))]


def measure(scenarios: list[Scenario], run: Run) -> dict[str, Result]:
    results = {}
    for scenario in scenarios:
        start = time.monotonic()
        try:
            result = scenario.measure(run)
        except Exception as error:  # noqa: BLE001 - the others are to run all the same
            result = Result()
            result.leave_out("all", error)
        results[scenario.name] = result
        taken = time.monotonic() - start
        print(f"\n{scenario.name}, {taken:.0f} s\n\n{scenario.table(result)}", flush=True)
    return results


def destination(options: argparse.Namespace) -> Path | None:
    """Only what is whole goes into the pages by itself."""
    partly = options.quick or options.only
    return options.into or (None if partly else report.RESULTS.parent)


def save(folder: Path, about: dict[str, Any], results: dict[str, Result], *, merge: bool) -> None:
    """Write what was measured; what was measured in part takes the place of what was there."""
    path = folder / report.RESULTS.name
    if merge and path.exists():
        results = measured_before(path, about) | results
    report.write(path, about, results)
    if path.resolve() == report.RESULTS.resolve():
        report.refresh()
    draw(path)


def measured_before(path: Path, about: dict[str, Any]) -> dict[str, Result]:
    """What the file has; SystemExit if that was measured on or with something else."""
    before, results = report.read(path)
    for what in ("machine", "cores", "Python", "server", "packages"):
        if about[what] != before.get(what):
            raise SystemExit(f"Not written: {what} was {before.get(what)}, is {about[what]}.")
    return results


def draw(path: Path) -> int:
    try:
        drawn = plots.draw(report.read(path)[1], path.parent)
    except ImportError as error:
        print(f"No plots: {error}", file=sys.stderr)
        return 1
    print(f"\nWritten: {path}, {', '.join(each.name for each in drawn)}")
    return 0


def check() -> int:
    for page in (pages := report.outdated()):
        print(f"{page} does not say what {report.RESULTS} says: python -m benchmarks --report")
    return int(bool(pages))


if __name__ == "__main__":
    sys.exit(main())
