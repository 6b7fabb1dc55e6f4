"""The pages of docs/ are true: their code runs, and the tests they name exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from redis_atomic.testing import embedded_server

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["redis_atomic", "shop"]
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://x"}}
"""


def named_blocks(page):
    """The code blocks whose first line is the name of the file they are in."""
    text = (ROOT / "docs" / page).read_text()
    for block in re.findall(r"^```(?:lua|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first, _, rest = block.partition("\n")
        if match := re.fullmatch(r"(?:#|--) (\S+\.(?:py|lua))", first):
            yield match[1], rest


def test_the_page_on_testing_scripts_holds_what_it_says(tmp_path):
    pytest.importorskip("redis_atomic.registry")
    for name, text in named_blocks("testing-scripts.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "shop/__init__.py").touch()
    with embedded_server() as server:
        binary = server.binary
    done = subprocess.run(
        f"{sys.executable} -m pytest -q -p no:cacheprovider --ds=settings".split()
        + f"-o asyncio_mode=auto --redis-server={binary}".split(),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "7 passed" in done.stdout, done.stdout + done.stderr


def names(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_test_that_a_page_names_exists(page):
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    assert named <= set(re.findall(r"def (test_\w+)\(", TESTS))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_piece_of_code_can_be_compiled(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(code, page.name, "exec")


def test_the_page_of_locks_names_a_test_for_each_promise():
    page = (ROOT / "docs" / "locks.md").read_text()
    for heading in ("What is promised", "Under which faults", "Transactions"):
        section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("|")][2:]
        assert rows
        assert all("`test_" in row for row in rows)
