"""Which locks of a server are held, by whom and for how long; and taking one away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..client.connections import Client, client_for
from ..client.execution import run
from ..client.replies import translate
from ..client.server import Server
from ..client.travel import exchange
from ..scripting.script import Call, PrefixedKey
from .keys import Keys
from .options import MAX_HOLD_TTLS, lock_settings, seconds
from .protocol import Holder, Terms, force, inspect
from .waiting import TIMEOUT

#: How many keys one SCAN looks at; it takes a server well below a millisecond.
SCAN_COUNT = 1000

KEY = re.compile(r"(lock|semaphore):\{([^{}]+)\}(?::(queue|\d+))?")
GLOB = re.compile(r"([\\*?\[\]^-])")


class LockState(NamedTuple):
    """
    A lock that somebody holds or waits for. Times are seconds.

    ``kind`` is "lock" or "semaphore"; ``held`` says of each of the ``holders`` how
    long it has been one; ``waiters`` are the owners of the first who wait;
    ``stuck`` says what is wrong, or is empty.
    """

    name: str
    kind: str
    slots: int
    holders: tuple[Holder, ...]
    held: tuple[float, ...]
    waiting: int
    waiters: tuple[str, ...]
    stuck: str


def lock_states(
    cache: str | None = None, *, name: str | None = None, max_hold: float | None = None
) -> list[LockState]:
    """
    All locks that are held or waited for, in the order of their names; or those of one name.

    A lock is stuck when somebody has held it for longer than ``max_hold`` (seconds;
    by default 20 times LOCK_TTL, as only the holder knows its own), or when it has
    waiters and no holder. Looks at every key of the server (SCAN): for people and
    monitors, not for requests. Raises ImproperlyConfigured, and what ``run()`` raises.
    """
    client = client_of(cache)
    if max_hold is None:
        longest = MAX_HOLD_TTLS * lock_settings().ttl
    else:
        longest = seconds("max_hold", max_hold)
    now = _server_time(client)
    states = [_state(client, keys, now, longest) for keys in _find(client, name)]
    return sorted(state for state in states if state.holders or state.waiting)


def take_away(state: LockState, cache: str | None = None) -> list[Holder]:
    """
    Take a lock from the holders that were seen, and return those it was taken from.

    A holder that has come since keeps it. Those it is taken from learn of it at their
    next renewal, and work on until then: only their fence stops them.
    """
    client, keys = client_of(cache), Keys(state.name, state.slots, state.kind)
    settings = lock_settings()
    terms = Terms(fence_memory=settings.fence_memory, wakes=settings.waiting == "block")
    return [each for each in state.holders if run(client, force(keys, each.token, terms))]


def client_of(cache: str | None) -> Client:
    return client_for(cache or lock_settings().alias, "locks", timeout=TIMEOUT)


def _state(client: Client, keys: Keys, now: float, longest: float) -> LockState:
    info = run(client, inspect(keys))
    # A fence is the server's time in microseconds when it was minted, unless that had to be
    # exceeded because the server's clock had been stepped back.
    held = tuple([max(0.0, now - holder.fence / 1e6) for holder in info.holders])
    stuck = ""
    if max(held, default=0.0) > longest:
        stuck = f"held longer than {longest:g} s"
    elif info.waiting and not info.holders:
        stuck = "waiters, but no holder"
    return LockState(
        info.name, keys.kind, keys.limit, info.holders, held, info.waiting, info.waiters, stuck
    )


def _server_time(client: Client) -> float:
    reply: list[bytes] = run(client, Call("TIME"))
    return int(reply[0]) + int(reply[1]) / 1e6


def _find(client: Client, name: str | None) -> Iterator[Keys]:
    """The locks that have a slot or a queue; of a semaphore, slots up to the last one held."""
    slots: dict[tuple[str, str], int] = {}
    for key in _scan(client, name):
        if match := KEY.fullmatch(key):
            kind, found, part = match.groups()
            number = int(part) if part and part.isdecimal() else 1
            slots[kind, found] = max(number, slots.get((kind, found), 1))
    for (kind, found), limit in slots.items():
        yield Keys(found, limit, kind)


def _scan(client: Client, name: str | None) -> Iterator[str]:
    """The keys that may be of locks, without KEY_PREFIX."""
    prefix = client.make_key(PrefixedKey("")).decode()
    wanted = "*" if name is None else _literally(name)
    pattern = f"{_literally(prefix)}*:{{{wanted}}}*"
    for server in _primaries(client):
        for key in _scan_server(server, pattern):
            yield key.decode("utf-8", "replace").removeprefix(prefix)


def _primaries(client: Client) -> list[Server]:
    if client.topology is None:
        return [client]
    return [server for role, server in client.topology.servers() if role != "replica"]


def _scan_server(server: Server, pattern: str) -> Iterator[bytes]:
    cursor = b"0"
    while True:
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
        (reply,) = exchange(server, [command])
        if isinstance(reply, Exception):
            raise translate(reply, Call("SCAN"), ()) from reply
        cursor, keys = reply
        yield from keys
        if cursor == b"0":
            return


def _literally(text: str) -> str:
    return GLOB.sub(r"\\\1", text)
