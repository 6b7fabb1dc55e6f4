"""The server that is measured: our own, on loopback TCP and on a unix socket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager

import redis

from redis_atomic.testing import EmbeddedServer, embedded_server


class Server:
    """What is asked of a running server beside the contestants' calls."""

    def __init__(self, embedded: EmbeddedServer) -> None:
        self.url, self.unix_url = embedded.tcp_url, embedded.url
        self._client = redis.Redis.from_url(self.unix_url)

    def close(self) -> None:
        self._client.close()

    def cpu(self) -> float:
        """Seconds that the server has worked."""
        told = self._client.info("cpu")
        return told["used_cpu_user"] + told["used_cpu_sys"]

    def version(self) -> str:
        told = self._client.info("server")
        if "valkey_version" in told:
            return f"Valkey {told['valkey_version']}"
        return f"Redis {told['redis_version']}"

    def flush(self) -> None:
        self._client.flushall()

    def memory(self) -> int:
        """Bytes of all keys, as MEMORY USAGE tells them."""
        return sum(self._client.memory_usage(key, samples=0) for key in self._client.scan_iter())

    def ttl(self) -> int:
        """The longest TTL of a key, in seconds; -1 if one has none."""
        ttls = [self._client.ttl(key) for key in self._client.scan_iter()]
        return -1 if -1 in ttls else max(ttls)


@contextmanager
def running() -> Iterator[Server]:
    """
    REDIS_SERVER, or the redis-server on PATH, or the one that the testing extra brings.

    ImportError where there is none of them.
    """
    binary = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if binary is None:
        print("No redis-server on PATH: this measures the server of the [testing] extra.")
    with (
        embedded_server(binary=binary, tcp=True) as embedded,
        closing(Server(embedded)) as server,
    ):
        yield server
