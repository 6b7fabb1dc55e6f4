"""What preloading found, for people, for programs, and for a shell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .preload import GOOD, NodeReport, Outcome

OK, NOT_LOADED, UNREACHABLE, NO_PERMISSION = 0, 1, 3, 4


@dataclass(frozen=True, slots=True)
class Report:
    """The files that can't be used at all, and how the others stand on each node."""

    faults: Sequence[str]
    nodes: Sequence[NodeReport]

    @property
    def exit_code(self) -> int:
        """0 all there and verified, 1 some are not, 3 a node not reached, 4 no permission."""
        states = {outcome.state for node in self.nodes for outcome in node.outcomes}
        if any(node.error and not node.denied for node in self.nodes):
            return UNREACHABLE
        if any(node.denied for node in self.nodes) or "no permission" in states:
            return NO_PERMISSION
        return NOT_LOADED if self.faults or states - GOOD else OK

    @property
    def summary(self) -> str:
        """One line: ``"14 scripts on 1 node: 13 loaded, 1 not compiling."``"""
        states = Counter(outcome.state for node in self.nodes for outcome in node.outcomes)
        names = {outcome.script for node in self.nodes for outcome in node.outcomes}
        counts = [f"{count} {state}" for state, count in states.most_common()]
        failed = sum(node.error is not None for node in self.nodes)
        counts += [f"{failed} of the nodes could not be asked"] if failed else []
        counts += [f"{len(self.faults)} cannot be used"] if self.faults else []
        scripts, nodes = _count(len(names), "script"), _count(len(self.nodes), "node")
        return f"{scripts} on {nodes}: {', '.join(counts) or 'nothing to do'}."

    def as_text(self) -> str:
        """A table for each node, then what is wrong with files."""
        lines = [line for node in self.nodes for line in _table(node)]
        lines += [f"cannot be used: {fault}" for fault in self.faults]
        return "\n".join([*lines, self.summary])

    def as_dict(self) -> dict[str, Any]:
        """The same for ``json.dumps``."""
        return {
            "exit_code": self.exit_code,
            "faults": list(self.faults),
            "nodes": [asdict(node) for node in self.nodes],
        }


def _table(node: NodeReport) -> Iterator[str]:
    yield f"{node.cache}  {node.node}"
    if node.error is not None:
        yield f"  {node.error}"
    width = max((len(outcome.script) for outcome in node.outcomes), default=0)
    for outcome in node.outcomes:
        yield from _row(outcome, width)
    for warning in node.warnings:
        yield f"  warning: {warning}"


def _row(outcome: Outcome, width: int) -> Iterator[str]:
    yield f"  {outcome.script:{width}}  {outcome.state}  {outcome.detail}".rstrip()
    for line in outcome.context.splitlines():
        yield f"      {line}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
