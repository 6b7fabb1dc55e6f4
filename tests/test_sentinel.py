"""Behind Sentinels: the master is found, a failover waited for, sync and asyncio."""

import asyncio
import re
import time
from operator import le

import pytest
import redis

from redis_atomic import Call
from redis_atomic.client.connections import Client, close_clients
from redis_atomic.client.execution import arun, run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.client.preload import preload
from redis_atomic.client.travel import drive, exchange
from redis_atomic.exceptions import NotExecuted
from redis_atomic.scripting.script import Script
from redis_atomic.testing.sentinels import embedded_sentinels
from redis_atomic.testing.topology import ask, wait_until

INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")
OPTIONS = {
    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
    "CLIENT_CLASS": "django_redis.client.SentinelClient",
}


@pytest.fixture(scope="module")
def running():
    with embedded_sentinels() as sentinels:
        yield sentinels


def use(settings, sentinels, **options):
    cache = {**settings.CACHES["default"], "LOCATION": sentinels.url}
    cache["OPTIONS"] = {**OPTIONS, "SENTINELS": sentinels.addresses, **options}
    settings.CACHES = {"default": cache}
    return Client("default")


@pytest.fixture
def client(settings, running):
    ask(running.master, "FLUSHALL")
    yield use(settings, running)
    close_clients()


@pytest.fixture(params=["sync", "asyncio"])
def execute(request):
    if request.param == "sync":
        return run
    return lambda client, call: asyncio.run(arun(client, call))


def test_calls_reach_the_master(client, running, execute):
    assert [execute(client, Call(INCR, ("n",))) for _ in range(3)] == [1, 2, 3]
    assert ask(running.master, "GET", "tests:1:n") == b"3"


def test_a_pipeline_reaches_the_master(client):
    with Pipeline(client, transaction=True) as p:
        results = [p.add(Call(INCR, ("n",))) for _ in range(3)]
    assert [result.value for result in results] == [1, 2, 3]


async def test_an_asyncio_pipeline_reaches_the_master(client):
    async with Pipeline(client) as p:
        results = [p.add(Call(INCR, ("n",))) for _ in range(3)]
    assert [result.value for result in results] == [1, 2, 3]


def test_a_dead_sentinel_costs_no_time(client, running, settings, execute):
    addresses = [("127.0.0.1", 1), *running.addresses]
    client = use(settings, running, SENTINELS=addresses)
    began = time.monotonic()
    assert execute(client, Call(INCR, ("n",))) == 1
    assert time.monotonic() - began < 2


def test_the_master_and_its_replicas_are_known(client, running):
    servers = dict(client.topology.servers())
    assert set(servers) == {"master", "replica"}
    role = drive(servers["replica"].send([("ROLE",)]))[0]
    assert role[0] == b"slave"


def test_event_loops_leave_no_connection(client, running):
    def connections():
        return [
            len(ask(server, "CLIENT LIST")) for server in (running.master, running.sentinels[0])
        ]

    async def several():
        await asyncio.gather(*(arun(client, Call(INCR, ("n",))) for _ in range(5)))

    before = connections()
    for _ in range(10):
        asyncio.run(several())
    # A server hears of the end of a connection a moment later.
    wait_until(lambda: all(map(le, connections(), before)))


def test_an_unknown_service_is_not_executed_and_said(settings, running, execute):
    use(settings, running, SOCKET_TIMEOUT=0.2)
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://nobody/0"}}
    with pytest.raises(NotExecuted, match="No master found for 'nobody'"):
        execute(Client("default"), Call(INCR, ("n",)))


@pytest.mark.stress
async def test_a_demoted_master_is_left_and_the_new_one_found(settings):
    """READONLY is an answer ("not executed"), and the call goes on to the new master."""
    with embedded_sentinels() as sentinels:
        client = use(settings, sentinels, SOCKET_TIMEOUT=15)
        assert [run(client, Call(INCR, ("n",))), await arun(client, Call(INCR, ("n",)))] == [1, 2]
        old, new = sentinels.servers
        wait_until(lambda: ask(new, "GET", "tests:1:n") == b"2")
        ask(old, "REPLICAOF", "127.0.0.1", new.port)  # before the Sentinels know of it
        failover = asyncio.to_thread(
            ask, sentinels.sentinels[0], "SENTINEL FAILOVER", sentinels.service
        )
        await failover
        assert await arun(client, Call(INCR, ("n",))) == 3
        assert run(client, Call(INCR, ("n",))) == 4
        assert ask(new, "GET", "tests:1:n") == b"4"
        close_clients()


@pytest.mark.stress
@pytest.mark.parametrize("way", ["sync", "asyncio"])
def test_a_dead_master_is_replaced_within_the_budget(settings, way):
    with embedded_sentinels() as sentinels:
        client = use(settings, sentinels, SOCKET_TIMEOUT=15)

        async def both():
            first = await arun(client, Call(INCR, ("n",)))
            wait_until(lambda: ask(sentinels.servers[1], "DBSIZE") == 1)
            await asyncio.to_thread(sentinels.master.kill)  # the loop sees the connection end
            return first, await arun(client, Call(INCR, ("n",)))

        if way == "asyncio":
            assert asyncio.run(both()) == (1, 2)
        else:
            assert run(client, Call(INCR, ("n",))) == 1
            wait_until(lambda: ask(sentinels.servers[1], "DBSIZE") == 1)
            sentinels.master.kill()
            assert run(client, Call(INCR, ("n",))) == 2
        close_clients()


def test_a_command_about_scripts_is_sent_once(client, running, execute):
    ask(running.master, "CONFIG RESETSTAT")
    assert execute(client, Call("SCRIPT EXISTS", (), ("0" * 40,))) == [0]
    told = ask(running.master, "INFO commandstats")
    assert re.findall(rb"cmdstat_script\S*:calls=(\d+)", told) == [b"1"]


def test_the_servers_are_spoken_to_as_the_user_of_the_address(running, settings):
    user = {"enabled": True, "passwords": ["+p w@"], "keys": ["*"], "categories": ["+@all"]}
    for server in running.servers:
        with redis.Redis.from_url(server.url) as admin:
            admin.acl_setuser("app", **user)
    use(settings, running)
    cache = settings.CACHES["default"]
    with_user = cache["LOCATION"].replace("://", "://app:p%20w%40@")
    settings.CACHES = {"default": cache | {"LOCATION": with_user}}
    for _, server in Client("default").topology.servers():
        assert exchange(server, [("ACL", "WHOAMI")]) == [b"app"]


def test_a_password_may_be_written_as_a_number(running, settings):
    user = {"enabled": True, "passwords": ["+1234"], "keys": ["*"], "categories": ["+@all"]}
    for server in running.servers:
        with redis.Redis.from_url(server.url) as admin:
            admin.acl_setuser("numbers", **user)
    options = {"PASSWORD": 1234, "CONNECTION_POOL_KWARGS": {"username": "numbers"}}
    for _, server in use(settings, running, **options).topology.servers():
        assert exchange(server, [("ACL", "WHOAMI")]) == [b"numbers"]


def test_scripts_are_preloaded_on_the_replica_too(client, running):
    for server in running.servers:
        ask(server, "SCRIPT FLUSH")
    reports = preload(client, [INCR])
    # Redis 6.2 replicates scripts itself.
    assert reports[0].outcomes[0].state == "loaded"
    assert {each.outcomes[0].state for each in reports} <= {"loaded", "present"}
    assert all(ask(server, "SCRIPT EXISTS", INCR.sha) == [True] for server in running.servers)
