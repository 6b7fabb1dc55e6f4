"""Tables of results, in Markdown, for the terminal and for docs/ alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .harness import Result, Spread, ratio, spread

Cell = Callable[[Result, str], str]


class Column(NamedTuple):
    heading: str
    cell: Cell


def table(
    title: str, result: Result, columns: Sequence[Column], *, order: str | None = None
) -> str:
    """
    A row for each contestant, those left out beneath.

    ``order`` is the figure by which they stand, the lowest first; without it they stand
    as they were measured.
    """
    names = list(result.rows)
    if order is not None:
        names.sort(key=lambda name: median(result.rows[name].get(order, 0)))
    cells = [[name, *(column.cell(result, name) for column in columns)] for name in names]
    text = markdown([title, *(column.heading for column in columns)], cells)
    left = [f"- Left out: {name} ({reason})" for name, reason in result.left_out.items()]
    return "\n".join([text, *([""] if left else []), *left])


def median(figure: Any) -> float:
    """Of a figure a round, or the single one."""
    return spread(figure).median if isinstance(figure, list) else figure


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    line = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [headings, line, *rows])


def number(value: float) -> str:
    """Three digits, but all of those before the point."""
    if value == 0:
        return "0"
    for digits, above in ((0, 100), (1, 10), (2, 0)):
        if abs(value) >= above:
            return f"{value:,.{digits}f}"
    raise AssertionError(value)


def with_spread(value: Spread) -> str:
    return f"{number(value.median)} ({number(value.low)}-{number(value.high)})"


def _or_dash(cell: Cell) -> Cell:
    """A contestant without this figure, or a race without its base, has a dash."""

    def told(result: Result, name: str) -> str:
        try:
            return cell(result, name)
        except KeyError:
            return "-"

    return told


def micros(heading: str, figure: str) -> Column:
    """The median of the rounds, in microseconds."""
    return Column(
        heading, _or_dash(lambda r, name: number(spread(r.rows[name][figure]).median * 1e6))
    )


def per_second(heading: str, figure: str = "seconds") -> Column:
    """The median of the rounds' rates."""

    def cell(result: Result, name: str) -> str:
        return f"{spread(1 / each for each in result.rows[name][figure]).median:,.0f}"

    return Column(heading, _or_dash(cell))


def times(heading: str, figure: str, base: str) -> Column:
    """So many times the base's figure."""

    def cell(result: Result, name: str) -> str:
        return with_spread(ratio(result.rows[name][figure], result.rows[base][figure]))

    return Column(heading, _or_dash(cell))


def rate(heading: str, base: str) -> Column:
    """So many times the calls that the base makes in the same time."""

    def cell(result: Result, name: str) -> str:
        return with_spread(ratio(result.rows[base]["seconds"], result.rows[name]["seconds"]))

    return Column(heading, _or_dash(cell))


def value(heading: str, figure: str) -> Column:
    """A single value, as it is."""

    def cell(result: Result, name: str) -> str:
        return _as_text(result.rows[name][figure])

    return Column(heading, _or_dash(cell))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return value if isinstance(value, str) else f"{value:,}"
