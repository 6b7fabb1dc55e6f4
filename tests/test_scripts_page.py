"""The page on checks of scripts: its example says what it shows, its rules exist."""

import re
from pathlib import Path

from django.core import checks
from django.test import override_settings

from redis_atomic.checks import MEANINGS

PAGE = (Path(__file__).parent.parent / "docs" / "scripts.md").read_text()
README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_is_told_what_the_page_shows(tmp_path):
    (script,) = re.findall(r"^```lua\n-- shop/lua/visit\.lua\n(.*?)^```$", PAGE, re.M | re.S)
    (shown,) = re.findall(r"^```\n(shop/lua.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "visit.lua").write_text(script)
    with override_settings(REDIS_ATOMIC={"SCRIPT_DIRS": [tmp_path]}):
        said = checks.run_checks(tags=["redis_atomic"])
    told = [each.msg.replace(str(tmp_path), "shop/lua") for each in said]
    assert sorted(each for each in told if each.startswith("shop")) == sorted(shown.splitlines())


def practices():
    section = PAGE.split("\n## Good practice, and what watches over it\n")[1]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_each_practice_has_a_rule_that_exists_or_a_sentence():
    assert len(practices()) > 10
    for practice, rule in practices():
        ids = re.findall(r"`([EW]\d{3})`", rule)
        assert all(f"redis_atomic.{number}" in MEANINGS for number in ids), practice
        assert ids or re.match(r"none( \w+)?: .{20,}", rule), practice


def test_each_rule_for_scripts_serves_a_practice():
    served = {number for _, rule in practices() for number in re.findall(r"`([EW]\d{3})`", rule)}
    of_scripts = {name[-4:] for name in MEANINGS if re.search(r"[EW]0[12]\d|W103", name)}
    assert served == {each for each in of_scripts if each < "E021" or each[:3] in ("W01", "W10")}


def test_what_the_extra_adds_is_told_alike_everywhere():
    deep = {name for name, meaning in MEANINGS.items() if "lint extra" in meaning}
    assert deep == {f"redis_atomic.{number}" for number in ("E019", "E020", "W016", "W017")}
    assert 'pip install "django-redis-atomic[lint]"' in README
