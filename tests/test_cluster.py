"""On a Redis Cluster: routing, redirections, failover, pipelines, the cache API."""

import asyncio
import threading
from operator import le

import pytest
import redis
from django.core.cache import caches
from django.core.management import call_command
from redis.crc import key_slot

from redis_atomic import Call, RawKey
from redis_atomic.client.connections import Client, client_for, close_clients
from redis_atomic.client.execution import arun, run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.client.preload import preload
from redis_atomic.exceptions import CrossSlot, IndeterminateResult, NotExecuted, ScriptError
from redis_atomic.operations import increment, transfer
from redis_atomic.scripting.script import Script
from redis_atomic.testing.cluster import embedded_cluster, node_id
from redis_atomic.testing.proxy import lost_reply_proxy
from redis_atomic.testing.topology import ask, wait_until

FACTORY = "redis_atomic.cluster.ClusterConnectionFactory"
INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")
SUM = Script("sum", b"return redis.call('INCRBY', KEYS[1], redis.call('INCR', KEYS[2]))")
HOLD = Script("hold", b"-- keys: stock *holds\nreturn #KEYS")
SOLD_OUT = Script(
    "sold out", b"redis.call('INCR', KEYS[1]) return redis.error_reply('TRYAGAIN sold out')"
)
KEYS = [f"k{n}" for n in range(30)]  # on all primaries


@pytest.fixture(scope="module")
def cluster():
    with embedded_cluster() as cluster:
        yield cluster


@pytest.fixture
def settings_for(settings, cluster):
    """Make the default cache one of this cluster, with these options."""

    def use(**options):
        cache = {**settings.CACHES["default"], "LOCATION": cluster.urls}
        cache["OPTIONS"] = {"CONNECTION_FACTORY": FACTORY, **options}
        settings.CACHES = {"default": cache}

    yield use
    close_clients()
    for server in cluster.servers:
        if not server.is_running:
            server.start()
    cluster.wait_until_healthy()
    for server in cluster.servers:
        if ask(server, "ROLE")[0] == b"master":
            ask(server, "FLUSHALL")


@pytest.fixture
def client(settings_for):
    settings_for()
    return Client("default")


@pytest.fixture(params=["sync", "asyncio"])
def execute(request):
    """Execute a call, by threads' connections or by an event loop's."""
    if request.param == "sync":
        return run
    return lambda client, call: asyncio.run(arun(client, call))


def key_of(cluster, server):
    """A key that this server serves."""
    return next(
        key for key in KEYS if cluster.primary_of(key_slot(f"tests:1:{key}".encode())) is server
    )


def test_calls_find_their_nodes(client, cluster, execute):
    assert [execute(client, Call(INCR, (key,))) for key in KEYS] == [1] * len(KEYS)
    sizes = [ask(server, "DBSIZE") for server in cluster.servers[:3]]
    assert all(sizes)
    assert sum(sizes) == len(KEYS)


def test_a_call_without_keys_goes_to_any_primary(client, execute):
    assert execute(client, Call(Script("one", b"return 1"))) == 1
    assert execute(client, Call("PING")) == b"PONG"


def test_a_node_that_lost_its_scripts_is_told_again(client, cluster, execute):
    execute(client, Call(INCR, ("k",)))
    for server in cluster.servers:
        ask(server, "SCRIPT FLUSH")
    assert execute(client, Call(INCR, ("k",))) == 2


def test_keys_of_two_slots_are_refused_before_sending(client, cluster, execute):
    with pytest.raises(
        CrossSlot, match=r"'sum' must .*'tests:1:a' in slot \d+.*hash tag"
    ) as excinfo:
        execute(client, Call(SUM, ("a", "b")))
    assert isinstance(excinfo.value, ValueError)
    assert not any(ask(server, "DBSIZE") for server in cluster.servers)
    assert execute(client, Call(SUM, ("{t}a", "{t}b"))) == 1


def test_the_parameters_of_keys_apart_are_named(client):
    with pytest.raises(CrossSlot, match=r"source='tests:1:a' in slot .*destination='tests:1:b' in"):
        transfer("a", "b", 5)
    with pytest.raises(CrossSlot, match=r"stock='a' in slot \d+, holds\[0\]='a' .*holds\[1\]='b'"):
        run(client, Call(HOLD, (RawKey("a"), RawKey("a"), RawKey("b"))))
    with pytest.raises(CrossSlot, match="must lie in one slot: 'a' in slot"):
        run(client, Call("MSET", (RawKey("a"), RawKey("b"))))


def test_operations_work_where_their_keys_lie_together(client, execute):
    assert increment("{7}a", 10) == 10
    moved = execute(client, transfer.call("{7}a", "{7}b", 4, request_id="r1"))
    again = execute(client, transfer.call("{7}a", "{7}b", 4, request_id="r1"))
    assert (moved.source, moved.destination) == (6, 4) == (again.source, again.destination)


def test_any_node_of_location_will_do(client, cluster, settings, execute):
    dead = "redis://127.0.0.1:1"
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "LOCATION": [dead, dead, cluster.urls[4]]}}
    assert execute(Client("default"), Call(INCR, ("k",))) == 1


def test_a_server_that_is_no_cluster_says_so(settings):
    cache = {**settings.CACHES["default"], "OPTIONS": {"CONNECTION_FACTORY": FACTORY}}
    with redis.Redis.from_url(cache["LOCATION"]) as single:
        single.ping()
    from redis_atomic.testing import embedded_server

    with embedded_server(tcp=True) as server:
        settings.CACHES = {"default": {**cache, "LOCATION": server.tcp_url}}
        with pytest.raises(NotExecuted, match="cluster support disabled"):
            run(Client("default"), Call(INCR, ("k",)))


# --- Slots that move


@pytest.fixture
def moving(client, cluster):
    """Slot of the tag {m}, with 20 keys: its source, its target, and how to move it."""
    slot = key_slot(b"m")
    for n in range(20):
        run(client, Call(INCR, (RawKey(f"{{m}}{n}"),)))
    return Moving(cluster, slot)


class Moving:
    """A slot on its way from one node to another, at the pace of the test."""

    def __init__(self, cluster, slot):
        self.cluster, self.slot = cluster, slot
        self.source = cluster.primary_of(slot)
        primaries = {cluster.primary_of(each) for each in (0, 6000, 12000)}
        self.target = min(primaries - {self.source}, key=lambda each: each.port)

    def begin(self):
        ask(self.target, "CLUSTER SETSLOT", self.slot, "IMPORTING", node_id(self.source))
        ask(self.source, "CLUSTER SETSLOT", self.slot, "MIGRATING", node_id(self.target))

    def move(self, *keys):
        for key in keys:
            ask(self.source, "MIGRATE", "127.0.0.1", self.target.port, key, 0, 5000)

    def end(self):
        for server in (self.target, self.source):
            ask(server, "CLUSTER SETSLOT", self.slot, "NODE", node_id(self.target))

    def move_all(self):
        self.begin()
        while keys := ask(self.source, "CLUSTER GETKEYSINSLOT", self.slot, 5):
            self.move(*keys)
        self.end()


def test_a_moved_slot_is_followed_and_remembered(client, moving, execute):
    moving.move_all()
    assert execute(client, Call(INCR, (RawKey("{m}3"),))) == 2
    assert client.topology._owners[moving.slot][1] == moving.target.port
    assert execute(client, Call(INCR, (RawKey("{m}3"),))) == 3


def test_a_moving_slot_is_asked_for_key_by_key(client, moving, execute):
    moving.begin()
    moving.move("{m}1", "{m}2")
    assert execute(client, Call(INCR, (RawKey("{m}0"),))) == 2  # still at the source
    assert execute(client, Call(INCR, (RawKey("{m}1"),))) == 2  # ASK; the script was not there
    assert execute(client, Call("INCRBY", (RawKey("{m}2"),), (5,))) == 6
    assert execute(client, Call(SUM, (RawKey("{m}1"), RawKey("{m}2")))) == 9
    assert client.topology._owners[moving.slot][1] == moving.source.port
    moving.move_all()


def test_keys_on_both_sides_are_waited_for(client, moving, execute):
    moving.begin()
    moving.move("{m}1")
    timer = threading.Timer(0.3, moving.move_all)
    timer.start()
    assert execute(client, Call(SUM, (RawKey("{m}0"), RawKey("{m}1")))) == 3
    timer.join()


def test_waiting_ends_with_the_budget(settings_for, moving, execute):
    settings_for(SOCKET_TIMEOUT=0.3)
    moving.begin()
    moving.move("{m}1")
    with pytest.raises(NotExecuted, match=r"TRYAGAIN|ASK"):  # Redis 6.2 says both in turn
        execute(Client("default"), Call(SUM, (RawKey("{m}0"), RawKey("{m}1"))))
    moving.move_all()


def test_a_script_that_says_tryagain_itself_was_executed_once(client, cluster, execute):
    with pytest.raises(ScriptError, match="sold out"):
        execute(client, Call(SOLD_OUT, (RawKey("{s}n"),)))
    assert ask(cluster.primary_of(key_slot(b"s")), "GET", "{s}n") == b"1"


# --- Failover


@pytest.mark.stress
def test_a_promoted_replica_is_found_within_the_budget(settings_for, cluster, execute):
    settings_for(SOCKET_TIMEOUT=15)
    client = Client("default")
    primary = cluster.servers[0]
    if ask(primary, "ROLE")[0] != b"master":
        primary = cluster.primary_of(0)
    key = key_of(cluster, primary)
    execute(client, Call(INCR, (key,)))
    wait_until(lambda: ask(cluster.replicas_of(primary)[0], "DBSIZE") == 1)
    primary.kill()
    assert execute(client, Call(INCR, (key,))) == 2


@pytest.mark.stress
def test_a_dead_primary_without_time_is_not_executed(settings_for, cluster, execute):
    settings_for(SOCKET_TIMEOUT=0.2)
    client = Client("default")
    primary = cluster.primary_of(0)
    key, other = key_of(cluster, primary), key_of(cluster, cluster.primary_of(16383))
    execute(client, Call(INCR, (key,)))
    primary.kill()
    with pytest.raises(NotExecuted):
        execute(client, Call(INCR, (key,)))
    assert execute(client, Call(INCR, (other,))) == 1


def test_a_lost_reply_is_told_and_never_asked_again(settings, settings_for, cluster, execute):
    """Through a proxy in front of one node: the address of the others is what it says."""
    settings_for()
    server = cluster.primary_of(0)
    key = key_of(cluster, server)
    with lost_reply_proxy(server.tcp_url) as proxy:
        client = Client("default")
        execute(client, Call(INCR, (key,)))
        address = ("127.0.0.1", server.port)
        node = client.topology._node(address)
        through = ("127.0.0.1", int(proxy.url.split(":")[2].split("/")[0]))
        client.topology._nodes[address] = client.topology._node(through)
        execute(client, Call(INCR, (key,)))
        proxy.lose_replies(containing=b"EVALSHA")
        with pytest.raises(IndeterminateResult, match="executed once or not at all"):
            execute(client, Call(INCR, (key,)))
        client.topology._nodes[address] = node
    assert ask(server, "GET", f"tests:1:{key}") == b"3"


# --- Pipelines


def values(client, calls, mode, transaction=False):
    pipeline = Pipeline(client, transaction=transaction)
    results = [pipeline.add(call) for call in calls]
    if mode == "sync":
        pipeline.execute()
    else:
        asyncio.run(pipeline.aexecute())
    return [result.value for result in results]


@pytest.fixture(params=["sync", "asyncio"])
def mode(request):
    return request.param


def test_a_pipeline_is_spread_over_the_nodes_and_gathered_in_order(client, mode):
    calls = [Call(INCR, (key,)) for key in KEYS] * 2
    assert values(client, calls, mode) == [1] * len(KEYS) + [2] * len(KEYS)


def test_a_pipeline_follows_moving_keys(client, moving, mode):
    moving.begin()
    moving.move("{m}1", "{m}2", "{m}3")
    calls = [Call(INCR, (RawKey(f"{{m}}{n}"),)) for n in range(6)]
    assert values(client, [*calls, Call(INCR, ("k1",))], mode) == [2] * 6 + [1]
    moving.move_all()
    assert values(client, calls, mode) == [3] * 6


def test_a_transaction_keeps_to_one_slot(client, mode, moving):
    same = [Call(INCR, (RawKey(f"{{m}}{n}"),)) for n in range(3)]
    assert values(client, same, mode, transaction=True) == [2, 2, 2]
    moving.move_all()
    assert values(client, same, mode, transaction=True) == [3, 3, 3]
    with pytest.raises(CrossSlot):
        values(client, [*same, Call(INCR, ("k1",))], mode, transaction=True)


def test_a_transaction_follows_a_moving_slot(client, mode, moving):
    moving.begin()
    moving.move("{m}1", "{m}2")
    moved = [Call(INCR, (RawKey(f"{{m}}{n}"),)) for n in (1, 2)]
    assert values(client, moved, mode, transaction=True) == [2, 2]
    moving.move_all()


def test_a_call_of_two_slots_is_refused_when_added(client):
    with pytest.raises(CrossSlot):
        Pipeline(client).add(Call(SUM, ("a", "b")))


# --- Who is there


def test_all_nodes_are_known_by_role(client, cluster):
    servers = client.topology.servers()
    assert [role for role, _ in servers] == ["primary"] * 3 + ["replica"] * 3
    assert {node.address[1] for _, node in servers} == {each.port for each in cluster.servers}


def test_thirty_event_loops_leave_no_connection_to_any_node(client, cluster):
    def connections():
        return [len(ask(server, "CLIENT LIST")) for server in cluster.servers]

    async def several():
        await asyncio.gather(*(arun(client, Call(INCR, (key,))) for key in KEYS))

    before = connections()
    for _ in range(30):
        asyncio.run(several())
    # A server hears of the end of a connection a moment later.
    wait_until(lambda: all(map(le, connections(), before)))


# --- The cache API


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts")  # redis-py 6.0 warns itself
def test_the_cache_api_works(client):
    cache = caches["default"]
    many = {str(n): n for n in range(20)}
    cache.set_many(many)
    assert cache.get_many(many) == many
    assert cache.incr("7", 5) == 12
    assert cache.decr("7") == 11
    assert cache.add("7", 1) is False
    assert cache.delete_many(["1", "2", "3"]) == 3
    assert cache.touch("7", 50)
    assert cache.ttl("7") <= 50
    assert cache.incr_version("7") == 2
    assert cache.get("7", version=2) == 11
    assert sorted(cache.keys("1?")) == [f"1{n}" for n in range(10)]
    assert cache.delete_pattern("1*") == 10
    assert cache.get_or_set("new", "x") == "x"
    with cache.lock("section", timeout=5, blocking_timeout=1):
        assert cache.has_key("section")
    cache.clear()
    assert cache.get("4") is None


@pytest.mark.parametrize(
    ("method", "arguments"), [("sunion", "ab"), ("smove", "abc"), ("sinterstore", "dab")]
)
def test_what_the_cache_api_cannot_do_says_why(client, method, arguments):
    with pytest.raises(CrossSlot, match="hash tag"):
        getattr(caches["default"], method)(*arguments)


def test_the_cache_and_our_calls_share_keys(client):
    caches["default"].set("hits", 41)
    assert run(client_for("default"), Call(INCR, ("hits",))) == 42
    assert caches["default"].get("hits") == 42


# --- Preloading


def test_scripts_are_preloaded_on_replicas_too(client, cluster, capsys):
    for server in cluster.servers:
        ask(server, "SCRIPT FLUSH")
    reports = preload(client, [INCR])
    assert [each.outcomes[0].state for each in reports[:3]] == ["loaded"] * 3
    # Redis 6.2 replicates scripts itself.
    assert {each.outcomes[0].state for each in reports[3:]} <= {"loaded", "present"}
    assert all(ask(server, "SCRIPT EXISTS", INCR.sha) == [True] for server in cluster.servers)
    call_command("preload_scripts", check=False)
    told = capsys.readouterr()
    assert "node 6 of 6, 127.0.0.1:" in told.err
    assert told.out.count(" replica\n") == 3


def test_preloading_tells_of_a_node_that_is_down(settings_for, cluster):
    settings_for(SOCKET_TIMEOUT=1)
    replica = next(each for each in cluster.servers if ask(each, "ROLE")[0] == b"slave")
    replica.pause()
    try:
        reports = preload(Client("default"), [INCR])
    finally:
        replica.resume()
    assert sum(each.error is not None for each in reports) == 1


def test_preloading_without_any_node_is_one_message(settings, settings_for):
    settings_for(SOCKET_TIMEOUT=0.2)
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "LOCATION": "redis://127.0.0.1:1"}}
    (report,) = preload(Client("default"), [INCR])
    assert "told the cluster's slots" in report.error
