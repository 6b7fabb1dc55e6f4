"""Our pools: made from the alias's factory, without its retries, fork- and loop-safe."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from redis_atomic import Call, RawKey
from redis_atomic.client import connections as module
from redis_atomic.client.connections import Client, client_for
from redis_atomic.client.execution import arun, run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.client.server import netloc
from redis_atomic.scripting.script import PrefixedKey

CLIENT_ID = Call("CLIENT ID")


def connections(server_client) -> set[str]:
    return {client["id"] for client in server_client.client_list()}


def test_keys_are_the_cache_api_s_own(settings):
    cache = {**settings.CACHES["default"], "KEY_PREFIX": "shop", "VERSION": 3}
    settings.CACHES = {"default": cache}
    client = Client("default")
    assert client.make_key("k") == caches["default"].make_key("k").encode() == b"shop:3:k"
    assert client.make_key("k", version=9) == b"shop:9:k"
    assert client.make_key(RawKey("k")) == b"k"
    assert client.make_key(RawKey(b"\xff")) == b"\xff"
    assert client.make_key(PrefixedKey("k")) == b"shop:k"


def test_in_asyncio_too_a_blocking_pool_waits_for_a_free_connection(settings):
    async def together():
        async def one(number):
            async with Pipeline(client) as pipeline:
                result = pipeline.add(Call("INCRBY", (RawKey("n"),), (1,)))
            return result.value

        return await asyncio.gather(*map(one, range(30)))

    kwargs = {"max_connections": 3, "timeout": 20}
    options = {
        "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": kwargs,
    }
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": options}}
    client = Client("default")
    assert sorted(asyncio.run(together())) == list(range(1, 31))


def test_a_signal_handler_may_ask_for_a_client_while_one_is_made():
    with module._clients_lock:  # as its thread holds it then
        assert client_for("default", "of a handler").alias == "default"


def test_an_address_of_ipv6_stands_in_brackets():
    assert (netloc("::1", 6379), netloc("127.0.0.1", 6379)) == ("[::1]:6379", "127.0.0.1:6379")


def test_a_prefixed_key_without_prefix_is_the_name(settings):
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": ""}}
    assert Client("default").make_key(PrefixedKey("k")) == b"k"


def test_the_pool_is_never_the_cache_s_own():
    assert client_for("default").pool is not caches["default"].client.get_client().connection_pool


def test_each_purpose_has_its_own_pool_and_an_alias_is_connected_once():
    assert client_for("default") is client_for("default")
    assert client_for("default", "limits").pool is not client_for("default").pool


def test_a_time_out_bounds_connecting_and_reading_but_never_lengthens_it(settings):
    cache = {**settings.CACHES["default"], "OPTIONS": {"SOCKET_TIMEOUT": 0.1}}
    settings.CACHES = {"default": cache}
    kwargs = Client("default", timeout=0.25).pool.connection_kwargs
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (0.1, 0.25)


def test_a_cache_of_another_backend_is_a_clear_error():
    with pytest.raises(ImproperlyConfigured, match="'memory'] is not a django-redis cache"):
        Client("memory")


def test_changed_cache_settings_take_effect(settings):
    before = client_for("default")
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": "other"}}
    assert client_for("default") is not before
    assert client_for("default").key_prefix == "other"


def test_thirty_event_loops_one_after_another_leave_no_connection(server_client):
    before = connections(server_client)
    client = client_for("default")

    async def three_at_once():
        return await asyncio.gather(*(arun(client, Call("PING")) for _ in range(3)))

    for _ in range(30):
        assert asyncio.run(three_at_once()) == [b"PONG"] * 3
    give_up = time.monotonic() + 10  # the server hears of the last ones a little later
    while connections(server_client) != before:
        assert time.monotonic() < give_up
    assert len(client._apools) <= 1


async def test_a_loop_keeps_its_connection():
    client = client_for("default")
    assert await arun(client, CLIENT_ID) == await arun(client, CLIENT_ID)


async def test_a_connection_closed_while_idle_is_not_used(server_client):
    client = client_for("default")
    mine = await arun(client, CLIENT_ID)
    server_client.client_kill_filter(_id=mine)
    await asyncio.sleep(0.05)  # until the loop has seen it
    assert await arun(client, CLIENT_ID) != mine


def test_a_child_process_has_its_own_connection(settings):
    """In a process of its own: a fork of the test's own threads would be unsafe."""
    program = f"""
        import os, sys
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        os.environ["REDIS_URL"] = {settings.CACHES["default"]["LOCATION"]!r}
        import django
        django.setup()
        from redis_atomic import Call
        from redis_atomic.client.connections import client_for
        from redis_atomic.client.execution import run
        client = client_for("default")
        mine = run(client, Call("CLIENT ID"))
        pid = os.fork()
        if pid == 0:
            os._exit(0 if run(client, Call("CLIENT ID")) != mine else 7)
        _, status = os.waitpid(pid, 0)
        assert run(client, Call("CLIENT ID")) == mine
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_a_waiting_pool_of_the_project_s_choice_is_kept(settings):
    options = {
        "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": {"max_connections": 2},
    }
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": options}}
    client = Client("default")
    assert type(client.pool).__name__ == "BlockingConnectionPool"
    assert run(client, Call("PING")) == b"PONG"
    client.close()
