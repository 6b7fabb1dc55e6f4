"""
Fixtures for pytest: ``pytest_plugins = ["redis_atomic.testing.plugin"]``.

``pytest --redis-server=PATH`` (which may be repeated) runs every test that uses
``script_tester`` on an embedded server of each of these executables, with the
cache's LOCATION changed to it, instead of on the server of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test.utils import override_settings

from ..conf import conf
from .harness import ScriptTester
from .server import EmbeddedServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--redis-server",
        action="append",
        default=[],
        metavar="PATH",
        help="run tests that use script_tester on this server's executable (may be repeated)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    binaries = metafunc.config.getoption("--redis-server")
    if binaries and "redis_server" in metafunc.fixturenames:
        metafunc.parametrize("redis_server", binaries, indirect=True, scope="session")


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer | None]:
    """The embedded server that ``--redis-server`` asks for, or None."""
    binary: str | None = getattr(request, "param", None)
    if binary is None:
        yield None
        return
    with EmbeddedServer(binary=binary) as server:
        yield server


@pytest.fixture
def script_tester(redis_server: EmbeddedServer | None) -> Iterator[ScriptTester]:
    """A ScriptTester on the cache of the settings, or on each ``--redis-server``."""
    if redis_server is None:
        yield ScriptTester()
        return
    alias = conf.CACHE_ALIAS
    caches = {**settings.CACHES, alias: {**settings.CACHES[alias], "LOCATION": redis_server.url}}
    with override_settings(CACHES=caches):
        yield ScriptTester()
