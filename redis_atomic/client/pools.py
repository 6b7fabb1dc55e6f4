"""
Pools that are ours: as the alias's factory makes them, but without its retries.

redis-py repeats a command whose reply was lost, up to ten times, if told to. Ours
never do, and always hand out bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis.asyncio as aioredis
import redis.asyncio.connection as aioconnection
import redis.connection
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from . import sentinel_pools
from .deadline import punctual

try:
    from redis.maint_notifications import MaintNotificationsConfig
except ImportError:  # redis-py 6.0
    MaintNotificationsConfig = None  # type: ignore[misc, assignment]

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

TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


def make_ours(pool: Any, *, timeout: float | None, max_connections: int | None) -> Any:
    """This new pool of the alias's factory, with our say in it. Seconds, as in Client."""
    pool.connection_kwargs.update(OURS, retry=Retry(NoBackoff(), 0))
    if max_connections is not None:
        pool.max_connections = max_connections
    if timeout is not None:
        _limit(pool, timeout)
    if isinstance(pool, SentinelConnectionPool):
        sentinel_pools.make_ours(pool)
    if timeout is not None:
        pool.connection_class = punctual(pool.connection_class)
    pool.reset()  # a blocking pool made its connections before we had our say
    return pool


def _limit(pool: Any, timeout: float) -> None:
    for name in TIMEOUTS:
        theirs = pool.connection_kwargs.get(name) or timeout
        pool.connection_kwargs[name] = min(theirs, timeout)
    if hasattr(pool, "timeout"):  # a blocking pool: how long to wait for a free one
        pool.timeout = min(pool.timeout or timeout, timeout)


def async_pool(pool: Any) -> Any:
    """The asyncio pool that connects as this pool of threads does."""
    kwargs = {k: v for k, v in pool.connection_kwargs.items() if k not in SYNC_ONLY}
    kwargs |= {"max_connections": pool.max_connections, "retry": AsyncRetry(NoBackoff(), 0)}
    if hasattr(aioredis.ConnectionPool, "maint_notifications_enabled"):
        # With these, redis-py 8 hands out connections that the server has closed.
        kwargs["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    if isinstance(pool, SentinelConnectionPool):
        return sentinel_pools.async_pool(pool, **kwargs)
    kwargs["connection_class"] = _async_class(pool.connection_class)
    if isinstance(pool, redis.connection.BlockingConnectionPool):
        return aioredis.BlockingConnectionPool(timeout=pool.timeout, **kwargs)
    return aioredis.ConnectionPool(**kwargs)


def _async_class(sync_class: type) -> type:
    for base in sync_class.__mro__:
        if base in ASYNC_CLASSES:
            return ASYNC_CLASSES[base]
    raise ImproperlyConfigured(
        f"redis_atomic knows no asyncio connection for {sync_class.__qualname__}: "
        "asynchronous calls need one of redis-py's own connection classes."
    )


async def close_async_pool(pool: Any) -> None:
    """Disconnect a pool of an event loop, and what it keeps open beside."""
    await pool.disconnect()
    if isinstance(pool, AsyncSentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()
