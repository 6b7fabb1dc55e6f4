"""
A Redis Cluster of our own: on loopback, for tests.

It is made of embedded servers, so a test may kill, pause and restart any of them. A
primary that is gone is replaced within about three seconds, not fifteen.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from .server import EmbeddedServer
from .topology import ask, wait_until

SLOTS = 16384

#: A node's second port, for the nodes' own talk, is this much above its first.
BUS = 10_000
TRIES = 3


class EmbeddedCluster:
    """
    A Redis Cluster of ``primaries``, each with ``replicas`` of its own.

    ``binary`` is the server's executable, as for EmbeddedServer; ``node_timeout``
    (seconds) is how long a node must be silent to be called dead; ``tls`` and
    ``options`` are every node's. The servers are in ``servers``, the first primaries first.
    """

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 1,
        binary: str | os.PathLike[str] | None = None,
        node_timeout: float = 1.0,
        tls: str | os.PathLike[str] | None = None,
        **options: str,
    ) -> None:
        self.primaries = primaries
        if tls is not None:
            options = {"tls-cluster": "yes"} | options
        options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(int(node_timeout * 1000)),
            "cluster-replica-validity-factor": "0",
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": "0",
        } | options
        self.servers = [
            EmbeddedServer(binary=binary, tcp=True, tls=tls, **options)
            for _ in range(primaries * (1 + replicas))
        ]

    @property
    def urls(self) -> list[str]:
        """The addresses of all nodes, for LOCATION."""
        return [server.tcp_url for server in self.servers]

    def start(self) -> Self:
        """Start the nodes and join them; returns when the cluster serves all slots."""
        for server in self.servers:
            _start_on_two_ports(server)
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            ask(server, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            ask(server, "CLUSTER MEET", "127.0.0.1", first.port)
        for number, server in enumerate(self.servers[: self.primaries]):
            first_slot, end = (n * SLOTS // self.primaries for n in (number, number + 1))
            ask(server, "CLUSTER ADDSLOTS", *range(first_slot, end))
        names = {node_id(server) for server in self.servers}
        wait_until(lambda: all(self._known_to(server) == names for server in self.servers))
        for number, server in enumerate(self.servers[self.primaries :]):
            primary = self.servers[number % self.primaries]
            ask(server, "CLUSTER REPLICATE", node_id(primary))
        return self.wait_until_healthy()

    def wait_until_healthy(self) -> Self:
        """Wait until every node that runs agrees on all slots, and replicas follow."""
        wait_until(lambda: all(self._is_healthy(each) for each in self.servers if each.is_running))
        return self

    def _known_to(self, server: EmbeddedServer) -> set[str]:
        return {node["node_id"] for node in ask(server, "CLUSTER NODES").values()}

    def _is_healthy(self, server: EmbeddedServer) -> bool:
        info, role = ask(server, "CLUSTER INFO"), ask(server, "ROLE")
        complete = info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS)
        linked = role[0] == b"master" or role[3] == b"connected"
        # A failover shows in the slots when this node, too, has heard of it.
        slots = ask(server, "CLUSTER SLOTS")
        listed = {node[1] for _, _, *nodes in slots for node in nodes}
        running = {each.port for each in self.servers if each.is_running}
        return complete and linked and listed == running

    def primary_of(self, slot: int) -> EmbeddedServer:
        """The server that serves a slot now, as the first running node sees it."""
        running = next(server for server in self.servers if server.is_running)
        for low, high, primary, *_ in ask(running, "CLUSTER SLOTS"):
            if low <= slot <= high:
                return self.server_on(primary[1])
        raise LookupError(f"No node serves slot {slot}.")

    def replicas_of(self, primary: EmbeddedServer) -> list[EmbeddedServer]:
        """The servers that follow this one now."""
        followers = ask(primary, "ROLE")[2]
        return [self.server_on(int(port)) for _, port, _ in followers]

    def server_on(self, port: int) -> EmbeddedServer:
        """The server that listens on this port."""
        return next(server for server in self.servers if server.port == port)

    def stop(self) -> None:
        """End all nodes. May be called twice."""
        for server in self.servers:
            server.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


@contextmanager
def embedded_cluster(**arguments: Any) -> Iterator[EmbeddedCluster]:
    """A running EmbeddedCluster (its arguments), stopped at the end of the block."""
    with EmbeddedCluster(**arguments) as cluster:
        yield cluster


def node_id(server: EmbeddedServer) -> str:
    """The name by which the other nodes of a cluster know this one."""
    reply = ask(server, "CLUSTER MYID")
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def _start_on_two_ports(server: EmbeddedServer) -> None:
    """Start a node; others may take the ports between our look and its start, so try again."""
    for _ in range(TRIES):
        server.port = _free_port_pair()
        with suppress(RuntimeError):
            server.start()
            return
    server.start()


def _free_port_pair() -> int:
    """A free port with a free one for the bus: both below those that systems hand out."""
    while True:
        port = random.randrange(12_000, 22_000)
        with suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + BUS))
            return port
