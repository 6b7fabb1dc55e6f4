"""
A cache alias, and our own connections to its server.

The pools are built by the alias's own connection factory, so that TLS,
authentication and a custom pool class are whatever the project configured, but
they are never the cache's pool: ours don't repeat a command whose reply was lost
(redis-py does, up to ten times, if told to), and always hand out bytes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import redis.asyncio as aioredis
import redis.asyncio.connection as aioconnection
import redis.connection
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..scripting.script import Key, PrefixedKey
from .deadline import punctual

#: What a call must not inherit from the alias, and what it gets instead.
OURS: Mapping[str, Any] = {
    "retry_on_timeout": False,
    "retry_on_error": [],
    "decode_responses": False,
    "encoding": "utf-8",
}

#: Parts of a sync pool that an asyncio connection does not take.
SYNC_ONLY = frozenset(
    {
        "parser_class",
        "retry",
        "event_dispatcher",
        "himport_registry",
        "connection_pool",
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "oss_cluster_maint_notifications_handler",
        "orig_host_address",
        "orig_socket_timeout",
        "orig_socket_connect_timeout",
    }
)

ASYNC_CLASSES: Mapping[type, type] = {
    redis.connection.Connection: aioconnection.Connection,
    redis.connection.SSLConnection: aioconnection.SSLConnection,
    redis.connection.UnixDomainSocketConnection: aioconnection.UnixDomainSocketConnection,
}


class Client:
    """
    One cache alias for one purpose: how its keys are made, and its connections.

    ``timeout`` (seconds) bounds connecting and each reply, where the alias's
    own time-outs are longer or missing. ``max_connections`` caps the pools.
    """

    def __init__(
        self, alias: str, *, timeout: float | None = None, max_connections: int | None = None
    ) -> None:
        self.alias = alias
        self.timeout = timeout
        self.max_connections = max_connections
        self._cache: Any = caches[alias]
        if not hasattr(getattr(self._cache, "client", None), "connection_factory"):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is not a django-redis cache, so redis_atomic cannot use "
                "it: set its BACKEND to 'django_redis.cache.RedisCache', or name another "
                "alias in REDIS_ATOMIC['CACHE_ALIAS']."
            )
        self.has_read_only_scripts = True  # until the server says that it has no EVALSHA_RO
        self.key_prefix = str(self._cache.key_prefix)
        self._lock = threading.RLock()
        self._pool: Any = None
        self._apools: dict[asyncio.AbstractEventLoop, _LoopPool] = {}

    def make_key(self, key: Key, version: int | None = None) -> bytes:
        """The key as sent to Redis: by the alias's own ``make_key`` unless it opts out."""
        if isinstance(key, str):
            # The client's make_key knows keys it has made; the cache's prefixes them twice.
            return str(self._cache.client.make_key(key, version=version)).encode()
        if isinstance(key, PrefixedKey):
            prefix = f"{self.key_prefix}:" if self.key_prefix else ""
            return f"{prefix}{key.name}".encode()
        return key.name if isinstance(key.name, bytes) else key.name.encode()

    @property
    def pool(self) -> Any:  # redis-py's pools are not annotated
        """The pool of the threads of this process; it survives a fork."""
        if self._pool is None:
            with self._lock:
                if self._pool is None:
                    self._pool = self._make_pool()
        return self._pool

    def _make_pool(self) -> Any:
        client = self._cache.client
        factory = client.connection_factory
        # The first server is the one that takes writes; scripts go nowhere else.
        params = factory.make_connection_params(client._server[0])
        pool = factory.get_connection_pool(params)
        kwargs = pool.connection_kwargs
        kwargs.update(OURS, retry=Retry(NoBackoff(), 0))
        for name in ("socket_timeout", "socket_connect_timeout"):
            if self.timeout is not None:
                kwargs[name] = min(kwargs.get(name) or self.timeout, self.timeout)
        if self.timeout is not None:
            pool.connection_class = punctual(pool.connection_class)
            if hasattr(pool, "timeout"):  # a blocking pool: how long to wait for a free one
                pool.timeout = min(pool.timeout or self.timeout, self.timeout)
        if self.max_connections is not None:
            pool.max_connections = self.max_connections
        pool.reset()  # a blocking pool made its connections before we had our say
        return pool

    async def apool(self) -> Any:
        """The pool of the running event loop; it closes when the loop shuts down."""
        loop = asyncio.get_running_loop()
        entry = self._apools.get(loop)
        if entry is None:
            with self._lock:
                for other in [known for known in self._apools if known.is_closed()]:
                    del self._apools[other]
                entry = self._apools[loop] = _LoopPool(self._make_apool())
            await entry.close_with_loop()
        return entry.pool

    def _make_apool(self) -> aioredis.ConnectionPool:
        pool = self.pool
        kwargs = {k: v for k, v in pool.connection_kwargs.items() if k not in SYNC_ONLY}
        return aioredis.ConnectionPool(
            connection_class=_async_class(pool.connection_class),
            max_connections=pool.max_connections,
            retry=AsyncRetry(NoBackoff(), 0),
            **kwargs,
        )

    def close(self) -> None:
        """Disconnect the threads' pool. Pools of event loops end with their loops."""
        if self._pool is not None:
            self._pool.disconnect()


class _LoopPool:
    """
    An asyncio pool that is disconnected when its event loop shuts down.

    ``asyncio.run`` and ``async_to_sync`` close all asynchronous generators
    before they close the loop: the one natural end there is, so we hold one.
    """

    def __init__(self, pool: aioredis.ConnectionPool) -> None:
        self.pool = pool
        self._generator = self._hold()

    async def _hold(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.pool.disconnect()

    async def close_with_loop(self) -> None:
        await anext(self._generator)


def _async_class(sync_class: type) -> type:
    for base in sync_class.__mro__:
        if base in ASYNC_CLASSES:
            return ASYNC_CLASSES[base]
    raise ImproperlyConfigured(
        f"redis_atomic knows no asyncio connection for {sync_class.__qualname__}: "
        "asynchronous calls need one of redis-py's own connection classes."
    )


_clients: dict[tuple[str, str], Client] = {}
_clients_lock = threading.Lock()


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


setting_changed.connect(close_clients, dispatch_uid="redis_atomic.client")
