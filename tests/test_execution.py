import asyncio

from redis_atomic import Call, RawKey, operation
from redis_atomic.client.connections import client_for
from redis_atomic.client.execution import arun, run
from redis_atomic.scripting.script import Script

INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")


def test_a_script_is_loaded_at_its_first_use_and_its_reply_parsed(server_client):
    client = client_for("default")
    call = Call(INCR, ("hits",), (), parse=str)
    assert [run(client, call), run(client, call)] == ["1", "2"]
    assert server_client.get("tests:1:hits") == b"2"


def test_a_plain_command_goes_without_a_script(server_client):
    assert run(client_for("default"), Call("INCRBY", (RawKey("n"),), (5,))) == 5
    assert server_client.get("n") == b"5"


async def test_the_asyncio_path_answers_alike():
    client = client_for("default")
    assert await asyncio.gather(*(arun(client, Call(INCR, ("hits",))) for _ in range(5))) == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_an_operation_is_called_awaited_and_built():
    @operation
    def bump(key: str, amount: int = 1) -> Call[int]:
        return Call("INCRBY", (key,), (amount,))

    assert bump("k") == 1
    assert asyncio.run(bump.acall("k", amount=2)) == 3
    assert bump.call("k").args == (1,)
