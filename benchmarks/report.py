"""
The results as JSON, and the pages that show them.

A page has places ``<!-- table: NAME -->`` … ``<!-- end -->``. What lies between is made of
the JSON and of nothing else: so each figure of a page is printed by a command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import gates, machine, peers
from .harness import Result
from .scenarios import SCENARIOS, asynchronous
from .tables import markdown, with_spread

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs/benchmarks/results.json"
PAGES = [ROOT / "docs/benchmarks.md", ROOT / "README.md"]
PLACE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(path: Path, about: dict[str, Any], results: Mapping[str, Result]) -> None:
    told = {"about": about, "scenarios": {name: asdict(each) for name, each in results.items()}}
    text = json.dumps(_short(told), indent=1, ensure_ascii=False)
    # A list of figures is one line.
    text = re.sub(r"\[\s+([^][{}\"]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def read(path: Path) -> tuple[dict[str, Any], dict[str, Result]]:
    told = json.loads(path.read_text())
    return told["about"], {name: Result(**each) for name, each in told["scenarios"].items()}


def _short(value: Any) -> Any:
    """Four digits of a figure, which is more than any of them is worth."""
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def tables(about: dict[str, Any], results: Mapping[str, Result]) -> dict[str, str]:
    """Everything that a page may show, by the name of its place."""
    measured = [each for each in SCENARIOS if each.name in results]
    return {
        "machine": f"{machine.described(about)}\n- rounds: {rounds(results)}",
        **{each.name: each.table(results[each.name]) for each in measured},
        "gates": gates.table(results),
        "headlines": headlines(results),
    }


def rounds(results: Mapping[str, Result]) -> str:
    """How many each contestant had: the same everywhere, or from the fewest to the most."""
    counts = [
        len(row["seconds"])
        for result in results.values()
        for row in result.rows.values()
        if "seconds" in row
    ]
    if not counts:
        return "none"
    fewest, most = min(counts), max(counts)
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def headlines(results: Mapping[str, Result]) -> str:
    """What the README says of it: decisions of an exact window."""
    ours = peers.OURS
    told = {
        "redis-py's `EVALSHA` of an empty script: its time": (
            gates.of("decision", ours, peers.BASE)
        ),
        "… its CPU in the client": gates.of("decision", ours, peers.BASE, "cpu"),
        "`limits`, moving window: calls a second": gates.rate("decision", ours, peers.LIMITS),
        "django-ratelimit: calls a second": gates.rate("decision", ours, peers.RATELIMIT),
        "Django REST framework's throttle: calls a second": gates.rate("decision", ours, peers.DRF),
        "the fastest of all peers when 90 % are denied: calls a second": gates.slowest_lead,
        "redis.asyncio's `EVALSHA`, 64 at a time: calls a second": (
            gates.rate("asyncio-64", ours, asynchronous.BASE)
        ),
    }
    found = {text: gates.Gate(text, measured, 0).value(results) for text, measured in told.items()}
    rows = [[text, with_spread(value)] for text, value in found.items() if value is not None]
    return markdown(["a decision of an exact window, beside", "times"], rows)


def filled(page: str, shown: Mapping[str, str]) -> str:
    """The page with its places filled; KeyError for a place that nothing was measured for."""
    return PLACE.sub(lambda place: f"{place[1]}{shown[place[2]]}\n{place[3]}", page)


def outdated(results_path: Path = RESULTS) -> list[Path]:
    """The pages that don't say what the JSON says."""
    shown = tables(*read(results_path))
    return [page for page in PAGES if filled(page.read_text(), shown) != page.read_text()]


def refresh(results_path: Path = RESULTS) -> None:
    """Fill the pages from the JSON."""
    shown = tables(*read(results_path))
    for page in PAGES:
        page.write_text(filled(page.read_text(), shown))
