"""
A folder of bad scripts: each has one fault, and ``check`` finds it, on its line, and no other.

``-- fault: E017`` marks the line; ``(fault: W013)``, in the head, a fault of the whole. Those
with ``lint`` need the extra; ``else`` says what is told of the line without it.
"""

import re
import sys
from pathlib import Path

import pytest
from django.core import checks
from django.test import override_settings

from redis_atomic.checks import MEANINGS
from redis_atomic.checks import scripts as script_checks
from redis_atomic.scripting.builtin import FOLDER
from redis_atomic.scripting.discovery import discover
from redis_atomic.scripting.script import Script
from redis_atomic.scripting.signature import read_signature

BAD = Path(__file__).parent / "bad_scripts"
EXAMPLE = Path(__file__).parent.parent / "example_project" / "shop" / "lua"
MARK = re.compile(
    r"(--|\()\s?fault: (?P<id>[EW]\d{3})(?P<lint> lint)?(, else (?P<other>[EW]\d{3}))?"
)


def planted(*, lint):
    """Id and place of each fault that is to be found, with the extra or without."""
    for path in BAD.glob("*.lua"):
        (mark,) = MARK.finditer(path.read_text())
        line = path.read_text().count("\n", 0, mark.start()) + 1
        number = mark["id"] if lint or not mark["lint"] else mark["other"]
        if number:
            yield number, f"{path}:{line}" if mark[1] == "--" else f"{path}"


def found(folder=BAD):
    with override_settings(REDIS_ATOMIC={"SCRIPT_DIRS": [folder]}):
        said = checks.run_checks(tags=["redis_atomic"], include_deployment_checks=True)
    for each in said:
        number = each.id.removeprefix("redis_atomic.")
        if str(folder) in each.msg:
            yield number, each.msg.partition(": ")[0]


@pytest.fixture
def _without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    for name in [each for each in sys.modules if each.startswith("redis_atomic.scripting.deep")]:
        monkeypatch.delitem(sys.modules, name)
    script_checks.findings.cache_clear()
    yield
    script_checks.findings.cache_clear()


def test_each_planted_fault_is_found_once_on_its_line_and_nothing_else():
    assert sorted(found()) == sorted(planted(lint=True))


@pytest.mark.usefixtures("_without_the_extra")
def test_without_the_extra_the_tokens_show_theirs():
    assert sorted(found()) == sorted(planted(lint=False))


def test_every_check_of_a_text_has_a_bad_script():
    texts = {"E017", "E018", "E019", "E020", "W012", "W013", "W015", "W016", "W017", "W103"}
    assert {number for number, _ in planted(lint=True)} == texts
    assert {f"redis_atomic.{number}" for number in texts} <= MEANINGS.keys()


def said_of(path, remove=""):
    source = path.read_text().replace(remove, "")
    script = Script(path.stem, source.encode(), signature=read_signature(source, path.stem))
    return [(each.rule, each.message) for each in script_checks.findings(script)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_of_the_scripts_that_ship_nothing_is_said(path):
    assert said_of(path) == []


def test_the_wake_up_of_a_lock_is_the_one_key_that_is_allowed_by_name():
    said = {path.stem: said_of(path, "-- undeclared: wake\n") for path in FOLDER.glob("*.lua")}
    assert {name for name, found in said.items() if found} == {"lock_acquire", "lock_finish"}
    for rule, message in said["lock_acquire"] + said["lock_finish"]:
        assert rule == "undeclared-key"
        assert message.partition("computes: ")[2].startswith("wake = ")


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("*.lua")), ids=lambda path: path.stem)
def test_of_the_example_s_scripts_nothing_is_said(path):
    assert said_of(path) == []


def test_a_fault_that_forbids_a_call_is_the_same_with_and_without_the_extra():
    entries = discover([(None, BAD)], {})
    refused = {f"{name}.lua" for name, entry in entries.items() if entry.fault is not None}
    certain = {Path(place).name for number, place in planted(lint=False) if number[0] == "E"}
    assert {each.partition(":")[0] for each in certain} == refused
