import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.apps import apps
from django.test import override_settings
from django.utils.autoreload import StatReloader, autoreload_started

from redis_atomic.registry import scripts
from tests import settings as test_settings

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path):
    """A folder of SCRIPT_DIRS and an override elsewhere."""
    for name in ("lua/one.lua", "lua/shop/two.lua", "elsewhere/three.lua"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("return 1")
    value = {
        "SCRIPT_DIRS": [tmp_path / "lua"],
        "SCRIPTS": {"three": tmp_path / "elsewhere" / "three.lua"},
    }
    with override_settings(
        REDIS_ATOMIC=value, INSTALLED_APPS=[*test_settings.INSTALLED_APPS, "tests.shelf"]
    ):
        yield tmp_path


def test_the_autoreloader_looks_at_every_file_that_a_script_comes_from(project):
    reloader = StatReloader()
    autoreload_started.send(sender=reloader)
    watched = {str(path.resolve()) for path in reloader.watched_files(include_globs=True)}
    assert {entry.path for entry in scripts.entries.values()} <= watched
    assert {"one", "shop.two", "three", "shelf.take"} <= set(scripts)


@pytest.mark.parametrize("value", [{"SCRIPT_DIRS": 5}, {"SCRIPTS": {"a": "/gone"}}, ["wrong"], 7])
def test_ready_never_raises_whatever_the_settings_say(value):
    with override_settings(REDIS_ATOMIC=value):
        apps.get_app_config("redis_atomic").ready()


PROGRAM = """
import sys, threading
import django
from django.conf import settings
from django.utils import autoreload

folder = sys.argv[1]
settings.configure(
    INSTALLED_APPS=["redis_atomic"],
    REDIS_ATOMIC={"SCRIPT_DIRS": [folder]},
    # Django does not restart for what changes in here.
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [folder]}],
)
django.setup()

def main():
    print("started", flush=True)
    threading.Event().wait()

autoreload.run_with_reloader(main)
"""


@pytest.mark.stress
def test_a_changed_script_restarts_the_process(tmp_path):
    script, program = tmp_path / "one.lua", tmp_path / "program.py"
    script.write_text("return 1")
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, program, tmp_path], env=environment, stdout=subprocess.PIPE
    ) as process:
        stop = threading.Event()
        changes = threading.Thread(target=keep_changing, args=(script, stop, process))
        changes.start()
        try:
            assert [process.stdout.readline() for _ in range(2)] == [b"started\n"] * 2
        finally:
            stop.set()
            changes.join()


def keep_changing(path, stop, process):
    """Change a file until stopped: a reloader must have seen it before it can see a change."""
    for moment in range(240):
        os.utime(path, (moment, moment))
        if stop.wait(0.5):
            break
    process.terminate()
