"""The README is true: its code runs, its tables are those of the code."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from redis_atomic.checks import MEANINGS
from redis_atomic.conf import Settings
from tests.settings import REDIS_URL

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FILES = dict(re.findall(r"```\w+\n(?:#|--) (\S+\.(?:py|lua))\n(.*?)```", README, re.DOTALL))


def rows(heading: str) -> list[list[str]]:
    """The table under a heading, cell by cell, without its own heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """An empty Django project into which the README's files have been typed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "shop" / "lua").mkdir(parents=True)
    (folder / "shop" / "__init__.py").touch()
    (folder / "urls.py").write_text(
        "from django.urls import path\nfrom shop import views\n"
        "urlpatterns = [path('reserve/<item>/', views.reserve),"
        " path('charge/<number>/', views.charge)]\n"
    )
    base = f"REDIS_URL = {REDIS_URL!r}\nSECRET_KEY = 'x'\nINSTALLED_APPS = []\n"
    base += "ROOT_URLCONF = 'urls'\nALLOWED_HOSTS = ['*']\nUSE_TZ = True\n"
    for name, text in FILES.items():
        (folder / name).write_text(base + text if name == "settings.py" else text)
    return folder


def run(project, *words, code=""):
    command = [sys.executable, *(words or ["-c", f"import django; django.setup()\n{code}"])]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": f"{project}{os.pathsep}{ROOT}",
    }
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_views_of_the_readme_work(project, server_client):
    server_client.set(":1:stock:tea", 10)
    server_client.set(":1:wallet:ann", 2000)
    out = run(
        project,
        code=(
            "from django.test import Client\nclient = Client()\n"
            "print([client.get('/reserve/tea/').status_code for _ in range(6)])\n"
            "print(client.get('/charge/7/').content, client.get('/charge/7/').content)\n"
        ),
    )
    assert out.splitlines() == ["[200, 200, 200, 200, 200, 429]", "b'paid' b'paid'"]
    assert server_client.get(":1:stock:tea") == b"1"
    assert server_client.get(":1:wallet:ann") == b"800"


def test_the_commands_of_the_readme_work(project):
    run(project, "-m", "django", "check", "--fail-level", "WARNING")
    assert "shop.reserve" in run(project, "-m", "django", "preload_scripts")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pipeline.py", "3 1\n"),
        ("operation.py", "True False\n"),
        ("limits.py", "True 97\n"),
        ("locks.py", "True False\n"),
    ],
)
def test_the_snippets_of_the_readme_print_what_they_should(project, server_client, name, expected):
    server_client.set(":1:stock:tea", 4)
    assert run(project, code=FILES[name]) == expected


@pytest.mark.skipif("REDIS_ATOMIC_LEAN_CALLS" in os.environ, reason="it changes a default")
def test_the_settings_table_is_the_code_s():
    table = {
        name.strip("`"): ast.literal_eval(default.strip("`"))
        for name, default, _ in rows("Settings")
    }
    assert table == {name: getattr(Settings, name).default for name in Settings.names()}


def test_the_commands_table_is_the_code_s():
    table = {re.search(r"manage\.py (\w+)", cell)[1] for cell, _ in rows("Commands")}
    folder = ROOT / "redis_atomic" / "management" / "commands"
    assert table == {path.stem for path in folder.glob("[a-z]*.py")}


def test_the_checks_table_is_the_code_s():
    assert {name.strip("`"): meaning for name, meaning in rows("Checks")} == MEANINGS


def test_every_link_into_the_repository_leads_somewhere():
    targets = re.findall(r"\]\((?!https?:)([\w./-]+)[#)]", README)
    assert all((ROOT / target).exists() for target in targets)
