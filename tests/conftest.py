import os

import pytest

from redis_atomic.client.connections import close_clients
from tests import settings as test_settings
from tests.servers import plain_client


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """A server that is shared takes one test at a time: each begins by emptying it."""
    return 0 if "REDIS_URL" in os.environ else None


#: Tests that look inside one server, put a proxy in front of it or stop it, or use
#: keys of several slots: what they show is shown for topologies by tests of their own.
ONE_SERVER = frozenset(
    [
        "test_a_cancelled_pipeline_does_not_say_that_nothing_was_executed",
        "test_a_lost_reply_makes_every_result_indeterminate",
        "test_a_million_units_that_expire_at_once_are_passed_over_quickly",
        "test_a_transfer_whose_reply_was_lost_is_asked_again_and_moved_once",
        "test_adjacent_decorators_make_one_call",
        "test_adjacent_decorators_on_a_method_make_one_call",
        "test_all_rules_that_apply_make_one_call",
        "test_an_acl_of_the_declared_keys_loses_the_wake_up_and_nothing_else",
        "test_an_error_belongs_to_its_call_and_the_neighbours_go_on",
        "test_many_other_keys_are_no_hindrance",
        "test_redis_down_is_never_an_error",
        "test_redis_down_is_never_an_error_in_async_code",
        "test_results_come_in_order_and_are_parsed",
        "test_what_was_charged_before_redis_died_is_lost_quietly",
        "test_without_memory_what_is_held_goes_on_and_what_is_new_is_refused",
    ]
)


def pytest_collection_modifyitems(config, items):
    if "REDIS_TOPOLOGY" in os.environ:
        skip = pytest.mark.skip(reason="is about one server")
        for item in items:
            if item.originalname in ONE_SERVER:
                item.add_marker(skip)


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
    close_clients()
