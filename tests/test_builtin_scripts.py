"""Every script of the package, held against every probe of the testing kit."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from redis_atomic import operations
from redis_atomic.locks.keys import keys_of
from redis_atomic.locks.protocol import Terms, Ticket, inspect
from redis_atomic.ratelimit.charge import Charge
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.protocol import ask, take_back
from redis_atomic.ratelimit.rate import Rate
from redis_atomic.scripting.builtin import FOLDER, builtin
from redis_atomic.scripting.script import Call, Key, PrefixedKey
from redis_atomic.testing import Expiring, all_probes

pytest_plugins = ["redis_atomic.testing.plugin"]


@dataclass
class Example:
    """A call that succeeds, and what it needs."""

    call: Call[Any]
    setup: dict[str, Any] = field(default_factory=dict)
    also: tuple[Key, ...] = ()

    @property
    def probes(self):
        return all_probes(self.also)


LOCK = keys_of("x")
SLOT, TICKET = LOCK.slots[0], Ticket(LOCK, Terms(), "me")
ALIVE = PrefixedKey(f"{LOCK.base}:alive")
#: Another one waits: the script wakes it by a key made of its token, which only it knows.
WAITING = {LOCK.queue: ["other"], ALIVE: {"other": 2**52}}
WAKE = LOCK.wake("*")

CHARGES = [
    Charge(Limit(rate, algorithm=algorithm), Rate.parse(rate), "scope", "user:7", cost=2)
    for rate, algorithm in (("5/m", "sliding_window"), ("9/h", "token_bucket"))
]
COUNTS = [PrefixedKey("window"), PrefixedKey("bucket")]

#: An example or more of every script; a script without one fails a test.
EXAMPLES: dict[str, list[Example]] = {
    "increment": [
        Example(operations.increment.call("k", 5, ttl=60)),
        Example(operations.increment.call("k", 5, ttl=60), {"k": 1}),
    ],
    "increment_with_max": [
        Example(operations.increment_with_max.call("k", 5, maximum=9, ttl=60), {"k": 1}),
        Example(operations.increment_with_max.call("k", 5, maximum=9), {"k": Expiring(8, ttl=60)}),
        Example(operations.validated_increment.call("k", 5, maximum=9), {"k": 1}),
    ],
    "compare_and_swap": [
        Example(operations.compare_and_swap.call("k", "a", "b"), {"k": Expiring("a", ttl=60)}),
        Example(operations.compare_and_swap.call("k", "a", None), {"k": "a"}),
        Example(operations.compare_and_swap.call("k", None, "b", ttl=60)),
    ],
    "set_if_greater": [
        Example(operations.set_if_greater.call("k", 5), {"k": Expiring(1, ttl=60)}),
        Example(operations.set_if_greater.call("k", 5, ttl=60)),
    ],
    "transfer": [
        Example(operations.transfer.call("a", "b", 5), {"a": 7, "b": Expiring(1, ttl=60)}),
        Example(operations.transfer.call("{t}a", "{t}b", 5, request_id="r"), {"{t}a": 7}),
    ],
    "hash_increment_multiple": [
        Example(
            operations.hash_increment_multiple.call("h", {"a": 1, "b": -(2**63)}, ttl=60),
            {"h": {"a": 1, "b": 0, "c": "text"}},
        ),
    ],
    "hash_get_or_create": [
        Example(operations.hash_get_or_create.call("h", {"a": 1}, ttl=60)),
        Example(operations.hash_get_or_create.call("h", {"a": 1}), {"h": {"b": "x"}}),
    ],
    "lock_acquire": [
        Example(TICKET.acquire(30, queueing=True)),
        Example(TICKET.acquire(30, queueing=True), {SLOT: Expiring("5:other", ttl=9)}),
        Example(TICKET.acquire(30, queueing=True), WAITING, also=(WAKE,)),
    ],
    "lock_extend": [Example(TICKET.extend(5, 1, 30), {SLOT: Expiring("5:me", ttl=9)})],
    "lock_finish": [
        Example(TICKET.finish(30), {SLOT: Expiring("5:me", ttl=9)}),
        Example(TICKET.finish(30), {SLOT: Expiring("5:me", ttl=9), **WAITING}, also=(WAKE,)),
    ],
    "lock_inspect": [
        Example(inspect(LOCK)),
        Example(inspect(LOCK), {SLOT: Expiring("5:me", ttl=9), LOCK.queue: ["other"]}),
    ],
    "rate_limit": [
        Example(ask(CHARGES, COUNTS)),
        Example(ask(CHARGES, COUNTS, peek=True)),
    ],
    "rate_limit_refund": [
        Example(take_back([(charge, 2**52) for charge in CHARGES], COUNTS)),
    ],
}

#: Scripts that cannot be called alone, and why.
NOT_ALONE: dict[str, str] = {}

ROWS = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name, examples in EXAMPLES.items()
    for number, example in enumerate(examples)
]


def test_every_script_has_an_example_or_a_reason():
    files = {path.stem for path in FOLDER.glob("*.lua")}
    assert files == EXAMPLES.keys() | NOT_ALONE.keys()
    assert not EXAMPLES.keys() & NOT_ALONE.keys()
    assert all(NOT_ALONE.values())


@pytest.mark.parametrize(("name", "example"), ROWS)
def test_every_script_passes_all_probes(script_tester, name, example):
    assert example.call.command is builtin(name)
    script_tester.run(example.call, setup=example.setup, probes=example.probes)


@pytest.mark.parametrize(("name", "example"), ROWS)
async def test_every_script_passes_all_probes_awaited(script_tester, name, example):
    await script_tester.arun(example.call, setup=example.setup, probes=example.probes)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_keys_are_written_where_they_are_used(path):
    """
    Some hosted clusters refuse a script whose commands take their keys from variables.

    (A lock's "wake" is for the waiter whom only the script knows; locks can do without.)
    """
    for line in path.read_text().splitlines():
        code = line.partition("--")[0]
        for call in code.split("redis.call(")[1:] + code.split("redis.pcall(")[1:]:
            key = call.partition(",")[2].strip()
            declared = key.startswith(("KEYS[", "unpack(KEYS"))
            assert declared or call.startswith("'TIME'") or key.startswith("wake,"), line
