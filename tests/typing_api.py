"""The types of the public API, checked by mypy and never run."""

from collections.abc import Mapping
from typing import assert_type

from redis_atomic import Call, operation, scripts
from redis_atomic.operations import (
    Increment,
    Swap,
    Transfer,
    aincrement,
    compare_and_swap,
    hash_get_or_create,
    hash_increment_multiple,
    increment,
    increment_with_max,
    transfer,
)


@operation
def add_member(key: str, member: str) -> Call[bool]:
    return Call("SADD", (key,), (member,), parse=bool)


async def check() -> None:
    assert_type(add_member("team", "ann"), bool)
    assert_type(await add_member.acall("team", "ann"), bool)
    assert_type(add_member.call("team", member="ann"), Call[bool])
    assert_type(add_member.using(version=2)("team", "ann"), bool)
    add_member("team", 1)  # type: ignore[arg-type]
    add_member("team")  # type: ignore[call-arg]

    assert_type(increment("hits"), int)
    assert_type(await aincrement("hits", 2, ttl=60), int)
    assert_type(increment_with_max("hits", maximum=10), Increment)
    assert_type(compare_and_swap("k", None, "v"), Swap)
    assert_type(transfer("a", "b", 1, request_id="r"), Transfer)
    assert_type(hash_increment_multiple("h", {"f": 1}), dict[str, int])
    assert_type(hash_get_or_create("h", {"f": "v"}), tuple[dict[str, bytes], bool])

    with scripts.pipeline() as pipeline:
        queued = pipeline.add(increment.call("hits"))
    assert_type(queued.value, int)


def _mapping(fields: Mapping[str, int]) -> None:
    hash_increment_multiple("h", fields)
