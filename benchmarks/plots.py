"""Pictures of results, as SVG that is the same for the same results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import peers
from .harness import Result, Spread, ratio, spread
from .scenarios import memory, views

STYLE = {
    "svg.hashsalt": "redis_atomic",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": "cycler('color', ['#1f77b4', '#2ca02c', '#9467bd', '#8c564b', '#7f7f7f',"
    " '#bcbd22', '#17becf'])",
}
OURS, BASE, OTHERS = "#b3261e", "#777777", "#8fb3d9"


def draw(results: Mapping[str, Result], folder: Path) -> list[Path]:
    """Draw what was measured; ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(STYLE):
        for name, (scenario, draw_one) in PLOTS.items():
            with suppress(KeyError):  # it, or its base, was not measured
                path = folder / f"{name}.svg"
                save(draw_one(results[scenario]), path)
                drawn.append(path)
    return drawn


def save(figure: Any, path: Path) -> None:
    figure.savefig(
        path, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None}
    )
    # Lines without blanks at their ends, as in every file here.
    lines = [line.rstrip() for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def colour(name: str) -> str:
    if name.startswith("redis_atomic"):
        return OURS
    bases = {peers.BASE, peers.FLOOR, views.FLOOR, views.PLAIN, views.REST_PLAIN}
    return BASE if name in bases else OTHERS


def bars(title: str, label: str, values: Mapping[str, Spread], *, less_is_better: bool) -> Any:
    """Horizontal bars, the best on top, with what lies between the quartiles."""
    from matplotlib.figure import Figure

    names = sorted(values, key=lambda name: values[name].median, reverse=less_is_better)
    found = [values[name] for name in names]
    middles = [each.median for each in found]
    errors = [
        [each.median - each.low for each in found],
        [each.high - each.median for each in found],
    ]
    figure = Figure(figsize=(7, 0.6 + 0.24 * len(names)))
    axes = figure.subplots()
    axes.barh(names, middles, xerr=errors, color=[colour(name) for name in names], ecolor="#444444")
    axes.set_title(title)
    axes.set_xlabel(label)
    return figure


def throughput(result: Result) -> Any:
    base = result.rows[peers.BASE]["seconds"]
    values = {name: ratio(base, row["seconds"]) for name, row in result.rows.items()}
    label = "times the calls of redis-py's EVALSHA"
    return bars("Decisions beside an empty script", label, values, less_is_better=False)


def latency(result: Result) -> Any:
    """From p50 (the dot) to p99, in microseconds."""
    from matplotlib.figure import Figure

    values = {
        name: [spread(row[figure]).median * 1e6 for figure in ("p50", "p99")]
        for name, row in result.rows.items()
    }
    names = sorted(values, key=lambda name: -values[name][0])
    figure = Figure(figsize=(7, 0.6 + 0.24 * len(names)))
    axes = figure.subplots()
    colours = [colour(name) for name in names]
    axes.hlines(names, [values[n][0] for n in names], [values[n][1] for n in names], colors=colours)
    axes.scatter([values[name][0] for name in names], names, color=colours, zorder=3)
    axes.set_xlim(left=0)
    axes.set_title("Latency of a decision")
    axes.set_xlabel("microseconds: p50 (dot) to p99")
    return figure


def memory_by_requests(result: Result) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for name, row in sorted(result.rows.items()):
        sizes = [size for size in memory.SIZES if str(size) in row]
        own = name.startswith("redis_atomic")
        # Red is ours; the others take the colours of the cycle as they come.
        kept = {"color": OURS, "linewidth": 2.5} if own else {"linewidth": 1}
        axes.loglog(
            sizes,
            [row[str(size)] for size in sizes],
            marker="o",
            markersize=3,
            linestyle="-" if row["kind"] == "log" else ":",
            label=name,
            **kept,
        )
    axes.set_title("Memory of one client (dotted: not an exact log)")
    axes.set_xlabel("limit, and requests made")
    axes.set_ylabel("bytes")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=7)
    return figure


def cost_of_a_view(result: Result) -> Any:
    values = {
        name: spread(x * 1e6 for x in views.added_to_plain(result, name, "seconds"))
        for name in result.rows
        if name != views.plain_of(name) in result.rows and "denied" not in name
    }
    title, label = "What a limit adds to a Django view", "microseconds for each request"
    return bars(title, label, values, less_is_better=True)


#: By the name of the file: the scenario that it shows, and how.
PLOTS = {
    "throughput": ("decision", throughput),
    "latency": ("decision", latency),
    "memory": ("memory", memory_by_requests),
    "views": ("views", cost_of_a_view),
}
