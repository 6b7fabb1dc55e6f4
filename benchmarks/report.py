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
from .tables import number

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
        "machine": machine.described(about),
        **{each.name: each.table(results[each.name]) for each in measured},
        "gates": gates.table(results),
        "headlines": headlines(results),
    }


def headlines(results: Mapping[str, Result]) -> str:
    """What the README says of it."""
    told = {
        "a decision of an exact window takes {} of the time of redis-py's empty script": (
            gates.of("decision", peers.OURS, peers.BASE)
        ),
        "and {} of its CPU in the client": gates.of("decision", peers.OURS, peers.BASE, "cpu"),
        "beside `limits` (moving window, yes or no only) {} times as many decisions a second": (
            gates.rate("decision", peers.OURS, peers.LIMITS)
        ),
        "beside django-ratelimit {} times": gates.rate("decision", peers.OURS, peers.RATELIMIT),
        "with 90 % denied {} times those of the fastest peer": gates.slowest_lead,
        "64 at a time on asyncio {} times redis.asyncio's own calls": (
            gates.rate("asyncio-64", asynchronous.OURS, asynchronous.BASE)
        ),
    }
    lines = []
    for text, measured in told.items():
        value = gates.Gate(text, measured, 0).value(results)
        if value is not None:
            lines.append(f"- {text.format(number(value.median))}")
    return "\n".join(lines)


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
