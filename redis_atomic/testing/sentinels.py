"""
A server behind Sentinels, of our own: on loopback, for tests.

All are embedded servers, so a test may kill, pause and restart any of them. A master
that is gone is replaced within about three seconds, not thirty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from .server import EmbeddedServer
from .topology import ask, wait_until


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
def embedded_sentinels(**arguments: Any) -> Iterator[EmbeddedSentinels]:
    """Running EmbeddedSentinels (their arguments), stopped at the end of the block."""
    with EmbeddedSentinels(**arguments) as sentinels:
        yield sentinels


def _pairs(flat: Any) -> dict[str, str]:
    """A Sentinel's answer, which redis-py hands out as a list or as a mapping."""
    items: Sequence[tuple[Any, Any]]
    items = (
        list(flat.items()) if isinstance(flat, dict) else list(zip(*[iter(flat)] * 2, strict=True))
    )
    return {_text(name): _text(value) for name, value in items}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
