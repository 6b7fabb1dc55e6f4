"""docs/deployment.md: the permissions that it lists are enough, and one is missed in words."""

import asyncio
import re
import threading
import time
from pathlib import Path

import pytest

from redis_atomic import RateLimiter, redis_lock
from redis_atomic import operations as op
from redis_atomic.client.connections import Client, client_for, close_clients
from redis_atomic.client.execution import arun, run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.exceptions import NotExecuted
from redis_atomic.locks.inspection import lock_states
from redis_atomic.registry import scripts
from redis_atomic.scripting.script import Call, Script
from redis_atomic.testing import embedded_server
from redis_atomic.testing.cluster import embedded_cluster
from redis_atomic.testing.topology import ask

FACTORY = "redis_atomic.cluster.ClusterConnectionFactory"
PAGE = (Path(__file__).parent.parent / "docs/deployment.md").read_text()
READ = Script("read", b"return redis.call('GET', KEYS[1])", read_only=True)


def listed():
    """The rules that the page lists: of every user, and of those who do more."""
    first, second = re.findall(r"^```text\n((?:ACL|for scripts).*?)^```$", PAGE, re.M | re.S)
    return re.findall(r"\+\S+", first), re.findall(r"\+\S+", second)


def add_user(server, rules):
    """A user "shop" with these rules; as the page says, Redis 6.2 has no parts of commands."""
    info = ask(server, "INFO", "server")
    if "valkey_version" not in info:
        rules = [rule for rule in rules if rule != "+script|show"]
    if info["redis_version"].startswith("6."):
        rules = {rule.partition("|")[0] for rule in rules if rule != "+evalsha_ro"}
    ask(server, "ACL SETUSER", "shop", "on", ">secret", "~shop:*", "resetchannels", *rules)
    ask(server, "ACL LOG", "RESET")


def use(settings, location, **options):
    cache = {**settings.CACHES["default"], "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {"default": cache | {"KEY_PREFIX": "shop"}}


@pytest.fixture
def server(settings):
    with embedded_server(tcp=True) as server:
        use(settings, server.tcp_url.replace("//", "//shop:secret@"))
        yield server
        close_clients()


def denied(server):
    """The commands that were refused, but for redis-py's telling its name."""
    log = ask(server, "ACL LOG")
    refused = {entry["object"] for entry in log if entry["reason"] == "command"}
    return refused - {"client|setinfo", "client", "client|maint_notifications"}


def do_everything():
    assert op.increment("{7}n", 5, ttl=50) == 5
    assert op.increment("{7}n") == 6
    assert op.increment_with_max("{7}n", maximum=9).applied
    assert op.compare_and_swap("{7}c", None, "x", ttl=9).swapped
    assert op.compare_and_swap("{7}c", "x", None).swapped
    assert op.get_and_set("{7}c", "x", ttl=5) is None
    assert op.set_if_greater("{7}g", 5, ttl=5).stored
    assert op.transfer("{7}n", "{7}m", 1, request_id="r").moved
    assert op.hash_increment_multiple("{7}h", {"x": 1}, ttl=9) == {"x": 1}
    assert op.hash_get_or_create("{7}o", {"x": "1"}, ttl=9)[1]
    for algorithm in ("sliding_window", "token_bucket"):
        limiter = RateLimiter("5/h", name=algorithm, algorithm=algorithm)
        decision = limiter.hit("user:7")
        assert not decision.degraded
        limiter.refund(decision)
        limiter.reset("user:7")
    with redis_lock("report", ttl=5) as lease:
        waiter = threading.Thread(target=lambda: redis_lock("report", wait=9).acquire().release())
        waiter.start()
        end = time.monotonic() + 15
        while not redis_lock("report").info().waiting and time.monotonic() < end:
            time.sleep(0.01)
        lease.extend(to=9)
    waiter.join()
    with Pipeline(client_for("default")) as p:
        counted = p.add(op.increment.call("{7}p", ttl=5))
    assert counted.value == 1


def do_the_rest():
    with Pipeline(client_for("default"), transaction=True) as p:
        counted = p.add(op.increment.call("{7}p", ttl=5))
    assert counted.value == 2
    assert run(client_for("default"), Call(READ, ("nothing",))) is None
    assert lock_states() == []
    report = scripts.preload()
    assert report.exit_code == 0, report.as_text()
    assert [node.warnings for node in report.nodes] == [()] * len(report.nodes)


def test_a_user_with_what_the_page_lists_can_do_everything(server):
    everyone, more = listed()
    add_user(server, everyone)
    do_everything()
    assert denied(server) == set()
    add_user(server, everyone + more)
    do_the_rest()
    assert denied(server) == set()


def test_nothing_is_listed_that_is_not_needed(server):
    """Each command is used by a script of ours, or sent."""
    everyone, _ = listed()
    folder = Path(__file__).parent.parent / "redis_atomic/lua"
    used = {
        word.lower()
        for path in folder.glob("*.lua")
        for word in re.findall(r"redis\.p?call\('(\w+)'", path.read_text())
    }
    assert {rule[1:] for rule in everyone} == used | {"evalsha", "eval", "script|load", "blpop"}


def test_a_user_that_may_not_load_is_told_what_is_missing(server):
    everyone, _ = listed()
    add_user(server, [rule for rule in everyone if rule != "+script|load"])
    for execute in (run, lambda *call: asyncio.run(arun(*call))):
        with pytest.raises(NotExecuted, match=r"may not load it.*\+script\|load"):
            execute(Client("default"), Call(READ, ("k",)))


def test_on_a_cluster_too(settings):
    everyone, more = listed()
    with embedded_cluster(primaries=1, replicas=1) as cluster:
        urls = [url.replace("//", "//shop:secret@") for url in cluster.urls]
        use(settings, urls, CONNECTION_FACTORY=FACTORY)
        for server in cluster.servers:
            add_user(server, everyone + more)
        do_everything()
        do_the_rest()
        assert [denied(server) for server in cluster.servers] == [set(), set()]
        close_clients()
