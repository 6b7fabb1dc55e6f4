"""All that is measured, in the order in which it is told."""

from __future__ import annotations

from . import asynchronous, decisions, denied, exactness, full_log, locks, memory, scripts, views
from .scenario import Run, Scenario

SCENARIOS: list[Scenario] = [
    *decisions.SCENARIOS,
    *denied.SCENARIOS,
    *asynchronous.SCENARIOS,
    *views.SCENARIOS,
    *scripts.SCENARIOS,
    *locks.SCENARIOS,
    *memory.SCENARIOS,
    *full_log.SCENARIOS,
    *exactness.SCENARIOS,
]

__all__ = ["SCENARIOS", "Run", "Scenario"]
