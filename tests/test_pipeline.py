"""Many calls in one trip: order, errors, first use, lost replies."""

import asyncio
from enum import Enum

import pytest

from redis_atomic import Call
from redis_atomic.client.connections import Client, client_for
from redis_atomic.client.execution import run
from redis_atomic.client.pipeline import Pipeline
from redis_atomic.exceptions import (
    IndeterminateResult,
    NotExecuted,
    ReplyError,
    ScriptError,
    WrongType,
)
from redis_atomic.operations import increment
from redis_atomic.scripting.script import Script
from redis_atomic.testing import embedded_server, lost_reply_proxy
from tests.servers import cache_at

INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")
FAIL = Script("fail", b"return redis.error_reply('SOLD_OUT none left')")


@pytest.fixture(params=[False, True], ids=["plain", "multi"])
def pipeline(request):
    return Pipeline(client_for("default"), transaction=request.param)


def test_results_come_in_order_and_are_parsed(pipeline):
    with pipeline as p:
        results = [p.add(Call(INCR, ("{t}n",), parse=float)) for _ in range(3)]
        text = p.add(Call("SET", ("{t}text",), ("x",)))
    assert [result.value for result in results] == [1.0, 2.0, 3.0]
    assert text.value == b"OK"


async def test_the_asyncio_pipeline_answers_alike(pipeline):
    async with pipeline as p:
        results = [p.add(Call(INCR, ("n",))) for _ in range(3)]
    assert [result.value for result in results] == [1, 2, 3]


def test_a_pipeline_straight_after_script_flush_finds_its_scripts(pipeline, server_client):
    server_client.script_flush()
    with pipeline as p:
        results = [p.add(Call(INCR, ("n",))) for _ in range(2)]
    assert [result.value for result in results] == [1, 2]


def test_an_error_belongs_to_its_call_and_the_neighbours_go_on(pipeline, server_client):
    server_client.lpush("tests:1:{t}list", "x")
    with pipeline as p:
        before = p.add(Call(INCR, ("{t}n",)))
        failed = p.add(Call(FAIL))
        wrong = p.add(Call("INCRBY", ("{t}list",), (1,)))
        after = p.add(Call(INCR, ("{t}n",)))
    assert (before.value, after.value) == (1, 2)
    with pytest.raises(ScriptError) as excinfo:
        failed.value  # noqa: B018
    assert excinfo.value.code == "SOLD_OUT"
    with pytest.raises(WrongType, match=r"tests:1:\{t\}list"):
        wrong.value  # noqa: B018


def test_arguments_are_those_that_a_call_alone_would_send(pipeline, server_client):
    class State(str, Enum):  # noqa: UP042 - str() of a StrEnum is its value
        OPEN = "open"

    call = Call("SET", ("state",), (State.OPEN,))
    run(client_for("default"), call)
    alone = server_client.get("tests:1:state")
    with pipeline:
        pipeline.add(call)
    assert server_client.get("tests:1:state") == alone == b"open"


def test_a_block_that_raises_sends_nothing(pipeline, server_client):
    def block():
        with pipeline as p:
            p.add(Call(INCR, ("n",)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert not server_client.exists("tests:1:n")


def test_a_value_read_too_early_says_when_to_read_it(pipeline):
    result = pipeline.add(Call(INCR, ("n",)))
    with pytest.raises(RuntimeError, match="after the pipeline"):
        result.value  # noqa: B018


def test_a_call_for_another_cache_is_refused(pipeline):
    with pytest.raises(ValueError, match="for the cache 'stock'"):
        pipeline.add(Call(INCR, ("n",), cache="stock"))


def test_an_empty_pipeline_sends_nothing(pipeline):
    pipeline.execute()


def test_a_command_refused_while_queueing_executes_none(server_client):
    with Pipeline(client_for("default"), transaction=True) as p:
        first = p.add(Call(INCR, ("n",)))
        bad = p.add(Call("NOSUCHCOMMAND"))
    with pytest.raises(NotExecuted):
        first.value  # noqa: B018
    with pytest.raises(Exception, match=r"(?i)unknown command"):
        bad.value  # noqa: B018
    assert not server_client.exists("tests:1:n")


def test_without_multi_it_says_that_the_calls_were_executed_one_by_one(settings):
    with embedded_server() as server:
        settings.CACHES = {"default": cache_at(server.url)}
        run(Client("default"), Call("ACL SETUSER", (), ("default", "-multi")))
        pipeline = Pipeline(Client("default"), transaction=True)
        result = pipeline.add(Call(INCR, ("n",)))
        with pytest.raises(ReplyError, match="MULTI was refused"):
            pipeline.execute()
        assert result.value == 1


@pytest.fixture
def proxy(pipeline, settings):
    """A proxy in front of a server that is alone, through which the pipeline goes."""
    with embedded_server() as server, lost_reply_proxy(server.url) as proxy:
        settings.CACHES = {"default": cache_at(proxy.url)}
        pipeline._client = Client("default")
        yield proxy


def test_a_lost_reply_makes_every_result_indeterminate(pipeline, proxy):
    proxy.lose_replies(containing=b"EVAL")
    results = [pipeline.add(Call(INCR, ("n",))) for _ in range(2)]
    with pytest.raises(IndeterminateResult):
        pipeline.execute()
    for result in results:
        with pytest.raises(IndeterminateResult):
            result.value  # noqa: B018
    assert run(Client("default"), Call("GET", ("n",))) == b"2"


def test_what_is_no_call_is_refused_with_what_to_type(pipeline):
    for wrong in (increment, 5, None):
        with pytest.raises(TypeError, match=r"increment\.call"):
            pipeline.add(wrong)


def test_a_pipeline_that_is_over_takes_no_more_calls(pipeline):
    with pipeline as p:
        p.add(Call(INCR, ("n",)))
    with pytest.raises(RuntimeError, match="inside its block"):
        p.add(Call(INCR, ("n",)))


def test_a_parser_that_fails_spoils_its_own_result_alone(pipeline):
    with pipeline as p:
        before = p.add(Call(INCR, ("n",)))
        bad = p.add(Call(INCR, ("n",), parse=lambda reply: 1 / 0))
        after = p.add(Call(INCR, ("n",)))
    assert (before.value, after.value) == (1, 3)
    with pytest.raises(ZeroDivisionError):
        bad.value  # noqa: B018


async def test_a_cancelled_pipeline_does_not_say_that_nothing_was_executed(pipeline, proxy):
    proxy.delay = 0.3
    result = pipeline.add(Call(INCR, ("n",)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pipeline.aexecute(), 0.1)
    with pytest.raises(IndeterminateResult, match="interrupted"):
        result.value  # noqa: B018
