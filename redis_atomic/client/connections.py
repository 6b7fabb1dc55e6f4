"""
A cache alias, and our own connections to its server.

The pools are built by the alias's own connection factory, so that TLS,
authentication and a custom pool class are whatever the project configured, but
they are never the cache's pool.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django_redis.client import ShardClient
from django_redis.pool import SentinelConnectionFactory

from ..cluster import ClusterConnectionFactory
from ..scripting.script import Call, Key, PrefixedKey
from .cluster import Cluster
from .coalescing import Multiplexer
from .lean import Lean, is_possible
from .pools import make_ours
from .sentinel import Sentinel
from .server import Server
from .trips import Path

#: Seconds to wait for a topology to mend where no time-out is set.
DEFAULT_BUDGET = 5.0


def is_sharded(cache: Any) -> bool:
    """Whether django-redis spreads the cache's keys over several servers."""
    return isinstance(getattr(cache, "client", None), ShardClient)


class Client(Server):
    """
    One cache alias for one purpose: how its keys are made, and its connections.

    ``timeout`` (seconds) bounds connecting and each reply, where the alias's
    own time-outs are longer or missing. ``max_connections`` caps the pools.

    ``topology`` is None for one server. Behind it are otherwise several, and it
    knows which of them to ask.
    """

    def __init__(
        self, alias: str, *, timeout: float | None = None, max_connections: int | None = None
    ) -> None:
        super().__init__(f"the cache {alias!r}", self.make_pool)
        self.alias = alias
        self.timeout = timeout
        self.max_connections = max_connections
        cache: Any = caches[alias]
        self._cache = cache
        if not hasattr(getattr(self._cache, "client", None), "connection_factory"):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is not a django-redis cache, so redis_atomic cannot use "
                "it: set its BACKEND to 'django_redis.cache.RedisCache', or name another "
                "alias in REDIS_ATOMIC['CACHE_ALIAS']."
            )
        if is_sharded(cache):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is sharded (ShardClient), and a script is executed by one "
                "server. Name another alias in REDIS_ATOMIC['CACHE_ALIAS']."
            )
        self.has_read_only_scripts = True  # until the server says that it has no EVALSHA_RO
        self.key_prefix = str(self._cache.key_prefix)
        self.factory: Any = cache.client.connection_factory
        self.urls: Sequence[str] = list(cache.client._server)
        self.topology = self._make_topology()

    def make_key(self, key: Key, version: int | None = None) -> bytes:
        """The key as sent to Redis: by the alias's own ``make_key`` unless it opts out."""
        if isinstance(key, str):
            # The client's make_key knows keys it has made; the cache's prefixes them twice.
            return str(self._cache.client.make_key(key, version=version)).encode()
        if isinstance(key, PrefixedKey):
            prefix = f"{self.key_prefix}:" if self.key_prefix else ""
            return f"{prefix}{key.name}".encode()
        return key.name if isinstance(key.name, bytes) else key.name.encode()

    def make_pool(self, url: str | None = None, factory: Any = None) -> Any:
        """
        A pool as the alias's factory makes it, but ours: without retries, handing out bytes.

        Without ``url``, of the first server in LOCATION: it is the one that takes
        writes, and scripts go nowhere else.
        """
        factory = factory or self.factory
        pool = factory.get_connection_pool(
            factory.make_connection_params(self.urls[0] if url is None else url)
        )
        return make_ours(pool, timeout=self.timeout, max_connections=self.max_connections)

    @cached_property
    def lean(self) -> Lean | None:
        """The connections that threads keep, where they may: not on a cluster."""
        # Threads may make one each at once: all take the first, or each would keep its half.
        lean: Lean | None = self.__dict__.setdefault("lean", self._make_lean())
        return lean

    def _make_lean(self) -> Lean | None:
        if isinstance(self.topology, Cluster) or not is_possible(self._cache.client, self.pool):
            return None
        return Lean(self, self.timeout)

    async def multiplexer(self) -> Multiplexer | None:
        return None if self.lean is None else await super().multiplexer()

    @property
    def budget(self) -> float:
        """Seconds that a call may wait for a failover: the reply's time-out, or five."""
        return self.pool.connection_kwargs.get("socket_timeout") or DEFAULT_BUDGET

    def path(self, keys: Sequence[bytes], call: Call[Any] | None = None) -> Path:
        """
        How commands with these keys reach the server that must execute them.

        On a cluster, CrossSlot when they don't lie together; it tells of ``call``.
        """
        return self.send if self.topology is None else self.topology.path(keys, call)

    def close(self) -> None:
        super().close()
        if self.topology is not None:
            self.topology.close()

    def _make_topology(self) -> Cluster | Sentinel | None:
        if isinstance(self.factory, ClusterConnectionFactory):
            return Cluster(self)
        return Sentinel(self) if isinstance(self.factory, SentinelConnectionFactory) else None


_clients: dict[tuple[str, str], Client] = {}
# A signal handler's call may come between.
_clients_lock = threading.RLock()


def client_for(
    alias: str,
    purpose: str = "calls",
    *,
    timeout: float | None = None,
    max_connections: int | None = None,
) -> Client:
    """
    The client of a cache alias for a purpose, made at first use.

    A purpose ("calls", "limits", "lock waits") has pools of its own, so that a
    waiting lock never keeps a limit from its connection.
    """
    client = _clients.get((alias, purpose))
    if client is None:
        with _clients_lock:
            client = _clients.get((alias, purpose))
            if client is None:
                client = Client(alias, timeout=timeout, max_connections=max_connections)
                _clients[alias, purpose] = client
    return client


def close_clients(*, setting: str = "CACHES", **kwargs: object) -> None:
    """Forget every client, so that changed settings take effect (tests do that)."""
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        with _clients_lock:
            for client in _clients.values():
                client.close()
            _clients.clear()


def _renew_after_fork() -> None:
    global _clients_lock
    _clients_lock = threading.RLock()  # a thread that held it has stayed with the parent


os.register_at_fork(after_in_child=_renew_after_fork)
setting_changed.connect(close_clients, dispatch_uid="redis_atomic.client")
