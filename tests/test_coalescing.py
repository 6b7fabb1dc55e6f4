"""Script calls of one event loop over one connection: order, cancellations, losses, fairness."""

import asyncio
import contextlib
import contextvars
import gc
import os
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections import Counter

import pytest
import redis
from redis._parsers import _AsyncRESP2Parser, _AsyncRESP3Parser

from redis_atomic import Call, RawKey
from redis_atomic.client import coalescing, shared_connection
from redis_atomic.client.connections import Client, client_for
from redis_atomic.client.execution import arun
from redis_atomic.exceptions import IndeterminateResult, NotExecuted, ScriptError
from redis_atomic.scripting.script import Script
from redis_atomic.testing import EmbeddedServer, lost_reply_proxy, override

pytestmark = [
    pytest.mark.skipif("REDIS_TOPOLOGY" in os.environ, reason="is about one server"),
    pytest.mark.skipif(
        os.environ.get("REDIS_ATOMIC_LEAN_CALLS") == "0", reason="is about the lean call"
    ),
]

ECHO = Script("echo", b"return ARGV[1]")
ONCE = Script("once", b"return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)")
LENGTH = Script("length", b"return #ARGV[1]", read_only=True)

DONE = RawKey("done")
PARSERS = [None, _AsyncRESP2Parser, _AsyncRESP3Parser]


def echo(client, text):
    return arun(client, Call(ECHO, (), (text,)))


def once(client, name):
    """Count how often the call of this name is executed."""
    return arun(client, Call(ONCE, (DONE,), (name,)))


def counts(server_client):
    return {name.decode(): int(n) for name, n in server_client.hgetall("done").items()}


def connections(server_client):
    return {client["id"] for client in server_client.client_list()}


def connections_made(server_client):
    return server_client.info("stats")["total_connections_received"]


def turns(server_client):
    """How often the server has read from a socket."""
    return server_client.info("stats")["total_reads_processed"]


async def parse_by(parser, client):
    """Let redis-py parse as it does without hiredis. None: as it does here."""
    if parser is not None:
        kwargs = (await client.apool()).connection_kwargs
        kwargs |= {"parser_class": parser, "protocol": 3 if parser is _AsyncRESP3Parser else 2}


async def gathered(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def warm(client):
    """Connect, and have the scripts loaded."""
    await echo(client, "")
    await once(client, "warm")


async def executed(server, client, count):
    """So many calls, written and executed, of whose replies none has been read."""
    shared = await client.multiplexer()
    server.pause()
    calls = asyncio.gather(*(once(client, f"n{n}") for n in range(count)))
    await asyncio.sleep(0)  # all have asked
    while shared._waiting:
        await asyncio.sleep(0)
    server.resume()
    with redis.Redis.from_url(server.url) as server_client:
        while len(counts(server_client)) <= count:  # the loop stands still meanwhile
            pass
        server_client.ping()  # by then it has written all replies
    return calls


@pytest.fixture
def client_to(settings):
    """A function that makes a client of the server at this address."""

    def make(url, **options):
        cache = {**settings.CACHES["default"], "LOCATION": url, "OPTIONS": options}
        settings.CACHES = {"default": cache}
        return Client("default")

    return make


@pytest.fixture
def proxied(settings, client_to):
    """A function that makes a client which reaches the server through a losing proxy."""
    with lost_reply_proxy(settings.CACHES["default"]["LOCATION"]) as proxy:
        yield lambda **options: (client_to(proxy.url, **options), proxy)


# One connection, two writes


async def test_plain_commands_are_of_them(server_client):
    client = client_for("default")
    await warm(client)
    before, reads = connections(server_client), turns(server_client)
    calls = [arun(client, Call("INCRBY", (RawKey("n"),), (1,))) for _ in range(50)]
    calls += [once(client, "n") for _ in range(50)]
    assert await asyncio.gather(*calls) == [*range(1, 51), *range(1, 51)]
    assert turns(server_client) - reads <= 10
    assert connections(server_client) == before


async def test_a_lost_reply_is_told_by_the_name_of_its_command(proxied):
    client, proxy = proxied()
    await warm(client)
    proxy.lose_replies(containing=b"INCRBY")
    told = await gathered(arun(client, Call("INCRBY", (RawKey("n"),), (1,))), once(client, "a"))
    assert "did not answer INCRBY" in str(told[0])
    assert "did not answer EVALSHA" in str(told[1])


async def test_calls_that_are_ready_together_are_two_writes_on_one_connection(server_client):
    client = client_for("default")
    before = connections(server_client)
    await warm(client)
    reads = turns(server_client)
    replies = await asyncio.gather(*(echo(client, f"n{n}") for n in range(100)))
    assert replies == [b"n%d" % n for n in range(100)]
    # Two for the hundred, one for the question (the kernel may cut what is written).
    assert turns(server_client) - reads <= 10
    assert len(connections(server_client) - before) == 1


async def test_the_first_half_is_on_its_way_while_the_second_is_still_asking():
    client = client_for("default")
    await warm(client)
    shared = await client.multiplexer()
    sent = []

    async def ask(n):
        reply = once(client, f"n{n}")
        sent.append(len(shared._connection._sent))
        return await reply

    await asyncio.gather(*map(ask, range(40)))  # tells how many ask in a turn
    sent.clear()
    await asyncio.gather(*map(ask, range(40, 80)))
    assert sent == [0] * 20 + [20] * 20
    await ask(80)
    sent.clear()
    await asyncio.gather(*map(ask, range(90, 100)))
    fewest = coalescing.MIN_CALLS
    assert sent == [0] * fewest + [fewest] * (10 - fewest)


async def test_the_order_of_the_calls_is_kept():
    client, script = (
        client_for("default"),
        Script("push", b"return redis.call('RPUSH', KEYS[1], 1)"),
    )
    await arun(client, Call(script, ("k",)))
    lengths = await asyncio.gather(*(arun(client, Call(script, ("k",))) for _ in range(1000)))
    assert lengths == list(range(2, 1002))


@pytest.mark.parametrize("parser", PARSERS)
async def test_large_and_small_replies_go_to_those_who_asked(parser):
    client = client_for("default")
    await parse_by(parser, client)
    texts = [str(n) * random.choice([1, 1, 10, 1000, 300_000]) for n in range(100)]
    assert await asyncio.gather(*(echo(client, text) for text in texts)) == [
        text.encode() for text in texts
    ]


async def test_an_error_is_told_to_the_caller_who_made_it():
    client = client_for("default")
    fail = Script("fail", b"return redis.error_reply('OOPS ' .. ARGV[1])")
    calls = [
        arun(client, Call(fail, (), (str(n),))) if n % 3 == 0 else echo(client, str(n))
        for n in range(60)
    ]
    for n, outcome in enumerate(await gathered(*calls)):
        if n % 3 == 0:
            assert isinstance(outcome, ScriptError)
            assert (outcome.code, outcome.message) == ("OOPS", str(n))
        else:
            assert outcome == str(n).encode()


@pytest.mark.parametrize("parser", PARSERS)
async def test_a_server_that_is_still_loading_has_not_executed_anything(parser):
    client = client_for("default")
    await parse_by(parser, client)
    loading = Script(
        "loading", b"return redis.error_reply('LOADING Redis is loading the dataset in memory')"
    )
    assert await echo(client, "before") == b"before"
    (outcome,) = await gathered(arun(client, Call(loading)))
    assert isinstance(outcome, NotExecuted)
    assert await echo(client, "after") == b"after"


@pytest.mark.parametrize("parser", PARSERS)
async def test_a_reply_that_redis_py_takes_for_the_end_of_the_connection_is_that(parser):
    client = client_for("default")
    await parse_by(parser, client)
    refused = Script("full", b"return redis.error_reply('ERR max number of clients reached')")
    assert await echo(client, "before") == b"before"
    (outcome,) = await gathered(arun(client, Call(refused)))
    assert isinstance(outcome, IndeterminateResult)
    assert await echo(client, "after") == b"after"


async def test_what_cannot_be_sent_fails_alone():
    client = client_for("default")
    good, bad, other = await gathered(echo(client, "1"), echo(client, "\ud800"), echo(client, "2"))
    assert (good, other) == (b"1", b"2")
    assert isinstance(bad, UnicodeEncodeError)


async def test_a_command_that_blocks_does_not_hold_up_the_scripts(server_client):
    client = client_for("default")
    waiting = asyncio.create_task(arun(client, Call("BLPOP", (RawKey("list"),), (30,))))
    while not server_client.info("clients")["blocked_clients"]:
        await asyncio.sleep(0.01)
    assert await echo(client, "meanwhile") == b"meanwhile"
    server_client.rpush("list", "x")
    assert await waiting == [b"list", b"x"]


async def test_others_on_the_loop_have_their_turn_between_the_batches():
    client = client_for("default")
    await warm(client)
    calls = asyncio.gather(*(echo(client, "x") for _ in range(5000)))
    await asyncio.sleep(0)
    turns_of_others = 0
    while not calls.done():
        turns_of_others += 1
        await asyncio.sleep(0)
    assert turns_of_others >= 5000 // coalescing.MAX_CALLS


async def test_others_on_the_loop_have_their_turn_while_many_replies_are_read(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url)
        await warm(client)
        calls = await executed(server, client, 1000)
        turns_of_others = 0
        while not calls.done():
            turns_of_others += 1
            await asyncio.sleep(0)
        assert turns_of_others >= 1000 // shared_connection.MAX_REPLIES


async def test_with_lean_calls_off_each_call_has_a_connection_of_the_pool(server_client):
    with override(LEAN_CALLS=False):
        client = Client("default")
        await warm(client)
        reads = turns(server_client)
        await asyncio.gather(*(echo(client, "x") for _ in range(20)))
        assert turns(server_client) - reads >= 20


async def test_read_only_scripts_are_called_together_on_servers_that_have_no_command_for_them():
    """On Redis 6.2 all of them meet with "unknown command", whoever is told first."""
    client, call = Client("default"), Call(LENGTH, (), ("four",))
    assert await asyncio.gather(*(arun(client, call) for _ in range(20))) == [4] * 20


# Cancelled callers


async def test_a_call_that_is_cancelled_before_it_was_written_is_never_sent(server_client):
    client = client_for("default")
    await warm(client)
    tasks = [asyncio.create_task(once(client, f"n{n}")) for n in range(10)]
    await asyncio.sleep(0)  # all have asked, and the rest is written in the next turn
    written = coalescing.MIN_CALLS
    for task in tasks[written::2]:
        task.cancel()
    outcomes = await gathered(*tasks)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[written::2])
    sent = [*range(written), *range(written + 1, 10, 2)]
    assert [outcomes[n] for n in sent] == [1] * len(sent)
    assert counts(server_client) == {"warm": 1, **{f"n{n}": 1 for n in sent}}


async def test_a_call_that_is_cancelled_while_connecting_is_never_sent(server_client):
    task = asyncio.create_task(once(client_for("default"), "gone"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await gathered(task)
    await warm(client_for("default"))
    assert counts(server_client) == {"warm": 1}


async def test_the_reply_of_a_caller_who_has_gone_is_dropped(proxied, server_client, monkeypatch):
    monkeypatch.setattr(shared_connection, "GRACE", 60)  # however slow the machine is
    client, proxy = proxied()
    await warm(client)
    before = connections(server_client)
    proxy.delay = 0.1
    tasks = [asyncio.create_task(once(client, f"n{n}")) for n in range(4)]
    while len(counts(server_client)) < 5:  # all are executed, and no reply is back
        await asyncio.sleep(0.01)
    tasks[0].cancel()
    tasks[2].cancel()
    tasks.append(asyncio.create_task(once(client, "joins them")))
    outcomes = await gathered(*tasks)
    assert (outcomes[1], outcomes[3], outcomes[4]) == (1, 1, 1)
    assert await once(client, "n0") == 2
    assert connections(server_client) == before


async def test_a_caller_who_gives_up_in_time_harms_nobody(proxied):
    client, proxy = proxied(SOCKET_TIMEOUT=30)
    await warm(client)
    proxy.delay = 0.3

    async def hasty():
        async with asyncio.timeout(0.05):
            await echo(client, "hasty")

    hurried, patient = await gathered(hasty(), echo(client, "patient"))
    assert isinstance(hurried, TimeoutError)
    assert patient == b"patient"


async def test_three_hundred_cancellations_leave_no_task_and_no_connection(server_client):
    client = client_for("default")
    await warm(client)
    before, made = connections(server_client), connections_made(server_client)
    for n in range(300):
        task = asyncio.create_task(echo(client, str(n)))
        for _ in range(n % 7):
            await asyncio.sleep(0)
        task.cancel()
        await gathered(task)
    assert await echo(client, "last") == b"last"
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(connections(server_client)) == len(before)
    assert connections_made(server_client) - made < 30  # none, unless the machine stood still


@pytest.mark.parametrize("hasty_one", [0, 1])
async def test_nobody_is_sent_after_one_who_gave_up_on_a_silent_connection(proxied, hasty_one):
    client, proxy = proxied(SOCKET_TIMEOUT=30)
    await warm(client)
    silent = (await client.multiplexer())._connection
    proxy.delay = 2
    tasks = [asyncio.create_task(echo(client, str(n))) for n in range(2)]
    hasty, patient = tasks[hasty_one], tasks[1 - hasty_one]
    await asyncio.wait([hasty], timeout=1.5 * shared_connection.GRACE)
    hasty.cancel()
    proxy.delay = 0.0  # for connections that have nothing to wait for yet
    assert await echo(client, "next") == b"next"
    assert (await client.multiplexer())._connection is not silent
    assert await patient == b"%d" % (1 - hasty_one)


# Lost and stuck connections


async def test_a_lost_reply_is_told_to_all_who_were_sent_and_nothing_is_sent_again(
    proxied, server_client
):
    client, proxy = proxied()
    await warm(client)
    proxy.lose_replies(containing=b"EVALSHA")
    outcomes = await gathered(*(once(client, f"n{n}") for n in range(10)))
    assert [type(outcome) for outcome in outcomes] == [IndeterminateResult] * 10
    assert "executed once or not at all" in str(outcomes[3])
    first, done = coalescing.MIN_CALLS, counts(server_client)
    assert [done.get(f"n{n}") for n in range(first)] == [1] * first
    assert set(done.values()) == {1}  # the second write may have come too late
    assert await once(client, "n3") == 2


async def test_a_server_that_is_stuck_fails_the_calls_it_was_sent_and_no_others(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url, SOCKET_TIMEOUT=0.3)
        await warm(client)
        server.pause()
        sent = [asyncio.create_task(once(client, f"n{n}")) for n in range(3)]
        assert {type(outcome) for outcome in await gathered(*sent)} == {IndeterminateResult}
        # A new connection is tried, and nothing is sent before it is there.
        (unsent,) = await gathered(once(client, "unsent"))
        assert isinstance(unsent, NotExecuted)
        server.resume()
        assert await once(client, "unsent") == 1


async def test_without_a_time_out_nobody_joins_those_who_wait_on_a_silent_connection(
    proxied, monkeypatch
):
    monkeypatch.setattr(shared_connection, "PATIENCE", 0.1)
    no_time_out = {"CONNECTION_POOL_KWARGS": {"socket_timeout": None}}
    client, proxy = proxied(**no_time_out)
    await warm(client)
    proxy.delay = 1.5
    first = asyncio.create_task(echo(client, "first"))
    await asyncio.sleep(0.3)
    proxy.delay = 0.0  # for connections that have nothing to wait for yet
    assert await asyncio.wait_for(echo(client, "second"), 1) == b"second"
    assert not first.done()
    assert await first == b"first"


async def test_what_a_stuck_connection_does_not_take_is_tried_on_another(client_to, monkeypatch):
    monkeypatch.setattr(shared_connection, "PATIENCE", 0.3)
    with EmbeddedServer() as server:
        client = client_to(server.url, CONNECTION_POOL_KWARGS={"socket_timeout": None})
        await warm(client)
        server.pause()
        large = [asyncio.create_task(echo(client, "x" * 1_000_000)) for _ in range(4)]
        await asyncio.sleep(0.1)  # by then the server takes no more
        (outcome,) = await asyncio.wait_for(gathered(once(client, "unsent")), 15)
        assert isinstance(outcome, NotExecuted)  # the other one is not answered, either
        server.resume()
        await gathered(*large)
        assert await once(client, "unsent") == 1


async def test_a_reply_that_cannot_be_read_is_told_to_all_who_wait_for_theirs(proxied):
    class Unreadable:
        def feed(self, data):
            pass

        def gets(self):
            raise TypeError("unhashable type: 'list'")

    client, _ = proxied()
    await warm(client)
    (await client.multiplexer())._connection._replies = Unreadable()
    outcomes = await asyncio.wait_for(gathered(echo(client, "a"), echo(client, "b")), 5)
    assert [type(each) for each in outcomes] == [IndeterminateResult] * 2
    assert await echo(client, "c") == b"c"


async def test_a_silent_connection_that_nobody_waits_for_is_closed(client_to, monkeypatch):
    monkeypatch.setattr(shared_connection, "PATIENCE", 0.1)
    with EmbeddedServer() as server:
        client = client_to(server.url, CONNECTION_POOL_KWARGS={"socket_timeout": None})
        await warm(client)
        server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(once(client, "given up"), 0.05)
        shared = (await client.multiplexer())._connection
        while shared.connection.is_connected:
            await asyncio.sleep(0.01)
        server.resume()
        assert await once(client, "later") == 1


async def test_a_server_that_restarted_unseen_costs_no_call(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url)
        await warm(client)
        server.restart()  # the loop stands still meanwhile, and has not seen the end
        assert await gathered(*(once(client, f"n{n}") for n in range(3))) == [1, 1, 1]


async def test_replies_that_came_before_the_end_count(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url)
        await warm(client)
        calls = await executed(server, client, 1000)
        server.kill()
        assert await calls == [1] * 1000


async def test_what_a_stuck_server_does_not_take_was_not_executed(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url, SOCKET_TIMEOUT=0.5)
        await warm(client)
        shared = (await client.multiplexer())._connection
        server.pause()
        calls = [Call(ONCE, (DONE,), (str(n), "x" * 100_000)) for n in range(60)]
        kinds = [type(outcome) for outcome in await gathered(*(arun(client, c) for c in calls))]
        sent = kinds.index(NotExecuted)
        assert 0 < sent < 20  # what the sockets have room for, and one write more
        assert kinds == [IndeterminateResult] * sent + [NotExecuted] * (60 - sent)
        assert shared._transport.get_write_buffer_size() == 0  # not sent later, either
        server.resume()
        with redis.Redis.from_url(server.url) as server_client:
            assert not {int(n) for n in counts(server_client) if n != "warm"} - set(range(sent))


async def test_a_server_that_is_gone_was_not_sent_anything(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url)
        await warm(client)
        server.kill()
        outcomes = await gathered(*(once(client, f"n{n}") for n in range(20)))
        assert {type(outcome) for outcome in outcomes} == {NotExecuted}
        assert "could not be reached" in str(outcomes[7])
        server.start()
        assert await once(client, "n1") == 1


def asleep(connection):
    """Instead of a handshake: the loop stands still while the server hangs up."""
    connection._parser.on_connect(connection)
    time.sleep(0.1)


async def awake(connection):
    connection._parser.on_connect(connection)
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("handshake", [asleep, awake])
async def test_a_connection_that_ends_before_its_first_call_was_not_sent_it(client_to, handshake):
    with socket.create_server(("127.0.0.1", 0)) as door:

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    door.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"redis://127.0.0.1:{door.getsockname()[1]}/0"
        client = client_to(url, CONNECTION_POOL_KWARGS={"redis_connect_func": handshake})
        (outcome,) = await gathered(asyncio.wait_for(once(client, "n"), 20))
        door.shutdown(socket.SHUT_RDWR)
    assert isinstance(outcome, NotExecuted)


async def test_messages_that_the_server_pushes_are_no_replies(client_to, settings, server_client):
    """Of its own accord, so to speak: the connection is told of every key that changes."""

    async def track(connection):
        await connection.on_connect()
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST")
        await connection.read_response()

    client = client_to(
        settings.CACHES["default"]["LOCATION"],
        CONNECTION_POOL_KWARGS={"protocol": 3, "redis_connect_func": track},
    )
    await warm(client)
    shared = (await client.multiplexer())._connection
    for n in range(50):
        server_client.set(f"k{n}", n)
        assert await gathered(*(echo(client, f"{n} {m}") for m in range(3))) == [
            f"{n} {m}".encode() for m in range(3)
        ]
    assert (await client.multiplexer())._connection is shared


async def test_a_server_that_was_demoted_is_left(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url)
        await warm(client)
        shared = (await client.multiplexer())._connection
        await arun(client, Call("REPLICAOF", (), ("127.0.0.1", "1")))
        outcomes = await gathered(once(client, "n"), once(client, "n"))
        assert {type(outcome) for outcome in outcomes} == {NotExecuted}
        await arun(client, Call("REPLICAOF", (), ("NO", "ONE")))
        assert await once(client, "n") == 1
        assert (await client.multiplexer())._connection is not shared


async def test_a_connection_that_was_idle_for_the_health_check_interval_is_replaced(
    client_to, settings, server_client
):
    url = settings.CACHES["default"]["LOCATION"]
    client = client_to(url, CONNECTION_POOL_KWARGS={"health_check_interval": 0.2})
    before = connections(server_client)
    await warm(client)
    opened = connections(server_client) - before
    await asyncio.sleep(0.3)
    assert await echo(client, "x") == b"x"
    now = connections(server_client) - before
    assert len(now) == len(opened)
    assert len(now - opened) == 1


async def test_a_task_that_is_cancelled_while_it_connects_leaves_nobody_waiting(client_to):
    with EmbeddedServer() as server:
        client = client_to(server.url)
        server.pause()
        waiting = asyncio.create_task(once(client, "n"))
        for _ in range(5):
            await asyncio.sleep(0)
        connecting = asyncio.all_tasks() - {asyncio.current_task(), waiting}
        assert connecting
        for task in connecting:
            task.cancel()  # as a program does that cancels all tasks it finds
        (outcome,) = await gathered(waiting)
        assert isinstance(outcome, NotExecuted)
        server.resume()
        assert await once(client, "n") == 1


async def trouble(client, proxy, seed, *, tasks=300):
    """Tasks that count themselves, some of which are cancelled, while connections are cut."""
    chance = random.Random(seed)

    async def one(name):
        await asyncio.sleep(chance.random() * 0.3)
        return await once(client, name)

    async def cuts():
        while True:
            await asyncio.sleep(chance.random() * 0.06)
            chance.choice([proxy.cut, proxy.lose_replies, proxy.lose_requests])()

    cutter = asyncio.create_task(cuts())
    running = {f"n{n}": asyncio.create_task(one(f"n{n}")) for n in range(tasks)}
    for task in chance.sample(list(running.values()), tasks // 4):
        asyncio.get_running_loop().call_later(chance.random() * 0.3, task.cancel)
    outcomes = await gathered(*running.values())
    cutter.cancel()
    await gathered(cutter)
    return dict(zip(running, outcomes, strict=True))


def assert_truthful(outcomes, executed):
    """Nothing is executed twice, and each caller was told what became of its call."""
    for name, outcome in outcomes.items():
        times = executed.get(name, 0)
        assert times <= 1
        if isinstance(outcome, NotExecuted):
            assert times == 0
        elif not isinstance(outcome, IndeterminateResult | asyncio.CancelledError):
            assert (outcome, times) == (1, 1)


@pytest.mark.parametrize("seed", range(4))
async def test_under_cancellations_and_cuts_everybody_is_told_the_truth(
    proxied, server_client, seed
):
    client, proxy = proxied(SOCKET_TIMEOUT=5)
    await warm(client)
    outcomes = await trouble(client, proxy, seed)
    assert_truthful(outcomes, counts(server_client))
    kinds = Counter(type(outcome) for outcome in outcomes.values())
    assert kinds[int]
    assert kinds[asyncio.CancelledError]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len((await client.multiplexer())._open) <= 1


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(100, 140))
async def test_much_trouble(proxied, server_client, seed):
    client, proxy = proxied(SOCKET_TIMEOUT=5)
    await warm(client)
    outcomes = await trouble(client, proxy, seed, tasks=1000)
    assert_truthful(outcomes, counts(server_client))


# Loops, contexts, processes


def test_thirty_loops_one_after_another_leave_no_connection(server_client):
    before = connections(server_client)
    client = client_for("default")
    asyncio.run(warm(client))

    async def together():
        return await asyncio.gather(*(echo(client, "x") for _ in range(3)))

    for _ in range(30):
        assert asyncio.run(together()) == [b"x"] * 3
    assert connections(server_client) == before


def test_a_loop_that_ends_with_calls_under_way_leaves_no_connection(proxied, server_client):
    client, proxy = proxied()
    before = connections(server_client)

    async def hasty():
        await warm(client)
        proxy.delay = 0.2
        for n in range(10):
            asyncio.create_task(echo(client, str(n)))  # noqa: RUF006 - the end of the loop is its end
        await asyncio.sleep(0.05)

    asyncio.run(hasty())
    proxy.stop()
    while connections(server_client) != before:
        pass


async def test_a_connection_keeps_nothing_of_the_request_that_opened_it(server_client):
    server_client.script_load(ECHO.source)

    class Request:
        pass

    variable = contextvars.ContextVar("request")
    client = client_for("default")

    async def view():
        request = Request()
        variable.set(request)
        await echo(client, "x")
        return weakref.ref(request)

    reference = await asyncio.create_task(view())
    await asyncio.sleep(0)  # the loop itself has forgotten the task
    gc.collect()
    assert reference() is None


def test_a_child_that_is_forked_by_a_running_loop_has_a_connection_of_its_own(settings):
    """In a process of its own: a fork of the test's own threads would be unsafe."""
    program = f"""
        import asyncio, os, sys
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        os.environ["REDIS_URL"] = {settings.CACHES["default"]["LOCATION"]!r}
        import django
        django.setup()
        from redis_atomic import Call
        from redis_atomic.client.connections import client_for
        from redis_atomic.client.execution import arun
        from redis_atomic.scripting.script import Script
        INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")

        async def some(n):
            call = Call(INCR, ("forked",))
            return await asyncio.gather(*(arun(client_for("default"), call) for _ in range(n)))

        async def main():
            assert sorted(await some(3)) == [1, 2, 3]
            pid = os.fork()
            if pid == 0:
                os._exit(0 if asyncio.run(some(2)) == [4, 5] else 7)
            _, status = os.waitpid(pid, 0)
            assert await some(1) == [6]
            return os.waitstatus_to_exitcode(status)

        sys.exit(asyncio.run(main()))
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
