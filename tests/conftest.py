import os

import pytest
from hypothesis import HealthCheck, settings

from redis_atomic.client.connections import close_clients
from redis_atomic.locks.context import held_here
from tests import settings as test_settings
from tests.servers import plain_client

# On a machine that has other work, an example is slow for no fault of its own.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """A server that is shared takes one test at a time: each begins by emptying it."""
    return 0 if "REDIS_URL" in os.environ else None


def pytest_unconfigure(config):
    if test_settings.SERVER is not None:
        test_settings.SERVER.stop()


@pytest.fixture
def server_client():
    """A plain client of the test server, to look at what really happened."""
    with plain_client() as client:
        yield client


@pytest.fixture(autouse=True)
def _empty_server(server_client):
    server_client.flushdb()
    yield
    held_here().clear()  # a test that failed still holds its locks, as its traceback does
    close_clients()
