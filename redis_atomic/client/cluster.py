"""
A Redis Cluster: which node serves a slot, and how a call gets to it.

The map of slots is one for threads and event loops: it is asked for (CLUSTER SLOTS)
by trips as any other, within the budget of the call that needs it, and corrected by
what redirections say. Keys and slots: https://redis.io/docs/latest/reference/cluster-spec/
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis import exceptions as errors
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from ..exceptions import IndeterminateResult, NotExecuted
from ..scripting.script import Call
from .replies import ERROR_REPLIES
from .server import Server, netloc
from .slots import slot_of
from .travel import drive
from .trips import Command, Path, Patience, Trips, is_passing, may_pass

if TYPE_CHECKING:
    from .connections import Client

Address = tuple[str, int]
ASKING: Command = ("ASKING",)


class Node(Server):
    """One node of a cluster."""

    def __init__(self, client: Client, address: Address) -> None:
        self.address = address
        super().__init__(
            f"{client.where} at {netloc(*address)}",
            partial(client.make_pool, _at(client.urls[0], address)),
        )


class Cluster:
    """The topology of a client whose factory is a ClusterConnectionFactory."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._startup = [_address(url) for url in client.urls]
        self._nodes: dict[Address, Node] = {}
        self._roles: dict[Address, str] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._is_stale = True
        self._informed: Address | None = None  # asked for the map before the others
        self._doubted: Address | None = None  # … after them

    def path(self, keys: Sequence[bytes], call: Call[Any] | None = None) -> Path:
        """See Client.path."""
        return self.path_to(slot_of(keys, call), Patience(self._client.budget))

    def path_to(self, slot: int | None, patience: Patience) -> Path:
        """The path to the node that serves a slot; None: to any primary."""
        return partial(self._deliver, slot, patience)

    def _deliver(
        self, slot: int | None, patience: Patience, commands: Sequence[Command]
    ) -> Trips[list[Any]]:
        """
        The replies to commands on one slot.

        They are sent again only while it is certain that they were not executed: to
        where the cluster says, after a pause where it says nothing, within patience.
        """
        asked, delay = None, 0.0  # a node that only imports the slot must be ASKED
        while True:
            node = asked
            try:
                if node is None:
                    node = yield from self.node_of(slot, delay)
                replies = yield node, _asking(commands) if asked else commands, delay
            except NotExecuted as error:
                if patience.is_over or not may_pass(error):
                    raise
                self.doubt(node)
                asked, delay = None, patience.pause()
                continue
            except IndeterminateResult:
                self.doubt(node)
                raise
            if asked:
                del replies[_first_keyed(commands)]
            refusal = _refusal(commands, replies, slot)
            if refusal is None or patience.is_over:
                return replies
            asked, delay = self._follow(refusal, node, patience)

    def _follow(self, refusal: Any, node: Node, patience: Patience) -> tuple[Node | None, float]:
        """Whom to ask next instead of the slot's owner, and the seconds until then."""
        if not isinstance(refusal, errors.AskError):
            self._is_stale |= not isinstance(refusal, errors.TryAgainError)
            return None, patience.pause()
        # A node that does not know its own host leaves it out: it is the one just asked.
        address = (refusal.host or node.address[0], refusal.port)
        if isinstance(refusal, errors.MovedError):
            self._owners[refusal.slot_id] = self._informed = address
            self._is_stale = True
            return None, patience.hop()
        return self._node(address), patience.hop()

    def doubt(self, node: Node | None) -> None:
        """Somebody could not reach this node: ask the others where its slots are now."""
        self._is_stale = True
        if node is not None:
            self._doubted = node.address

    def node_of(self, slot: int | None, delay: float = 0.0) -> Trips[Node]:
        """
        The node that serves a slot, as far as is known; None: any primary.

        ``delay`` (seconds) is waited before the map is asked for. NotExecuted when no
        node answers, or none serves the slot.
        """
        if self._is_stale:
            yield from self._refresh(delay)
        if slot is None:
            primaries = [each for each, role in self._roles.items() if role == "primary"]
            address = random.choice(primaries) if primaries else None
        else:
            address = self._owners[slot]
        if address is None:
            self._is_stale = True
            what = "No primary is known." if slot is None else f"No node serves slot {slot}."
            unserved = errors.ClusterDownError(what)
            raise NotExecuted(f"The cluster of {self._client.where}: {unserved}") from unserved
        return self._node(address)

    def _refresh(self, delay: float = 0.0) -> Trips[None]:
        self._is_stale = False  # others need not ask, too
        try:
            yield from self._ask_for_map(delay)
        except BaseException:  # cancelled, too: then nobody is asking any more
            self._is_stale = True
            raise

    def _ask_for_map(self, delay: float) -> Trips[None]:
        failure: Exception | None = None
        for node in self._by_trust():
            try:
                (reply,) = yield node, [("CLUSTER", "SLOTS")], delay
            except (NotExecuted, IndeterminateResult) as error:
                failure = error.__cause__ if isinstance(error.__cause__, Exception) else error
                continue
            if not isinstance(reply, ERROR_REPLIES):
                return self._learn(reply, node.address[0])
            failure = reply
        raise NotExecuted(
            f"No node of {self._client.where} told the cluster's slots: {failure} "
            "Nothing was sent. Check LOCATION, and that the user may CLUSTER SLOTS."
        ) from failure

    def _by_trust(self) -> list[Node]:
        """Whom to ask for the map: first who should know it, last who did not answer."""
        addresses = list({*self._roles, *self._startup})
        random.shuffle(addresses)
        addresses.sort(key=lambda each: (each == self._doubted, each != self._informed))
        return [self._node(each) for each in addresses]

    def _learn(self, reply: Any, host: str) -> None:
        """Take over CLUSTER SLOTS; a node that does not know its host is the one asked."""
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        roles: dict[Address, str] = {}
        for low, high, *nodes in reply:
            addresses = [((name or b"").decode() or host, port) for name, port, *_ in nodes]
            owners[low : high + 1] = addresses[:1] * (high + 1 - low)
            roles |= dict.fromkeys(addresses[1:], "replica") | {addresses[0]: "primary"}
        self._owners, self._roles = owners, roles
        self._nodes = {each: self._node(each) for each in roles}
        self._informed = None

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, Node(self._client, address))
        return node

    def servers(self) -> list[tuple[str, Server]]:
        """Role and server of every node, primaries first; NotExecuted if none answers."""
        drive(self._refresh())
        roles = sorted(self._roles.items(), key=lambda item: (item[1], item[0]))
        return [(role, self._node(address)) for address, role in roles]

    def close(self) -> None:
        """Disconnect the threads' pools of all nodes."""
        for node in self._nodes.values():
            node.close()


def refuses(reply: Any, slot: int | None) -> bool:
    """Whether a node's reply says: not executed, ask elsewhere or later."""
    if isinstance(reply, errors.AskError):  # MOVED is one of them
        return bool(reply.slot_id == slot)
    return is_passing(reply)


def _refusal(commands: Sequence[Command], replies: list[Any], slot: int | None) -> Any:
    """The reply that says "elsewhere" or "later"; what SCRIPT LOAD says is not about the slot."""
    for command, reply in zip(commands, replies, strict=True):
        if command[0] != "SCRIPT" and refuses(reply, slot):
            return reply
    return None


def _asking(commands: Sequence[Command]) -> list[Command]:
    first = _first_keyed(commands)
    return [*commands[:first], ASKING, *commands[first:]]


def _first_keyed(commands: Sequence[Command]) -> int:
    """ASKING holds for the next command, or for the MULTI that follows it."""
    return 1 if commands[0][0] == "SCRIPT" else 0


def _address(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or 6379


def _at(url: str, address: Address) -> str:
    """The same address with the same credentials and options, of another node."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at}{netloc(*address)}").geturl()
