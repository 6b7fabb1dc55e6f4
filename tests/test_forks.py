"""A child that is forked while another thread is busy with us: it does not wait for that thread."""

import os
import signal
import threading
from contextlib import contextmanager

import pytest

from redis_atomic.client import connections
from redis_atomic.client.server import Server
from redis_atomic.ratelimit.breaker import breaker
from redis_atomic.ratelimit.deny_cache import deny_cache
from redis_atomic.ratelimit.failure import local_limiter
from redis_atomic.registry import scripts
from tests.test_limiter import charges

pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")

PATIENCE = 20  # seconds

OF_A_CHILD = Server("a child's", object)


def exit_code_of_a_child(work):
    """Fork, and do this in the child: -14 where it takes too long."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def held_by_another_thread(lock):
    """A lock that its own thread may take again would tell nothing."""

    def hold():
        with lock:
            held.set()
            over.wait()

    held, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def refuse():
    breaker.failed(Exception("away"))


def find_scripts():
    scripts.reset()
    list(scripts)


@pytest.mark.parametrize(
    ("owner", "lock", "work"),
    [
        (deny_cache, "_lock", deny_cache.clear),
        (local_limiter, "_lock", lambda: local_limiter.ask(charges("5/h"))),
        (breaker, "_lock", refuse),
        (connections, "_clients_lock", lambda: connections.client_for("default", "of a child")),
        (scripts, "_lock", find_scripts),
        (OF_A_CHILD, "_lock", lambda: OF_A_CHILD.pool),
    ],
    ids=["deny cache", "local limiter", "breaker", "clients", "registry", "server"],
)
def test_a_child_does_not_wait_for_a_thread_of_its_parent(owner, lock, work):
    with held_by_another_thread(getattr(owner, lock)):
        assert exit_code_of_a_child(work) == 0
    work()
    breaker.renew()


def test_a_child_counts_for_itself_without_redis():
    asked = charges("5/h", scope="before the fork")
    local_limiter.ask(asked)

    def work():
        assert local_limiter.ask(asked, peek=True).states[0].remaining == 5

    assert exit_code_of_a_child(work) == 0
    assert local_limiter.ask(asked, peek=True).states[0].remaining == 4
    local_limiter.forget(asked)
