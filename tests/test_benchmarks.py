"""The benchmarks: how they compare, and that what they wrote is what the pages say."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from benchmarks import gates, report, tables
from benchmarks.__main__ import chosen
from benchmarks.harness import Result, Spread, added, interleave, ratio, spread
from benchmarks.scenarios import SCENARIOS, decisions
from benchmarks.servers import Server
from benchmarks.slices import Contestant, Plan, race
from redis_atomic.testing import embedded_server

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/benchmarks.md").read_text()


def turns(calls, figures):
    """A turn that notes itself, for each of these figures."""

    def turn_of(name):
        def turn():
            calls.append(name)
            return {"seconds": next(figures[name])}

        return turn

    return {name: turn_of(name) for name in figures}


def test_all_take_a_turn_in_each_round_and_the_order_changes():
    calls, result = [], Result()
    interleave(turns(calls, {name: iter(range(20)) for name in "abc"}), 20, result)
    rounds = [calls[i : i + 3] for i in range(0, 60, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 2
    assert result.rows["a"]["seconds"] == list(range(20))


def test_a_contestant_that_fails_is_left_out_with_its_reason_and_the_others_go_on():
    calls, result = [], Result(rows={"a": {"kind": "log"}})
    interleave(turns(calls, {"a": iter([1]), "b": iter([1, 2, 3])}), 3, result)
    assert result.rows == {"b": {"seconds": [1, 2, 3]}}
    assert result.left_out == {"a": "StopIteration:"}
    assert calls.count("a") == 2


def test_a_slow_round_slows_both_and_changes_no_ratio():
    ours, theirs = [1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]
    slow = [1, 10, 1, 7]
    times = [
        [each * factor for each, factor in zip(row, slow, strict=True)] for row in (ours, theirs)
    ]
    assert ratio(*times) == Spread(0.5, 0.5, 0.5)


@pytest.fixture
def server():
    with embedded_server(tcp=True) as embedded, closing(Server(embedded)) as server:
        yield server


def contestant(name, call, during=nullcontext):
    def make():
        yield call

    return Contestant(name, make, during)


def test_a_race_measures_calls_and_not_what_is_around_them(server):
    entered, asked = [], []

    @contextmanager
    def during():
        entered.append(len(asked))
        time.sleep(0.05)
        yield
        time.sleep(0.05)

    plan = Plan(rounds=2, calls=10, items=range(30), warm=[-1], latency=False)
    result = race(server, [contestant("ours", lambda item: asked.append(item), during)], plan)
    assert entered == [0, 1, 12]
    assert asked == [-1, -1, *range(10), -1, *range(10, 20)]
    assert max(result.rows["ours"]["seconds"]) * 10 < 0.05
    assert set(result.rows["ours"]) == {"seconds", "cpu", "server"}


def test_what_cannot_be_set_up_or_refuses_is_left_out_of_a_race(server):
    def broken():
        raise ImportError("No module named 'absent'")
        yield

    answers = itertools.cycle([True] * 15 + [False])
    plan = Plan(rounds=3, calls=10, items="abc", warm="w", check=decisions.allowed)
    result = race(
        server,
        [
            Contestant("absent", broken),
            contestant("refuses", lambda item: next(answers)),
            contestant("allows", lambda item: True),
        ],
        plan,
    )
    assert result.left_out == {
        "absent": "ImportError: No module named 'absent'",
        "refuses": "AssertionError: of 10 calls 1 were refused",
    }
    assert len(result.rows["allows"]["p99"]) == 3


def test_told_are_the_median_and_the_quartiles():
    assert spread([5, 1, 2, 4, 3]) == Spread(3, 2, 4)
    assert spread([7]) == Spread(7, 7, 7)
    assert added([3.0, 5.0], [1.0, 4.0]) == [2.0, 1.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.804, "0.80"),
        (9.99, "9.99"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (-3.14159, "-3.14"),
    ],
)
def test_figures_have_three_digits(value, text):
    assert tables.number(value) == text


RACE = Result(
    rows={
        "slow": {"kind": "log", "seconds": [4e-6, 4e-6]},
        "base": {"kind": "none", "seconds": [2e-6, 2e-6]},
    },
    left_out={"absent": "ImportError: No module named 'absent'"},
)
COLUMNS = [
    tables.value("kind", "kind"),
    tables.micros("us", "seconds"),
    tables.times("x", "seconds", "base"),
    tables.rate("calls", "base"),
    tables.micros("cpu", "cpu"),
]


def test_a_table_is_in_the_order_of_what_was_measured_and_says_who_is_missing():
    assert tables.table("race", RACE, COLUMNS, order="seconds").splitlines() == [
        "| race | kind | us | x | calls | cpu |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| base | none | 2.00 | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | - |",
        "| slow | log | 4.00 | 2.00 (2.00-2.00) | 0.50 (0.50-0.50) | - |",
        "",
        "- Left out: absent (ImportError: No module named 'absent')",
    ]


def test_without_its_base_a_ratio_is_a_dash():
    alone = Result(rows={"slow": RACE.rows["slow"]})
    assert "| slow | log | 4.00 | - | - | - |" in tables.table("race", alone, COLUMNS)


def test_a_bar_is_met_missed_or_not_measured():
    results = {"race": RACE}
    for at_least, bar, met in [
        (True, 2, True),
        (True, 2.1, False),
        (False, 2, True),
        (False, 1.9, False),
    ]:
        gate = gates.Gate("…", gates.of("race", "slow", "base"), bar, at_least)
        assert gate.met(results) is met
    assert gates.Gate("…", gates.of("race", "absent", "base"), 1).met(results) is None
    assert gates.Gate("…", gates.of("another", "slow", "base"), 1).met(results) is None


def test_nothing_measured_meets_no_bar():
    assert {gate.met({}) for gate in gates.gates()} == {None}


def test_results_come_back_from_the_file_as_they_were(tmp_path):
    path = tmp_path / "folder/results.json"
    report.write(path, {"machine": "[a, b]"}, {"race": RACE})
    about, results = report.read(path)
    assert about == {"machine": "[a, b]"}
    assert results == {"race": RACE}
    report.write(path, about, results)
    assert report.read(path) == (about, results)


def test_the_rounds_told_are_those_of_the_results():
    fewer = Result(rows={"a": {"seconds": [1.0] * 5}, "b": {"bytes": 1}})
    assert report.rounds({"race": RACE}) == "2"
    assert report.rounds({"race": RACE, "fewer": fewer}) == "2 to 5"
    assert report.rounds({}) == "none"


def test_only_the_places_of_a_page_are_filled():
    page = "a\n<!-- table: x -->\nold\nlines\n<!-- end -->\nb\n<!-- table: y -->\n<!-- end -->\n"
    once = report.filled(page, {"x": "X", "y": "Y"})
    assert once == "a\n<!-- table: x -->\nX\n<!-- end -->\nb\n<!-- table: y -->\nY\n<!-- end -->\n"
    assert report.filled(once, {"x": "X", "y": "Y"}) == once
    with pytest.raises(KeyError):
        report.filled(page, {"x": "X"})


def test_the_pages_say_what_the_json_says():
    assert report.outdated() == [], "run: python -m benchmarks --report"


def test_a_page_with_another_figure_is_found_out(tmp_path):
    told = json.loads(report.RESULTS.read_text())
    told["scenarios"]["exactness"]["rows"]["redis_atomic: sliding window"]["allowed"] = 101
    (tmp_path / "results.json").write_text(json.dumps(told))
    assert report.outdated(tmp_path / "results.json") == [ROOT / "docs/benchmarks.md"]


def test_the_page_shows_every_scenario_and_each_plot():
    places = set(re.findall(r"<!-- table: (\S+) -->", PAGE))
    assert places == {scenario.name for scenario in SCENARIOS} | {"machine", "gates"}
    for plot in re.findall(r"\((benchmarks/\w+\.svg)\)", PAGE):
        assert (ROOT / "docs" / plot).exists()


def test_scenarios_are_chosen_by_how_they_begin():
    assert [each.name for each in chosen(["asyncio-6", "lock"])] == ["asyncio-64", "lock"]
    assert chosen(None) == SCENARIOS


def run_benchmarks(*words):
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_name_that_chooses_nothing_is_refused_with_those_there_are():
    done = run_benchmarks("--only", "lokc")
    assert done.returncode == 2
    assert "nothing begins with lokc" in done.stderr
    assert "exactness" in done.stderr


@pytest.mark.stress
def test_a_quick_run_measures_us_and_says_who_is_not_there(tmp_path):
    names = [each.name for each in SCENARIOS if not each.name.startswith("views")]
    done = run_benchmarks("--quick", "--only", *names, "--into", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    _, results = report.read(tmp_path / "results.json")
    assert set(results) == set(names)
    for name, result in results.items():
        if name != "full-log":  # its rows are limits, all of them ours
            assert any(row.startswith("redis_atomic") for row in result.rows), (name, result)
        for peer, reason in result.left_out.items():
            assert not peer.startswith(("redis_atomic", "redis-py")), reason
            assert f"Left out: {peer} (" in done.stdout
    assert gates.allowed_too_many(results) == 0


@pytest.mark.stress
def test_views_are_measured_or_said_to_be_left_out():
    done = run_benchmarks("--quick", "--only", "views")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("no limit", "redis_atomic"):
        assert re.search(rf"^(\| {name} \||- Left out: {name} \()", done.stdout, re.MULTILINE)
