"""The call path: loading, losing replies, refusing, on sync and asyncio."""

import asyncio
import signal
import threading

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from redis_atomic import Call, RawKey, operation
from redis_atomic.client.connections import Client, client_for
from redis_atomic.client.execution import arun, attempts, run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.client.travel import exchange
from redis_atomic.exceptions import (
    IndeterminateResult,
    NotExecuted,
    ReplyError,
    ScriptError,
    WrongType,
)
from redis_atomic.scripting.script import Script
from redis_atomic.testing import EmbeddedServer, lost_reply_proxy

INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")
GET = Script("get", b"return redis.call('GET', KEYS[1])", idempotent=True)

#: Every way in which a project may ask its client to repeat commands.
RETRYING = {
    "as it comes": {},
    "retry_on_timeout": {"CONNECTION_POOL_KWARGS": {"retry_on_timeout": True}},
    "ten retries": {
        "CONNECTION_POOL_KWARGS": {
            "retry": Retry(NoBackoff(), 10),
            "retry_on_error": [ConnectionError],
        }
    },
    "time-outs": {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1},
    "a blocking pool": {"CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool"},
    "decoded, RESP2": {"CONNECTION_POOL_KWARGS": {"decode_responses": True, "protocol": 2}},
}


def execute(client, call, mode):
    return run(client, call) if mode == "sync" else asyncio.run(arun(client, call))


@pytest.fixture(params=["sync", "asyncio"])
def mode(request):
    return request.param


@pytest.fixture
def proxied(settings):
    """A function that makes a client which reaches the server through a losing proxy."""
    with lost_reply_proxy(settings.CACHES["default"]["LOCATION"]) as proxy:

        def make(**options):
            cache = {**settings.CACHES["default"], "LOCATION": proxy.url, "OPTIONS": options}
            settings.CACHES = {"default": cache}
            return Client("default"), proxy

        yield make


def test_a_script_is_loaded_at_its_first_use_and_its_reply_parsed(server_client, mode):
    server_client.script_flush()
    client = client_for("default")
    call = Call(INCR, ("hits",), (), parse=str)
    assert [execute(client, call, mode) for _ in range(2)] == ["1", "2"]
    assert server_client.get("tests:1:hits") == b"2"


def test_a_plain_command_goes_without_a_script(server_client, mode):
    assert execute(client_for("default"), Call("INCRBY", (RawKey("n"),), (5,)), mode) == 5
    assert server_client.get("n") == b"5"


def test_an_operation_is_called_awaited_and_built():
    @operation
    def bump(key: str, amount: int = 1) -> Call[int]:
        return Call("INCRBY", (key,), (amount,))

    assert bump("k") == 1
    assert asyncio.run(bump.acall("k", amount=2)) == 3
    assert bump.call("k").args == (1,)
    assert bump.using(version=7)("k") == 1


def test_two_thousand_calls_from_sixteen_threads_survive_script_flush(server_client):
    client, stop, errors = client_for("default"), threading.Event(), []

    def flush():
        while not stop.is_set():
            server_client.script_flush()

    def work():
        try:
            for _ in range(125):
                run(client, Call(INCR, ("n",)))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    flusher = threading.Thread(target=flush)
    workers = [threading.Thread(target=work) for _ in range(16)]
    for thread in [flusher, *workers]:
        thread.start()
    for worker in workers:
        worker.join()
    stop.set()
    flusher.join()
    assert errors == []
    assert server_client.get("tests:1:n") == b"2000"


@pytest.mark.parametrize("options", RETRYING.values(), ids=RETRYING)
def test_a_lost_reply_is_told_and_never_asked_again(proxied, server_client, mode, options):
    client, proxy = proxied(**options)
    execute(client, Call(INCR, ("n",)), mode)
    proxy.lose_replies(containing=b"EVALSHA")
    with pytest.raises(IndeterminateResult, match="executed once or not at all"):
        execute(client, Call(INCR, ("n",)), mode)
    assert server_client.get("tests:1:n") == b"2"
    assert proxy.lost == 1
    assert execute(client, Call(INCR, ("n",)), mode) == 3


def test_an_idempotent_script_is_asked_once_more(proxied, server_client, mode):
    client, proxy = proxied()
    server_client.set("tests:1:k", "v")
    execute(client, Call(GET, ("k",)), mode)
    proxy.lose_replies(containing=b"EVALSHA")
    assert execute(client, Call(GET, ("k",)), mode) == b"v"
    proxy.lose_replies(2, containing=b"EVALSHA")
    with pytest.raises(IndeterminateResult):
        execute(client, Call(GET, ("k",)), mode)


def test_a_server_that_hangs_is_given_up_after_the_alias_time_out(settings, mode):
    with EmbeddedServer() as server:
        cache = {**settings.CACHES["default"], "LOCATION": server.url}
        settings.CACHES = {"default": {**cache, "OPTIONS": {"SOCKET_TIMEOUT": 0.2}}}
        client = Client("default")
        execute(client, Call(INCR, ("n",)), mode)
        server.pause()
        with pytest.raises((IndeterminateResult, NotExecuted)):
            execute(client, Call(INCR, ("n",)), mode)
        server.resume()
        assert execute(client, Call(INCR, ("n",)), mode) in {2, 3}


def test_a_refused_connection_was_not_executed_and_a_restart_is_noticed(settings, mode):
    with EmbeddedServer() as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        client = Client("default")
        assert execute(client, Call(INCR, ("n",)), mode) == 1
        server.kill()
        with pytest.raises(NotExecuted, match="could not be reached"):
            execute(client, Call(INCR, ("n",)), mode)
        server.start()
        assert execute(client, Call(INCR, ("n",)), mode) == 1
        server.restart()  # an idle connection that the server has closed is not used
        assert execute(client, Call(INCR, ("n",)), mode) == 1


def test_a_failing_script_raises_where_it_failed(server_client, mode):
    script = Script("shop.fail", b"local x = 1\nreturn x + KEYS[1]\n", path="lua/fail.lua")
    with pytest.raises(ScriptError) as excinfo:
        execute(client_for("default"), Call(script, ("k",)), mode)
    assert excinfo.value.line == 2
    assert "arithmetic" in excinfo.value.message
    assert ">    2 return x + KEYS[1]" in str(excinfo.value)


def test_a_plain_command_on_another_type_raises_wrong_type(server_client, mode):
    server_client.lpush("tests:1:k", "x")
    with pytest.raises(WrongType, match="tests:1:k"):
        execute(client_for("default"), Call("INCRBY", ("k",), (1,)), mode)


def test_a_read_only_replica_refuses_and_that_is_not_executed(settings, mode):
    with EmbeddedServer() as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        client = Client("default")
        assert execute(client, Call("REPLICAOF", (), ("127.0.0.1", "1")), mode) == b"OK"
        with pytest.raises(NotExecuted, match="READONLY"):
            execute(client, Call(INCR, ("n",)), mode)


def test_a_script_that_somebody_else_loads_meanwhile_is_not_told_as_refused(
    settings, server_client
):
    """The user may not load it, and a deploy does between our two trips."""
    script = Script("late", b"return redis.call('INCRBY', KEYS[1], 5)")
    user = {"enabled": True, "passwords": ["+pw"], "keys": ["*"]}
    server_client.acl_setuser("runner", categories=["+@all"], commands=["-script"], **user)
    options = {"CONNECTION_POOL_KWARGS": {"username": "runner", "password": "pw"}}
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": options}}
    client = Client("default")
    trips = attempts(client, Call(script, (RawKey("n"),)))
    unknown = exchange(*next(trips))
    server_client.script_load(script.source)
    with pytest.raises(StopIteration) as done:
        trips.send(exchange(*trips.send(unknown)))
    assert done.value.value == 5
    server_client.acl_deluser("runner")


@pytest.mark.parametrize(
    "error",
    [
        "NOSCRIPT this actor has no script",
        "BUSY the table is taken",
        "TRYAGAIN in a minute",
        "ERR no such name: evalsha_ro",
        "WRONGTYPE KEYS[9] is no card",
    ],
)
def test_what_a_script_answers_by_itself_is_told_once_however_it_reads(error, server_client, mode):
    body = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])"
    with pytest.raises(ScriptError):
        execute(
            client_for("default"),
            Call(Script("own", body.encode()), (RawKey("n"),), (error,)),
            mode,
        )
    assert server_client.get("n") == b"1"
    with pytest.raises(ReplyError):
        execute(client_for("default"), Call("EVAL", (), (body, 1, "n", error)), mode)
    assert server_client.get("n") == b"2"


def test_a_read_only_script_that_names_the_command_in_its_error_is_asked_once(server_client, mode):
    reads = Script(
        "reads", b"return redis.error_reply('ERR no such name: ' .. ARGV[1])", read_only=True
    )
    client = Client("default")
    with pytest.raises(ScriptError, match="evalsha_ro"):
        execute(client, Call(reads, (), ("evalsha_ro",)), mode)


class OutOfTime(Exception):
    """As those that job queues raise in a signal handler."""


def test_what_a_signal_handler_raises_is_not_taken_for_a_lost_reply(settings):
    def out_of_time(*args):
        raise OutOfTime

    with EmbeddedServer() as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        client = Client("default")
        calls = [Call("INCR", (RawKey("n"),)), Call("PING")]  # over a kept connection, and not
        for call in calls:
            run(client, call)
        before = signal.signal(signal.SIGALRM, out_of_time)
        server.pause()
        try:
            for call in calls:
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(OutOfTime):
                    run(client, call)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            server.resume()


def test_what_cannot_be_encoded_was_not_sent(mode):
    client = client_for("default")
    for command in ("SET", "ECHO"):
        with pytest.raises(UnicodeEncodeError):
            execute(client, Call(command, (), ("\ud800",)), mode)
    with pytest.raises(UnicodeEncodeError), Pipeline(client) as pipeline:
        pipeline.add(Call("SET", (RawKey("k"),), ("\ud800",)))


async def test_a_cancelled_call_leaves_no_reply_for_the_next(settings):
    with lost_reply_proxy(settings.CACHES["default"]["LOCATION"]) as proxy:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": proxy.url}}
        client = Client("default")
        for turns in range(12):
            task = asyncio.create_task(arun(client, Call("ECHO", (), ("cancelled",))))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await arun(client, Call("ECHO", (), (str(turns),))) == str(turns).encode()
