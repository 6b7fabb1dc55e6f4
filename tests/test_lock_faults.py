"""What a lock does when servers, networks and clients fail: one test for each fault."""

import asyncio
import gc
import itertools
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from redis_atomic.client.connections import client_for
from redis_atomic.exceptions import LockBusy, LockError, LockLost, LockUnavailable
from redis_atomic.locks import returning
from redis_atomic.locks.lock import redis_lock
from redis_atomic.locks.protocol import GRANT, SLICE
from redis_atomic.locks.waiting import LAST_ANSWER
from redis_atomic.testing import EmbeddedServer, embedded_server, lost_reply_proxy

LOCK, FENCE = "tests:lock:{a}", "tests:lock:{a}:fence"

#: Liveness is asserted with so much room (seconds) for a machine that has other work.
ROOM = 3.0


@pytest.fixture
def server():
    """A server of its own, to be killed, paused and filled."""
    with embedded_server(tcp=True) as server:
        yield server


@pytest.fixture
def look(server):
    """A plain client of that server."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def use(settings):
    """Let our locks live at this address."""

    def use(url, **options):
        settings.CACHES = settings.CACHES | {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": url,
                "KEY_PREFIX": "tests",
                "OPTIONS": options,
            }
        }
        return settings.CACHES

    return use


@pytest.fixture
def proxy(server, use):
    """A proxy in front of the server, through which our locks go; the scripts are loaded."""
    with lost_reply_proxy(server.tcp_url) as proxy:
        use(proxy.url)
        with redis_lock("warm"):
            pass
        yield proxy


@contextmanager
def client_process(caches, program):
    """Another process with redis_lock at hand. Its ``say`` reaches our ``listen``."""
    head = f"""
        import sys, time, threading, django
        from django.conf import settings
        settings.configure(CACHES={caches!r})
        from redis_atomic.exceptions import *
        from redis_atomic import FOREVER, redis_lock
        def say(text):
            print(text, flush=True)
    """
    text = textwrap.dedent(head) + textwrap.dedent(program)
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


def said(process):
    return process.stdout.readline().strip()


def elapsed(since):
    return time.monotonic() - since


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def left_behind(look):
    """Our keys, but for fences and the tombstones of tokens in doubt."""
    keys = [key for key in look.scan_iter() if not key.endswith(b":fence")]
    for key in keys:
        assert 0 < look.pttl(key) <= 60_000, f"{key} has no TTL"
    return [key for key in keys if look.type(key) != b"string" or b":wake:" not in key]


def all_returned():
    """Whether the background has nothing left to give back to this server."""
    return client_for("default", "locks") not in returning.in_background._unreturned


# The server


@pytest.mark.parametrize("wait", [0, 0.5])
def test_f1_without_a_server_a_lock_is_unavailable_never_busy(server, use, wait):
    use(server.tcp_url)
    server.kill()
    began = time.monotonic()
    with pytest.raises(LockUnavailable), redis_lock("a", wait=wait):
        pytest.fail("the body was entered")
    assert elapsed(began) < wait + ROOM


def test_f1_the_bodys_own_exception_is_never_replaced(server, use):
    use(server.tcp_url)

    @redis_lock("a")
    def work():
        server.kill()
        raise KeyError("mine")

    with pytest.raises(KeyError):
        work()


def test_f1_work_that_is_done_does_not_fail_for_an_unconfirmed_release(server, use, caplog):
    use(server.tcp_url)
    with redis_lock("a"):
        server.kill()
    assert "did not confirm the release" in caplog.text


async def test_f1_on_asyncio(server, use):
    use(server.tcp_url)
    server.kill()
    with pytest.raises(LockUnavailable):
        await redis_lock("a", wait=0.3).aacquire()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("pause", [0.15, pytest.param(1.0, marks=pytest.mark.stress)])
def test_f2_a_server_that_was_paused_leaves_no_orphan(server, use, look, pause):
    use(server.tcp_url, SOCKET_TIMEOUT=0.3)
    with redis_lock("a"):
        pass
    with ThreadPoolExecutor(1) as threads:
        server.pause()
        acquiring = threads.submit(redis_lock("a", ttl=5, wait=0).acquire)
        time.sleep(pause)
        server.resume()
        if error := acquiring.exception(20):
            assert isinstance(error, LockUnavailable)
            time.sleep(1)
            assert not look.exists(LOCK)
        else:
            lease = acquiring.result()
            assert look.get(LOCK).endswith(lease.token.encode())
            lease.release()
    assert left_behind(look) == []


def test_f2_a_server_that_stands_still_costs_no_more_than_the_wait(server, use, look):
    use(server.tcp_url)
    with redis_lock("a"):
        pass
    server.pause()
    began = time.monotonic()
    with pytest.raises(LockUnavailable, match=r"within \d\.\d\d s.* for up to 30 s"):
        redis_lock("a", ttl=30, wait=0.5).acquire()
    assert elapsed(began) < 0.5 + ROOM
    server.resume()
    until(all_returned)
    assert left_behind(look) == [], "it was granted in the meantime, and is given back"


async def test_f2_on_asyncio(server, use, look):
    use(server.tcp_url)
    async with redis_lock("a"):
        pass
    server.pause()
    began = time.monotonic()
    with pytest.raises(LockUnavailable, match="for up to 30 s"):
        await redis_lock("a", ttl=30, wait=0.5).aacquire()
    assert elapsed(began) < 0.5 + ROOM
    server.resume()
    until(all_returned)
    assert left_behind(look) == []


def test_f2_a_release_that_had_no_answer_is_made_up_for(server, use, look):
    use(server.tcp_url)
    lease = redis_lock("a", ttl=30).acquire()
    server.pause()
    began = time.monotonic()
    with pytest.raises(LockUnavailable, match="in the background"):
        lease.release()
    assert elapsed(began) < returning.TIME + ROOM
    server.resume()
    until(all_returned)
    assert left_behind(look) == []


def test_f2_a_waiter_of_a_server_that_stands_still_gives_up_in_time(server, use, look):
    use(server.tcp_url)
    with ThreadPoolExecutor(1) as threads, redis_lock("a", max_hold=60) as lease:
        waiting = threads.submit(redis_lock("a", wait=1).acquire)
        until(lambda: look.llen(f"{LOCK}:queue") == 1)
        began = time.monotonic()
        server.pause()
        assert isinstance(waiting.exception(20), LockUnavailable)
        assert elapsed(began) < 1 + 2 * LAST_ANSWER + ROOM
        server.resume()
        until(all_returned)
        assert not look.exists(f"{LOCK}:queue")
        lease.check()
    assert left_behind(look) == []


@pytest.fixture
def silent(use, settings):
    """A second server, of the cache alias "silent", that stands still when it is told to."""
    with embedded_server(tcp=True) as server:
        cache = settings.CACHES["default"]
        settings.CACHES = settings.CACHES | {"silent": cache | {"LOCATION": server.tcp_url}}
        yield server


def test_a_silent_server_costs_no_lease_of_another(silent):
    with redis_lock("a", ttl=1.5) as lease:
        lost = [redis_lock(name, ttl=0.9, cache="silent").acquire() for name in "ab"]
        silent.pause()
        assert all(each.lost.wait(5) for each in lost)
        assert not lease.lost.wait(2)
        silent.resume()


async def test_a_silent_server_costs_no_lease_of_another_on_asyncio(silent):
    async with redis_lock("a", ttl=1.5) as lease:
        lost = [await redis_lock(name, ttl=0.9, cache="silent").aacquire() for name in "ab"]
        silent.pause()
        for each in lost:
            await asyncio.wait_for(each.lost, 5)
        await asyncio.sleep(2)
        lease.check()
        silent.resume()


@pytest.mark.parametrize(
    ("path", "password", "told"),
    [("/0", "wrong", "WRONGPASS|invalid username-password"), ("/99", None, "DB index")],
)
def test_what_no_time_heals_is_told_at_once(server, use, look, path, password, told):
    if password:
        look.config_set("requirepass", "right")
    use(server.tcp_url.rpartition("/")[0] + path, PASSWORD=password)
    began = time.monotonic()
    with pytest.raises(LockUnavailable, match=told):
        redis_lock("a", wait=30).acquire()
    assert elapsed(began) < ROOM


def test_f3_a_script_flush_at_any_time_harms_nobody(server, use, look):
    use(server.tcp_url)
    over = threading.Event()

    def flush():
        while not over.wait(0.001):
            look.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    counter, fences = 0, []
    for _ in range(500):
        with redis_lock("a") as lease:
            counter += 1
            fences.append(lease.fence)
    over.set()
    flusher.join()
    assert counter == 500
    assert fences == sorted(set(fences))
    assert left_behind(look) == []


def test_f4_an_empty_restart_is_a_loss_that_is_told(server, use):
    use(server.tcp_url)
    lease = redis_lock("a", ttl=1.5).acquire()
    server.restart()
    began = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(redis_lock("a", wait=5).acquire).result()
    assert lease.lost.wait(10)
    assert elapsed(began) < 0.5 + 0.5 + ROOM  # a third of the TTL, and one renewal
    assert second.fence > lease.fence
    second.release()
    with pytest.raises(LockLost):
        lease.release()


@pytest.mark.stress
def test_f5_a_replica_without_the_write_gives_the_lock_away_but_a_higher_fence(server, use):
    with embedded_server(tcp=True, repl_diskless_sync_delay="0") as other:
        replica = redis.Redis.from_url(other.url)
        replica.replicaof("127.0.0.1", server.port)
        until(lambda: replica.info("replication").get("master_link_status") == "up")
        replica.replicaof("127.0.0.1", 1)  # cut off, and so it misses the write
        use(server.tcp_url)
        first = redis_lock("a", max_hold=1).acquire()
        replica.replicaof("NO", "ONE")
        use(other.tcp_url)
        with ThreadPoolExecutor(1) as threads:
            second = threads.submit(redis_lock("a", wait=0).acquire).result()
        assert second.fence > first.fence
        second.release()
        first.end("over")


def test_f9_without_memory_leases_go_on_and_are_handed_over(server, use, look):
    use(server.tcp_url)
    holder = redis_lock("a", ttl=3).acquire()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(redis_lock("a", wait=20).acquire)
        until(lambda: look.llen(f"{LOCK}:queue") == 1)
        look.config_set("maxmemory", 1)
        with pytest.raises(LockUnavailable, match="OOM"):
            redis_lock("b", wait=0.2).acquire()
        holder.extend(to=5)
        holder.release()
        waiting.result(20).release()
    look.config_set("maxmemory", 0)
    assert left_behind(look) == []


def test_f10_an_evicted_lock_is_a_lost_one(server, use, look):
    use(server.tcp_url)
    lease = redis_lock("a", ttl=0.6).acquire()
    look.config_set("maxmemory-policy", "allkeys-lru")
    look.config_set("maxmemory", look.info("memory")["used_memory"] + 200_000)
    for number in itertools.count():
        look.set(f"filler:{number}", "x" * 1000)
        if not look.exists(LOCK):
            break
        assert number < 50_000
    assert lease.lost.wait(10)


def test_f11_a_replica_that_takes_no_writes_is_unavailable(server, use, look):
    use(server.tcp_url)
    with redis_lock("a"):
        pass
    look.replicaof("127.0.0.1", 1)
    for wait in (0, 0.3):
        with pytest.raises(LockUnavailable, match="READONLY"):
            redis_lock("a", wait=wait).acquire()


SHIM = """
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/time.h>
    #include <time.h>
    static long step(void) {
        FILE *file = fopen(getenv("CLOCK_STEP"), "r");
        long seconds = 0;
        if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
        return seconds;
    }
    int gettimeofday(struct timeval *tv, void *tz) {
        static int (*real)(struct timeval *, void *);
        if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
        int result = real(tv, tz);
        tv->tv_sec += step();
        return result;
    }
    int clock_gettime(clockid_t clock, struct timespec *ts) {
        static int (*real)(clockid_t, struct timespec *);
        if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
        int result = real(clock, ts);
        if (clock == CLOCK_REALTIME) ts->tv_sec += step();
        return result;
    }
"""


@pytest.fixture
def stepped(tmp_path, monkeypatch):
    """A server whose clock on the wall can be set: ``stepped(3600)``."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler for the clock's shim")
    (tmp_path / "shim.c").write_text(SHIM)
    shim, step = tmp_path / "shim.so", tmp_path / "step"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c", "-ldl"], check=True
    )
    step.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("CLOCK_STEP", str(step))
    with EmbeddedServer(tcp=True) as server, redis.Redis.from_url(server.url) as client:
        monkeypatch.delenv("LD_PRELOAD")
        before = client.time()[0]
        step.write_text("1000")
        end = time.monotonic() + 2  # a server may ask now and then only
        while client.time()[0] < before + 900:
            if time.monotonic() > end:
                pytest.skip("this server does not ask the C library for the time")
        step.write_text("0")
        yield server, client, lambda seconds: step.write_text(str(seconds))


@pytest.mark.stress
def test_f19_a_clock_set_forward_ends_locks_and_the_fence_tells(stepped, use):
    server, client, step = stepped
    use(server.tcp_url)
    lease = redis_lock("a", ttl=3).acquire()
    step(60)
    until(lambda: not client.exists(LOCK))
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(redis_lock("a", wait=5).acquire).result()
    assert second.fence > lease.fence
    assert lease.lost.wait(10)
    second.release()


@pytest.mark.stress
def test_f19_a_clock_set_back_neither_hangs_waiters_nor_lowers_fences(stepped, use):
    server, client, step = stepped
    use(server.tcp_url)
    lease = redis_lock("a", ttl=5, max_hold=5).acquire()
    step(-600)
    until(lambda: client.pttl(LOCK) > 500_000)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        assert isinstance(threads.submit(redis_lock("a", wait=0.5).acquire).exception(), LockBusy)
    assert elapsed(began) < 0.5 + ROOM
    assert len(redis_lock("a").force_release()) == 1
    lease.end("over")
    with redis_lock("a", wait=5) as second:
        assert second.fence > lease.fence


def test_f21_a_flush_is_a_loss_that_is_told(server, use, look):
    use(server.tcp_url)
    lease = redis_lock("a", ttl=0.6).acquire()
    look.flushdb()
    assert lease.lost.wait(10)
    with pytest.raises(LockLost):
        lease.release()
    with redis_lock("a") as second:
        assert second.fence > lease.fence


# The network


@pytest.mark.parametrize("lose", ["lose_replies", "lose_requests"])
def test_f12_a_lost_acquire_is_asked_again_and_is_one_grant(proxy, look, lose):
    with redis_lock("a") as before:
        pass
    ahead = before.fence + 10**9  # so that the clock has no part in it
    look.set(FENCE, ahead)
    getattr(proxy, lose)(1, containing=b"EVALSHA")
    with redis_lock("a") as lease:
        assert proxy.lost == 1
        assert lease.fence == ahead + 1
        lease.check()
    assert left_behind(look) == []
    look.set(FENCE, ahead)


@pytest.mark.parametrize("lose", ["lose_replies", "lose_requests"])
def test_f12_a_lost_release_is_asked_again_and_is_a_release(proxy, look, lose):
    with redis_lock("a") as lease:
        getattr(proxy, lose)(1, containing=b"EVALSHA")
    assert proxy.lost == 1
    assert not lease.lost.is_set()
    assert left_behind(look) == []
    with redis_lock("a", wait=0):
        pass


@pytest.mark.parametrize("lose", ["lose_replies", "lose_requests"])
async def test_f12_on_asyncio(proxy, look, lose):
    async with redis_lock("a"):
        pass
    getattr(proxy, lose)(1, containing=b"EVALSHA")
    async with redis_lock("a", wait=0) as lease:
        getattr(proxy, lose)(1, containing=b"EVALSHA")
    assert proxy.lost == 2
    assert not lease.lost.is_set()
    assert left_behind(look) == []


def test_f12_a_lost_extension_is_asked_again(proxy, look):
    with redis_lock("a", ttl=5) as lease:
        lease.extend(to=6)
        proxy.lose_replies(1, containing=b"EVALSHA")
        lease.extend(to=20)
        assert lease.remaining() > 19
        lease.check()
    assert left_behind(look) == []


def test_f12_a_lost_renewal_is_repeated_in_time(proxy):
    with redis_lock("a", ttl=0.9) as lease:
        proxy.lose_replies(1, containing=b"EVAL\r\n")
        until(lambda: proxy.lost == 1)
        assert not lease.lost.wait(1.0)


def test_f13_a_lost_wake_up_costs_nothing_where_the_error_shows(proxy, look):
    first = redis_lock("a").acquire()
    with ThreadPoolExecutor(1) as threads:
        proxy.lose_replies(1, containing=b"BLPOP")
        waiting = threads.submit(redis_lock("a", wait=20).acquire)
        until(lambda: proxy.lost == 1 and look.llen(f"{LOCK}:queue") == 1)
        began = time.monotonic()
        first.release()
        second = waiting.result(20)
        assert elapsed(began) < GRANT + SLICE + ROOM
        second.release()
    assert left_behind(look) == []


@pytest.fixture
def half_open(server, use, settings):
    """A proxy that falls silent; the alias "direct" goes past it."""
    with lost_reply_proxy(server.tcp_url) as proxy:
        caches = use(proxy.url, SOCKET_TIMEOUT=0.5)
        direct = caches["default"] | {"LOCATION": server.tcp_url}
        settings.CACHES = caches | {"direct": direct}
        yield proxy


def listeners(look):
    return [client for client in look.client_list() if client["cmd"] == "blpop"]


#: Seconds: the rest of a slice, and a time-out on each connection that no longer answers.
NOTICED = SLICE + LAST_ANSWER + 2 * 0.5


@pytest.mark.stress
def test_f13_a_waiter_whose_connections_are_half_open_finds_out(half_open, look):
    """Redis wakes a listener that is not there any more, and nobody tells either side."""
    holder = redis_lock("a", cache="direct").acquire()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(redis_lock("a", wait=20).acquire)
        until(lambda: listeners(look))
        half_open.fall_silent()
        began = time.monotonic()
        holder.release()
        lease = waiting.result(20)
        assert elapsed(began) < NOTICED + GRANT + ROOM
        lease.check()
        lease.release()
    assert left_behind(look) == []


@pytest.mark.stress
async def test_f13_on_asyncio(half_open, look):
    holder = await redis_lock("a", cache="direct").aacquire()
    waiting = asyncio.create_task(redis_lock("a", wait=20).aacquire())
    while not listeners(look):
        await asyncio.sleep(0.005)
    half_open.fall_silent()
    began = time.monotonic()
    await holder.arelease()
    lease = await asyncio.wait_for(waiting, 20)
    assert elapsed(began) < NOTICED + GRANT + ROOM
    await lease.arelease()
    assert left_behind(look) == []


@pytest.mark.stress
def test_f13_a_holder_whose_connections_are_half_open_keeps_its_lease(half_open):
    with redis_lock("a", ttl=3) as lease:
        half_open.fall_silent()
        assert not lease.lost.wait(3.5), "renewed over a connection that works"
        lease.check()


@pytest.mark.parametrize(
    "timeout",
    [
        pytest.param(0.3, id="0.3"),
        pytest.param(5, id="5", marks=pytest.mark.stress),
        pytest.param(None, id="None", marks=pytest.mark.stress),
    ],
)
def test_f14_who_waits_gets_a_dead_holders_lock_whatever_the_socket_timeout(server, use, timeout):
    use(server.tcp_url, **({"SOCKET_TIMEOUT": timeout} if timeout else {}))
    dead = redis_lock("a", ttl=1.0).acquire()
    dead.end("as if killed")
    began = time.monotonic()
    with redis_lock("a", wait=20) as lease:
        assert lease.fence > dead.fence
        assert elapsed(began) < 1.0 + SLICE + ROOM


@pytest.mark.stress
def test_f15_an_answer_slower_than_the_ttl_is_no_lease(proxy, look):
    proxy.delay = 0.35
    with pytest.raises(LockUnavailable, match="longer than its TTL"):
        redis_lock("a", ttl=0.3).acquire()
    proxy.delay = 0.0
    until(lambda: not look.exists(LOCK))
    proxy.delay = 0.2
    with redis_lock("a", ttl=5) as lease:
        assert lease.remaining() <= 5 - 0.05 - 0.002 - 0.2
    proxy.delay = 0.0


def test_f25_waiters_never_keep_a_connection_from_the_holder(server, use, look):
    pool = {"max_connections": 4, "timeout": 1}
    use(
        server.tcp_url,
        CONNECTION_POOL_CLASS="redis.connection.BlockingConnectionPool",
        CONNECTION_POOL_KWARGS=pool,
    )
    holder = redis_lock("a").acquire()
    with ThreadPoolExecutor(40) as threads:
        waiting = [threads.submit(_hold_once) for _ in range(40)]
        until(lambda: look.llen(f"{LOCK}:queue") == 40, 30)
        began = time.monotonic()
        holder.release()
        assert elapsed(began) < 0.5
        fences = [each.result(60) for each in waiting]
    assert len(set(fences)) == 40
    assert left_behind(look) == []


def _hold_once():
    with redis_lock("a", wait=60) as lease:
        return lease.fence


# The client


@pytest.mark.stress
def test_f16_a_killed_holder_is_followed_within_its_ttl(server, use):
    caches = use(server.tcp_url)
    program = """
        lease = redis_lock("a", ttl=1.5).acquire()
        say(lease.fence)
        time.sleep(60)
    """
    with client_process(caches, program) as holder:
        fence = int(said(holder))
        holder.kill()
        began = time.monotonic()
        with redis_lock("a", wait=20) as lease:
            assert lease.fence > fence
            assert elapsed(began) < 1.5 + SLICE + ROOM


@pytest.mark.stress
def test_f17_killed_waiters_cost_a_grant_and_a_slice_however_many_they_are(server, use, look):
    caches = use(server.tcp_url)
    program = """
        for _ in range(8):
            threading.Thread(target=redis_lock("a", wait=60).acquire, daemon=True).start()
        time.sleep(60)
    """
    holder = redis_lock("a").acquire()
    with client_process(caches, program) as waiters, ThreadPoolExecutor(1) as threads:
        until(lambda: look.llen(f"{LOCK}:queue") == 8, 20)
        live = threads.submit(redis_lock("a", wait=30).acquire)
        until(lambda: look.llen(f"{LOCK}:queue") == 9)
        waiters.kill()
        waiters.wait()
        began = time.monotonic()
        holder.release()
        live.result(30).release()
        assert elapsed(began) < 2 * GRANT + SLICE + ROOM
    assert left_behind(look) == []


@pytest.mark.stress
def test_f18_a_holder_that_was_paused_knows_before_it_writes(server, use, look):
    caches = use(server.tcp_url)
    program = """
        with_lease = redis_lock("a", ttl=0.5).acquire()
        say(with_lease.fence)
        sys.stdin.readline()
        try:
            with_lease.check()
        except LockLost as error:
            say("lost")
        else:
            say("wrote")
    """
    with client_process(caches, program) as holder:
        fence = int(said(holder))
        holder.send_signal(signal.SIGSTOP)
        with redis_lock("a", wait=20) as lease:
            holder.stdin.write("go on\n")
            holder.stdin.flush()
            holder.send_signal(signal.SIGCONT)
            assert said(holder) == "lost"
            assert lease.fence > fence
            lease.check()


# Cancellation


async def test_f24_three_hundred_cancellations_leave_nothing_behind(server, use, look):
    use(server.tcp_url)
    rng = random.Random(7)
    stop = asyncio.Event()

    async def work():
        async with redis_lock("a", ttl=2, wait=5):
            await asyncio.sleep(rng.random() * 0.004)

    async def compete():  # so that acquiring, waiting and handing over are all cut short
        while not stop.is_set():
            async with redis_lock("a", ttl=2, wait=5):
                await asyncio.sleep(0.001)

    await work()
    competing = asyncio.create_task(compete())
    cancelled = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(300):
            task = asyncio.create_task(work())
            if number % 3:
                for _ in range(rng.randrange(60)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(rng.random() * 0.01)
            task.cancel()
            for _ in range(number % 4):  # some are in a hurry
                await asyncio.sleep(0)
                task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
            cancelled += outcome is not None
        stop.set()
        await competing
        assert cancelled > 150
        assert len(asyncio.all_tasks()) == 1
        gc.collect()
    assert [key for key in look.scan_iter() if not key.endswith(b":fence")] == []


async def test_f24_a_cancelled_waiter_hands_its_grant_on(server, use, look):
    use(server.tcp_url)
    lease = await redis_lock("a").aacquire()
    first = asyncio.create_task(redis_lock("a", wait=20).aacquire())
    while look.llen(f"{LOCK}:queue") < 1:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(redis_lock("a", wait=20).aacquire())
    while look.llen(f"{LOCK}:queue") < 2:
        await asyncio.sleep(0.005)
    await lease.arelease()
    if first.cancel():
        with pytest.raises(asyncio.CancelledError):
            await first
    else:  # it was quicker, and has the lock
        await first.result().arelease()
    await (await asyncio.wait_for(second, GRANT + SLICE + ROOM)).arelease()
    assert left_behind(look) == []


async def test_f24_in_whatever_hurry_a_lost_farewell_is_repeated(proxy, look):
    lease = await redis_lock("a").aacquire()
    waiter = asyncio.create_task(redis_lock("a", wait=20).aacquire())
    while not any(client["cmd"] == "blpop" for client in look.client_list()):
        await asyncio.sleep(0.005)
    proxy.lose_requests(1, containing=b"EVALSHA")
    for _ in range(20):
        waiter.cancel()
        await asyncio.sleep(0.002)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert proxy.lost == 1
    assert look.llen(f"{LOCK}:queue") == 0
    await lease.arelease()
    assert left_behind(look) == []


def test_f24_a_keyboard_interrupt_leaves_no_lock(server, use, look):
    caches = use(server.tcp_url)
    program = """
        import signal
        # A process that was started in a shell's background ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            say("waiting")
            redis_lock("a", wait=60).acquire()
        except KeyboardInterrupt:
            say("interrupted")
    """
    holder = redis_lock("a").acquire()
    with client_process(caches, program) as waiter:
        assert said(waiter) == "waiting"
        until(lambda: look.llen(f"{LOCK}:queue") == 1, 20)
        waiter.send_signal(signal.SIGINT)
        assert said(waiter) == "interrupted"
    assert look.llen(f"{LOCK}:queue") == 0
    holder.release()
    assert left_behind(look) == []


def test_errors_of_locks_have_one_base():
    for kind in (LockUnavailable, LockLost, LockBusy):
        assert issubclass(kind, LockError)
