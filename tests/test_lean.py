"""The lean call: whose connection it is, when it is given back, and what it leaves to redis-py."""

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
import redis
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from redis.connection import Connection

from redis_atomic import Call, RateLimiter, RawKey
from redis_atomic.client import connections as connections_module
from redis_atomic.client import kernel, lean
from redis_atomic.client.connections import Client, client_for
from redis_atomic.client.deadline import within
from redis_atomic.client.execution import run
from redis_atomic.client.lean import Lean
from redis_atomic.exceptions import IndeterminateResult, NotExecuted, WrongType
from redis_atomic.scripting.packing import Packed, pack
from redis_atomic.scripting.script import Script
from redis_atomic.testing import EmbeddedServer, lost_reply_proxy
from tests.test_forks import exit_code_of_a_child

ECHO = Script("echo", b"return ARGV[1]")
COUNT = Script("count", b"return redis.call('INCR', KEYS[1])")
GET = Script("get", b"return redis.call('GET', KEYS[1])", idempotent=True)
pytestmark = pytest.mark.skipif(
    os.environ.get("REDIS_ATOMIC_LEAN_CALLS") == "0", reason="is about the lean call"
)


def echo(client, text="hello"):
    return run(client, Call(ECHO, (), (text,)))


def count(client):
    return run(client, Call(COUNT, (RawKey("n"),)))


def connections(server_client):
    """The ids of the connections over which scripts were called."""
    return {each["id"] for each in server_client.client_list() if each["cmd"].startswith("eval")}


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.fixture(autouse=True)
def _loaded(server_client):
    """To load a script takes the ordinary path, over a connection of the pool."""
    for script in (ECHO, COUNT, GET):
        server_client.script_load(script.source)
    server_client.client_kill_filter(_type="normal", skipme=True)  # of tests before


@pytest.fixture
def client():
    client = client_for("default")
    echo(client)
    return client


def client_with(settings, location=None, **options):
    cache = {**settings.CACHES["default"], "OPTIONS": options}
    settings.CACHES = {"default": cache | ({"LOCATION": location} if location else {})}
    return Client("default")


def test_a_thread_keeps_its_connection(client, server_client):
    (ours,) = connections(server_client)
    for number in range(20):
        assert echo(client, str(number)) == str(number).encode()
    assert connections(server_client) == {ours}


def test_a_plain_command_goes_over_it_too(client, server_client):
    (ours,) = connections(server_client)
    assert run(client, Call("INCRBY", (RawKey("n"),), (5,), parse=str)) == "5"
    (last,) = [each["cmd"] for each in server_client.client_list() if each["id"] == ours]
    assert last == "incrby"


def test_what_is_about_the_connection_or_blocks_does_not(client, server_client):
    (ours,) = connections(server_client)
    assert int(run(client, Call("CLIENT ID"))) != int(ours)
    server_client.rpush("queue", "x", "y")
    for _ in range(2):
        run(client, Call("BLPOP", (RawKey("queue"),), (1,)))
    assert connections(server_client) == {ours}  # its last command is still that


def test_an_error_reply_to_a_plain_command_names_the_key(client, server_client):
    server_client.rpush("list", "x")
    with pytest.raises(WrongType, match="list"):
        run(client, Call("INCRBY", (RawKey("list"),), (1,)))


def test_another_thread_has_another_and_gives_it_back_at_its_end(client, server_client):
    seen = []
    in_a_thread(lambda: (echo(client), seen.append(connections(server_client))))
    in_a_thread(lambda: (echo(client), seen.append(connections(server_client))))
    assert len(seen[0]) == 2
    assert seen[1] == seen[0]
    assert len(client.lean._kept) == 1


def test_a_thread_gives_it_back_after_an_error_too(client, server_client):
    def fail():
        with suppress(WrongType):
            run(client, Call("INCRBY", (RawKey("list"),), (1,)))

    server_client.rpush("list", "x")
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
    finally:
        gc.enable()
    assert len(client.lean._kept) == 1


def test_the_pool_has_it_back_now_and_then(client, server_client, monkeypatch):
    first = client.lean._thread.kept
    echo(client)
    assert client.lean._thread.kept is first
    monkeypatch.setattr(lean, "TENURE", 0.0)
    first.give_back()  # whose tenure was a longer one
    client.lean._thread.kept = None
    echo(client)
    second = client.lean._thread.kept
    echo(client)
    assert client.lean._thread.kept is not second
    in_a_thread(lambda: [echo(client) for _ in range(3)])
    assert len(client.pool._in_use_connections) == 1  # this thread's
    assert len(connections(server_client)) == 2


def test_the_pool_has_its_connections_back_as_they_were(settings):
    client = client_with(settings, SOCKET_TIMEOUT=3.5)
    echo(client)
    kept = client.lean._thread.kept
    ours = kept.connection._sock
    assert ours.gettimeout() is None
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, kernel.TIMEVAL.size).strip(b"\0")
    kept.give_back()
    assert client.pool._available_connections == [kept.connection]
    assert kept.connection._sock is ours
    assert ours.gettimeout() == 3.5
    timeval = ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, kernel.TIMEVAL.size)
    assert kernel.TIMEVAL.unpack(timeval) == (0, 0)


def test_where_the_kernel_cannot_be_told_how_long_the_socket_is_polled(settings, monkeypatch):
    monkeypatch.setattr(kernel, "TIMEVAL", struct.Struct("@hh"))  # of no platform
    client = client_with(settings, SOCKET_TIMEOUT=3.5)
    assert [echo(client, text) for text in "abc"] == [b"a", b"b", b"c"]
    kept = client.lean._thread.kept
    assert kept.connection._sock.gettimeout() == 0
    kept.give_back()
    assert kept.connection._sock.gettimeout() == 3.5


def test_half_of_the_pool_is_kept_at_most(settings):
    client = client_with(
        settings,
        CONNECTION_POOL_CLASS="redis.BlockingConnectionPool",
        CONNECTION_POOL_KWARGS={"max_connections": 2, "timeout": 10},
    )
    together, kept = threading.Barrier(6, timeout=20), []

    def work():
        together.wait()
        for _ in range(50):
            assert echo(client) == b"hello"
        together.wait()
        kept.append(len(client.lean._kept))
        together.wait()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [1] * 6
    assert not client.lean._kept


def test_a_child_has_a_connection_of_its_own(client, server_client):
    before = connections(server_client)

    def in_the_child():
        assert echo(client, "child") == b"child"
        assert count(client) == 1
        assert len(connections(server_client) - before) == 1

    assert exit_code_of_a_child(in_the_child) == 0
    assert echo(client, "parent") == b"parent"
    assert before <= connections(server_client)


def test_so_has_a_child_of_which_python_was_not_told(client, server_client):
    """As uWSGI makes its workers, for one."""
    before = connections(server_client)
    assert echo(client) == b"hello"
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        code = 1
        try:
            assert echo(client, "child") == b"child"
            assert len(connections(server_client) - before) == 1
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert echo(client, "parent") == b"parent"


@pytest.fixture(params=["tcp", "unix"])
def lonely(request, settings):
    """A client of a server that has no other, by each kind of socket, and that server."""
    with EmbeddedServer(tcp=True) as server:
        client = client_with(settings, server.tcp_url if request.param == "tcp" else server.url)
        assert count(client) == 1
        assert client.lean._thread.kept._notices_closing == (sys.platform == "linux")
        yield client, redis.Redis.from_url(server.url)


def test_what_the_server_closed_meanwhile_is_replaced(lonely):
    client, server_client = lonely
    for number in range(2, 50):
        before = connections(server_client)
        server_client.client_kill_filter(_type="normal", skipme=True)
        assert count(client) == number
        assert not connections(server_client) & before


def test_what_is_closed_while_calls_are_made_is_counted_once_or_told(lonely):
    """Closed at any moment: a call that fails is told as it is, and none is made twice."""
    client, server_client = lonely
    done, asked, unknown, over = 1, 1, 0, threading.Event()

    def close_again_and_again():
        with closing(redis.Redis(connection_pool=server_client.connection_pool)) as other:
            while not over.wait(0.002):
                other.client_kill_filter(_type="normal", skipme=True)

    thread = threading.Thread(target=close_again_and_again)
    thread.start()
    try:
        for _ in range(3000):
            asked += 1
            try:
                count(client)
                done += 1
            except IndeterminateResult:
                unknown += 1
            except NotExecuted:
                pass
    finally:
        over.set()
        thread.join()
    assert done <= int(server_client.get("n")) <= done + unknown
    assert done > asked // 2


def test_a_connection_that_ends_after_the_call_arrived_is_told(settings):
    """As its server may have executed the call: what Linux acknowledged is not sent again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        client = client_with(settings, url, CONNECTION_POOL_KWARGS={"protocol": 2})

        def serve():
            with listener.accept()[0] as ours:
                while b"EVALSHA" not in (asked := ours.recv(65_536)):
                    ours.sendall(b"+OK\r\n" * asked.count(b"*"))
                ours.sendall(b":1\r\n")
                ours.recv(65_536)

        server = threading.Thread(target=serve)
        server.start()
        assert count(client) == 1
        with pytest.raises(IndeterminateResult, match="did not answer EVALSHA"):
            count(client)
        server.join()


def test_a_restart_between_two_calls_goes_unnoticed(settings):
    with EmbeddedServer() as server:
        client = client_with(settings, server.url)
        assert count(client) == 1
        server.restart()
        assert count(client) == 1


def test_a_server_that_is_gone_was_not_asked(settings):
    server = EmbeddedServer().start()
    client = client_with(settings, server.url)
    assert count(client) == 1
    server.stop()
    with pytest.raises(NotExecuted, match="could not be reached"):
        count(client)
    assert not client.lean._kept


def test_a_lost_reply_is_told_and_not_repeated(settings, server_client):
    with lost_reply_proxy(settings.CACHES["default"]["LOCATION"]) as proxy:
        client = client_with(settings, proxy.url)
        assert count(client) == 1
        proxy.lose_replies(containing=b"EVALSHA")
        with pytest.raises(IndeterminateResult, match="did not answer EVALSHA"):
            count(client)
        assert not client.lean._kept
        assert count(client) == 3


def test_a_lost_reply_of_an_idempotent_script_is_asked_for_again(settings, server_client):
    with lost_reply_proxy(settings.CACHES["default"]["LOCATION"]) as proxy:
        client = client_with(settings, proxy.url)
        server_client.set("k", "v")
        assert run(client, Call(GET, (RawKey("k"),))) == b"v"
        proxy.lose_replies(containing=b"EVALSHA")
        assert run(client, Call(GET, (RawKey("k"),))) == b"v"


def test_a_script_that_the_server_forgot_is_loaded_again(client, server_client):
    assert count(client) == 1
    server_client.script_flush()
    assert count(client) == 2


@pytest.mark.parametrize("size", [0, 1, 65_000, 65_536, 1_000_000])
def test_a_reply_of_any_length_arrives_whole(client, size):
    assert echo(client, "x" * size) == b"x" * size
    assert echo(client) == b"hello"


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("parser", ["redis.connection._HiredisParser", None])
def test_parsers_and_protocols_make_no_difference(settings, protocol, parser):
    if parser is None:
        parser = f"redis._parsers._RESP{protocol}Parser"
    client = client_with(
        settings, PARSER_CLASS=parser, CONNECTION_POOL_KWARGS={"protocol": protocol}
    )
    assert echo(client) == echo(client) == b"hello"
    assert run(client, Call(Script("many", b"return {1, 'a', {false}}"))) == [1, b"a", [None]]
    assert count(client) == 1


def test_a_message_that_the_server_pushes_is_not_taken_for_a_reply(settings, server_client):
    client = client_with(settings, CONNECTION_POOL_KWARGS={"protocol": 3})
    assert echo(client) == b"hello"
    kept = client.lean._thread.kept
    with kept._waiting():
        kept.connection.send_command("CLIENT", "TRACKING", "ON", "BCAST")
        assert kept.connection.read_response() == b"OK"
    for number in range(3):
        server_client.set("k", number)
        assert echo(client, str(number)) == str(number).encode()


@contextmanager
def alarm(seconds, handler, again=False):
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds if again else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_signal_handlers_call_does_not_come_between_a_call_and_its_reply(client, server_client):
    answers = []
    server_client.client_pause(400)
    with alarm(0.1, lambda *_: answers.append(echo(client, "handler"))):
        assert echo(client, "main") == b"main"
    assert answers == [b"handler"]
    assert echo(client, "after") == b"after"
    assert len(client.lean._kept) == 1


def test_after_an_interruption_nobody_reads_the_reply_of_the_interrupted(client, server_client):
    def interrupt(*_):
        raise KeyboardInterrupt

    server_client.client_pause(400)
    with alarm(0.1, interrupt), pytest.raises(KeyboardInterrupt):
        echo(client, "late")
    assert echo(client, "next") == b"next"


def test_a_connection_that_another_thread_closed_is_replaced(client):
    in_a_thread(client.pool.disconnect)
    assert count(client) == 1


def test_a_reply_is_not_awaited_longer_than_the_time_out(settings, server_client):
    client = client_with(settings, SOCKET_TIMEOUT=0.2)
    assert echo(client) == b"hello"
    server_client.client_pause(1500)
    started = time.monotonic()
    with pytest.raises(IndeterminateResult, match="timed out"):
        echo(client)
    assert time.monotonic() - started < 1.4


def test_signals_do_not_prolong_the_time_out(settings, server_client):
    client = client_with(settings, SOCKET_TIMEOUT=0.2)
    assert echo(client) == b"hello"
    server_client.client_pause(1500)
    beats = []
    with alarm(0.02, lambda *_: beats.append(time.monotonic()), again=True):
        started = time.monotonic()
        with pytest.raises(IndeterminateResult, match="timed out"):
            echo(client)
        assert time.monotonic() - started < 1.4
    assert len(beats) > 5


def test_a_reply_is_awaited_no_longer_than_until_the_threads_deadline(settings, server_client):
    client = client_for("default", "tests of deadlines", timeout=5.0)
    assert run(client, Call(ECHO, (), ("in time",))) == b"in time"
    server_client.client_pause(1500)
    began = time.monotonic()
    with within(0.2), pytest.raises(IndeterminateResult):
        run(client, Call(ECHO, (), ("too late",)))
    assert 0.2 <= time.monotonic() - began < 1.2
    with within(4.0):
        assert run(client, Call(ECHO, (), ("the next one",))) == b"the next one"


def test_a_thousand_threads_leave_nothing_behind(client):
    for _ in range(50):
        threads = [threading.Thread(target=echo, args=(client,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(client.lean._kept) == 1
    assert len(client.pool._in_use_connections) == 1


def test_threads_at_once_each_read_their_own_replies(client):
    wrong = []

    def work(name):
        for number in range(200):
            text = f"{name}:{number}"
            if echo(client, text) != text.encode():
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forgotten_client_leaves_no_open_connection(settings, server_client):
    client = client_with(settings)
    assert echo(client) == b"hello"
    assert len(connections(server_client)) == 1
    client.close()
    del client
    gc.collect()
    assert not connections(server_client)


def test_it_is_not_made_where_it_was_switched_off(settings):
    settings.REDIS_ATOMIC = {"LEAN_CALLS": False}
    client = Client("default")
    assert client.lean is None
    assert echo(client) == b"hello"
    assert RateLimiter("5/m").hit("user:7").remaining == 4


class CustomPool(redis.ConnectionPool):
    pass


def test_it_is_not_made_of_a_pool_that_it_does_not_know(settings):
    client = client_with(settings, CONNECTION_POOL_CLASS="tests.test_lean.CustomPool")
    assert client.lean is None
    assert echo(client) == b"hello"


def test_it_is_not_made_for_a_client_that_it_does_not_know(settings):
    client = client_with(settings, CLIENT_CLASS="django_redis.client.HerdClient")
    assert client.lean is None
    assert echo(client) == b"hello"


def test_a_server_and_a_purpose_have_one(client):
    assert isinstance(client.lean, Lean)
    assert client.lean is client.lean
    assert client_for("default", "limits").lean is not client.lean


def test_threads_that_ask_for_it_at_once_have_one(settings, monkeypatch):
    client, together, made = client_with(settings), threading.Barrier(4), []

    def possible(*args):
        with suppress(threading.BrokenBarrierError):
            together.wait(1)  # Python 3.11 lets one in at a time
        return lean.is_possible(*args)

    monkeypatch.setattr(connections_module, "is_possible", possible)
    threads = [threading.Thread(target=lambda: made.append(client.lean)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(client.lean, Lean)
    assert made == [client.lean] * 4


WORDS = st.one_of(st.text(), st.binary(), st.integers())


@given_settings(deadline=None)
@given(keys=st.lists(st.binary(), max_size=4), args=st.lists(WORDS, max_size=6))
def test_a_call_is_packed_as_redis_py_packs_it(keys, args):
    command = ("EVALSHA", ECHO.sha, len(keys), *keys, *args)
    expected = b"".join(Connection().pack_command(*command))
    assert pack("EVALSHA", ECHO.sha, keys, args) == expected
    assert pack("EVALSHA", ECHO.sha, keys, Packed(args)) == expected
