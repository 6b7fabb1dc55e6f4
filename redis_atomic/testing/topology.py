"""
A Redis Cluster, and a server behind Sentinels, of our own: on loopback, for tests.

Both are made of embedded servers, so a test may kill, pause and restart any of
them. Time-outs are short: a primary that is gone is replaced within about three
seconds, not fifteen or thirty.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import redis

from .server import START_TIMEOUT, EmbeddedServer

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


class EmbeddedSentinels:
    """
    A master, its replicas, and the Sentinels that promote one when it is gone.

    ``service`` is the master's name among the Sentinels; ``sentinels`` in
    ``addresses`` are what the SENTINELS option of django-redis takes;
    ``down_after`` (seconds) is how long a master must be silent to be replaced;
    ``tls`` is for all, Sentinels too, as for EmbeddedServer.
    """

    service = "atomic"

    def __init__(
        self,
        *,
        replicas: int = 1,
        sentinels: int = 3,
        binary: str | os.PathLike[str] | None = None,
        down_after: float = 1.0,
        tls: str | os.PathLike[str] | None = None,
        **options: str,
    ) -> None:
        options = {"repl-diskless-sync-delay": "0"} | options
        self.servers = [
            EmbeddedServer(binary=binary, tcp=True, tls=tls, **options) for _ in range(1 + replicas)
        ]
        quorum = sentinels // 2 + 1
        self.sentinels = [
            _Sentinel(self.servers[0], self.service, quorum, down_after, binary, tls)
            for _ in range(sentinels)
        ]

    @property
    def url(self) -> str:
        """The service's address, for LOCATION."""
        return f"redis://{self.service}/0"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each Sentinel."""
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    def start(self) -> Self:
        """Start all; returns when replicas follow and the Sentinels know each other."""
        master, *replicas = [server.start() for server in self.servers]
        for replica in replicas:
            ask(replica, "REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: all(ask(each, "ROLE")[3] == b"connected" for each in replicas))
        for sentinel in self.sentinels:
            sentinel.start()
        return self.wait_until_healthy()

    def wait_until_healthy(self) -> Self:
        """Wait until the Sentinels agree on a running master with running replicas."""
        wait_until(lambda: all(self._is_healthy(sentinel) for sentinel in self.sentinels))
        return self

    def _is_healthy(self, sentinel: EmbeddedServer) -> bool:
        state = _pairs(ask(sentinel, "SENTINEL MASTER", self.service))
        replicas = [_pairs(each) for each in ask(sentinel, "SENTINEL REPLICAS", self.service)]
        up = [each for each in replicas if each["flags"] == "slave"]
        linked = [each for each in up if each["master-link-status"] == "ok"]
        wanted = sum(server.is_running for server in self.servers) - 1
        others = int(state["num-other-sentinels"]) == len(self.sentinels) - 1
        return state["flags"] == "master" and others and len(linked) == wanted

    @property
    def master(self) -> EmbeddedServer:
        """The server that the first Sentinel calls master now."""
        _, port = ask(self.sentinels[0], "SENTINEL GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    def stop(self) -> None:
        """End all servers. May be called twice."""
        for server in (*self.sentinels, *self.servers):
            server.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class _Sentinel(EmbeddedServer):
    """A server in Sentinel mode: it keeps what it learns in a configuration file."""

    def __init__(
        self,
        master: EmbeddedServer,
        service: str,
        quorum: int,
        down_after: float,
        binary: str | os.PathLike[str] | None,
        tls: str | os.PathLike[str] | None,
    ) -> None:
        super().__init__(binary=binary, tcp=True, tls=tls)
        self._configuration = [
            *(f"{name} {value}" for name, value in self._ports().items()),
            "bind 127.0.0.1",
            f"unixsocket {self.socket_path}",
            f"dir {self.folder}",
            f"logfile {self.log_path}",
            f"sentinel monitor {service} 127.0.0.1 {master.port} {quorum}",
            f"sentinel down-after-milliseconds {service} {int(down_after * 1000)}",
            f"sentinel failover-timeout {service} {int(down_after * 3000)}",
        ]

    def _command_line(self) -> list[str]:
        path = self.folder / "sentinel.conf"
        if not path.exists():
            path.write_text("\n".join(self._configuration))
        return [self.binary, str(path), "--sentinel"]


@contextmanager
def embedded_cluster(**arguments: Any) -> Iterator[EmbeddedCluster]:
    """A running EmbeddedCluster (its arguments), stopped at the end of the block."""
    with EmbeddedCluster(**arguments) as cluster:
        yield cluster


@contextmanager
def embedded_sentinels(**arguments: Any) -> Iterator[EmbeddedSentinels]:
    """Running EmbeddedSentinels (their arguments), stopped at the end of the block."""
    with EmbeddedSentinels(**arguments) as sentinels:
        yield sentinels


def ask(server: EmbeddedServer, command: str, *args: Any) -> Any:
    """The reply of this very server to one command."""
    with redis.Redis.from_url(server.url, socket_timeout=5) as client:
        return client.execute_command(command, *args)


def node_id(server: EmbeddedServer) -> str:
    """The name by which the other nodes of a cluster know this one."""
    reply = ask(server, "CLUSTER MYID")
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def wait_until(holds: Callable[[], bool], timeout: float = 2 * START_TIMEOUT) -> None:
    """Wait until the condition holds; TimeoutError after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while True:
        with suppress(redis.RedisError, OSError):
            if holds():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"This did not come to pass within {timeout} s.")
        time.sleep(0.02)


def _pairs(flat: Any) -> dict[str, str]:
    """A Sentinel's answer, which redis-py hands out as a list or as a mapping."""
    items: Sequence[tuple[Any, Any]]
    items = (
        list(flat.items()) if isinstance(flat, dict) else list(zip(*[iter(flat)] * 2, strict=True))
    )
    return {_text(name): _text(value) for name, value in items}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


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
