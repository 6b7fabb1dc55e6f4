"""Asking Redis about a ticket: the first trip ahead, the rest when it is the step's turn."""

import pytest

from redis_atomic.client.connections import client_for
from redis_atomic.exceptions import NotExecuted
from redis_atomic.locks.asking import Ask
from redis_atomic.locks.keys import Keys
from redis_atomic.locks.protocol import GRANTED, HELD, Terms, Ticket
from redis_atomic.locks.tokens import new_token


def ticket():
    return Ticket(Keys("a"), Terms(), new_token())


def acquiring(me):
    return Ask(client_for("default", "locks"), me.acquire(30.0, queueing=True), me, 2.0)


def test_what_the_first_trip_brought_is_not_asked_for_again(server_client):
    acquiring(ticket()).perform()  # now the server knows the script
    server_client.flushall()
    me = ticket()
    ask = acquiring(me)
    assert ask.begin()[0] == GRANTED
    server_client.flushall()
    assert ask.perform().state == HELD
    assert server_client.keys() == []


def test_a_script_that_the_first_trip_found_missing_is_loaded(server_client):
    server_client.script_flush()
    me = ticket()
    ask = acquiring(me)
    assert isinstance(ask.begin(), Exception)
    answer = ask.perform()
    assert answer.state == HELD
    assert server_client.get("tests:lock:{a}") == f"{answer.number}:{me.token}".encode()
    assert (me.trace, me.doubt) == (True, False)


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("packs_itself", [True, False])
def test_what_was_not_sent_leaves_no_trace(settings, ahead, packs_itself):
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1"}}
    me = ticket()
    ask = acquiring(me)
    if not packs_itself:
        ask.call = me.extend(1, 1, 30.0)
    if ahead:
        assert isinstance(ask.begin(), NotExecuted if packs_itself else type(None))
    with pytest.raises(NotExecuted):
        ask.perform()
    assert (me.trace, me.doubt) == (False, False)
