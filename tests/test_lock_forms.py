"""Calls that are packed but for their token, and tokens themselves."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.client.connections import client_for
from redis_atomic.client.execution import arun, run
from redis_atomic.locks.keys import Keys, keys_of
from redis_atomic.locks.lock import redis_lock
from redis_atomic.locks.protocol import Terms, Ticket
from redis_atomic.locks.tokens import DRAWN, new_token, owner_of
from redis_atomic.scripting.packing import pack

TERMS = Terms()
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def as_words(call, client):
    """The call packed word by word, nothing of it known before."""
    keys = [client.make_key(key) for key in call.keys]
    return pack("EVALSHA", call.command.sha, keys, list(call.args))


@given(NAMES, st.integers(1, 5), st.floats(0.1, 1e6), st.booleans(), st.booleans(), st.data())
def test_a_packed_call_has_the_same_bytes_as_its_words(name, limit, ttl, queueing, doubt, data):
    client = client_for("default")
    for _ in range(3):
        token = new_token() + "x" * data.draw(st.integers(0, 2))
        keys = Keys(name + data.draw(st.sampled_from(["", "%b", "é"])), limit)
        ticket = Ticket(keys, TERMS, token, doubt)
        for call in (ticket.acquire(ttl, queueing=queueing), ticket.finish(ttl)):
            assert call.packed(client) == as_words(call, client)


def test_the_prefix_is_that_of_the_cache_that_is_asked(settings):
    ticket = Ticket(Keys("a"), TERMS, new_token())
    call = ticket.acquire(10.0, queueing=True)
    assert b"\r\ntests:lock:{a}\r\n" in call.packed(client_for("default"))
    settings.CACHES = {"default": settings.CACHES["default"] | {"KEY_PREFIX": "other"}}
    assert b"\r\nother:lock:{a}\r\n" in call.packed(client_for("default"))


async def test_the_scripts_take_it_either_way(server_client):
    client = client_for("default", "locks")
    for number in range(4):
        ticket = Ticket(keys_of(f"a{number}"), TERMS, new_token())
        answer = run(client, ticket.acquire(10.0, queueing=True))
        assert answer == await arun(client, ticket.acquire(10.0, queueing=True))
        assert run(client, ticket.finish(10.0))
    assert not server_client.exists("tests:lock:{a0}")


def test_a_lock_whose_name_is_another_ones_token_is_a_lock_like_any_other(server_client):
    with redis_lock("outer") as outer, redis_lock(outer.token) as inner:
        held = server_client.get(f"tests:lock:{{{outer.token}}}")
        assert held.decode() == f"{inner.fence}:{inner.token}"


def test_no_two_threads_draw_the_same_token():
    drawn = []

    def draw():
        for _ in range(20 * DRAWN):
            drawn.append(new_token())

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 8 * 20 * DRAWN


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="nothing to inherit")
def test_a_child_draws_none_of_its_parents_tokens():
    program = (
        "import os; from redis_atomic.locks.tokens import new_token; new_token();"
        "child = os.fork();"
        "child and os.waitpid(child, 0);"
        "print(*[new_token() for _ in range(100)])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    tokens = done.stdout.split()
    assert len(set(tokens)) == len(tokens) == 200
    assert len({owner_of(token) for token in tokens}) == 2
    assert len({token.rpartition(":")[2] for token in tokens}) == 200
