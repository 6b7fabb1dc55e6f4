"""
Pools of connections to the master that Sentinels name.

redis-py's own find the master whenever they connect. Ours, besides, don't ask a dead
Sentinel ten times over, and hand out READONLY as the answer that it is: "not
executed", where redis-py makes it a lost connection.
"""

from __future__ import annotations

from typing import Any

import redis.asyncio.sentinel as aiosentinel
from redis import sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.retry import Retry

TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


class MasterConnection(sentinel.SentinelManagedConnection):
    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        parent: Any = super(sentinel.SentinelManagedConnection, self)
        return parent.read_response(*args, **kwargs)


class MasterSSLConnection(MasterConnection, sentinel.SentinelManagedSSLConnection):
    pass


class AsyncMasterConnection(aiosentinel.SentinelManagedConnection):
    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        parent: Any = super(aiosentinel.SentinelManagedConnection, self)
        return await parent.read_response(*args, **kwargs)


class AsyncMasterSSLConnection(AsyncMasterConnection, aiosentinel.SentinelManagedSSLConnection):
    pass


def make_ours(pool: sentinel.SentinelConnectionPool) -> None:
    """Replace the parts of a Sentinel pool that would wait or hide too much."""
    tls = issubclass(pool.connection_class, SSLConnection)
    pool.connection_class = MasterSSLConnection if tls else MasterConnection
    theirs = pool.sentinel_manager
    ours = sentinel.Sentinel(  # type: ignore[no-untyped-call]
        _addresses(theirs),
        min_other_sentinels=theirs.min_other_sentinels,
        sentinel_kwargs=_kwargs(pool, retry=Retry(NoBackoff(), 0)),
    )
    pool.sentinel_manager = pool.proxy.sentinel_manager = ours


def async_pool(pool: sentinel.SentinelConnectionPool, **kwargs: Any) -> Any:
    """The asyncio pool that finds the same master by the same Sentinels."""
    tls = issubclass(pool.connection_class, SSLConnection)
    manager = aiosentinel.Sentinel(  # type: ignore[no-untyped-call]
        _addresses(pool.sentinel_manager),
        min_other_sentinels=pool.sentinel_manager.min_other_sentinels,
        sentinel_kwargs=_kwargs(pool, retry=AsyncRetry(NoBackoff(), 0)),
    )
    connection_class = AsyncMasterSSLConnection if tls else AsyncMasterConnection
    return aiosentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]
        pool.service_name, manager, connection_class=connection_class, **kwargs
    )


def _addresses(manager: sentinel.Sentinel) -> list[tuple[str, int]]:
    known = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    return [(kwargs["host"], kwargs["port"]) for kwargs in known]


def _kwargs(pool: sentinel.SentinelConnectionPool, **ours: Any) -> dict[str, Any]:
    """What the Sentinels are spoken to with: the project's own, within our time-outs."""
    kwargs = {**pool.sentinel_manager.sentinel_kwargs, **ours}
    for name in TIMEOUTS:
        limit = pool.connection_kwargs.get(name)
        if limit is not None:
            kwargs[name] = min(kwargs.get(name) or limit, limit)
    return kwargs
