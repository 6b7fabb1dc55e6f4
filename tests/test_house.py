"""The house itself: which way imports point, what a wheel holds, what server we test."""

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import redis_atomic

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "redis_atomic"

#: The floors of the house, lowest first. A module imports from its own floor or below.
FLOORS = [
    {"scripting", "coroutines", "exceptions", "generators", "signals", "lua"},
    {"conf", "client", "cluster"},
    {"dispatch"},
    {"registry", "operations", "ratelimit", "locks"},
    {"decorators", "middleware", "contrib", "management", "checks", "testing", "apps", "__init__"},
]
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

#: The rooms that may know the client library.
KNOW_REDIS = {"client", "cluster", "testing"}

#: Pure: neither Django nor Redis.
PURE = [
    "scripting",
    "ratelimit/rate.py",
    "ratelimit/limit.py",
    "ratelimit/methods.py",
    "ratelimit/networks.py",
    "locks/protocol.py",
]


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Absolute dotted names of all that a module imports, anywhere in it."""
    parts = ("redis_atomic", *path.relative_to(PACKAGE).with_suffix("").parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "redis_atomic" and len(parts) > 1 and parts[1] in FLOOR_OF:
            assert FLOOR_OF[parts[1]] <= FLOOR_OF[room(path)], f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_client_side_knows_the_client_library(path):
    libraries = {name.split(".")[0] for name in imported(path)}
    if room(path) not in KNOW_REDIS:
        assert not libraries & {"redis", "django_redis"}
    if any(str(path.relative_to(PACKAGE)).startswith(pure) for pure in PURE):
        assert "django" not in libraries


def test_importing_the_package_never_touches_settings():
    code = "import redis_atomic, redis_atomic.exceptions, redis_atomic.signals"
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_all_public_names_exist():
    assert all(hasattr(redis_atomic, name) for name in redis_atomic.__all__)


def test_a_built_wheel_holds_every_lua_file_of_the_tree(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.lua")}
    wanted |= {"redis_atomic/py.typed"}
    assert wanted <= held
    assert not any(name.startswith(("tests/", "example_project/")) for name in held)


def test_we_talk_to_the_server_we_mean_to(server_client):
    info = server_client.info("server")
    name = info.get("server_name", "redis")
    version = info["valkey_version"] if name == "valkey" else info["redis_version"]
    assert f"{name} {version}".startswith(os.environ.get("EXPECTED_SERVER", name))
