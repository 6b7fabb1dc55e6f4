"""
django-redis on a Redis Cluster.

    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": ["redis://10.0.0.1:7000", "redis://10.0.0.2:7000"],
            "OPTIONS": {"CONNECTION_FACTORY": "redis_atomic.cluster.ClusterConnectionFactory"},
        }
    }

LOCATION names some nodes; the others are found. The cache API is served by redis-py's
RedisCluster, the calls of redis_atomic by its own connections.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django_redis.pool import ConnectionFactory
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException

from .exceptions import CrossSlot


class CacheCluster(RedisCluster):
    """redis-py's client of a cluster, as django-redis uses a client of one server."""

    def mget(self, keys: Any, *args: Any) -> Any:
        """One MGET for each slot: keys of several slots are not read at one moment."""
        return self.mget_nonatomic(keys, *args)

    def keys(self, pattern: Any = "*", **kwargs: Any) -> Any:
        """The keys of all primaries; redis-py asks one of them."""
        return super().keys(pattern, **{"target_nodes": self.PRIMARIES, **kwargs})

    def determine_slot(self, *args: Any) -> Any:
        try:
            return super().determine_slot(*args)
        except RedisClusterException as error:
            if "same key slot" not in str(error):
                raise
            raise CrossSlot(
                f"{args[0]} takes its keys from one slot of a cluster, and these lie in "
                "several. Nothing was sent. Give them one hash tag ('a:{7}' and 'b:{7}': "
                "only what is in braces chooses the slot), or work on them one by one."
            ) from error


class ClusterConnectionFactory(ConnectionFactory):
    """
    Lets django-redis speak to a Redis Cluster: for OPTIONS["CONNECTION_FACTORY"].

    Threads share one client for each LOCATION and OPTIONS. Arguments of RedisCluster
    go into OPTIONS["REDIS_CLIENT_KWARGS"], those of its connections (``ssl_ca_certs``)
    into OPTIONS["CONNECTION_POOL_KWARGS"] or the URL.

    ``get_many`` reads slot by slot. What works on several keys at once (``sunion``,
    ``smove`` …) raises CrossSlot unless they share a hash tag.
    """

    _clusters: ClassVar[dict[str, Any]] = {}

    def connect(self, url: str) -> Any:
        """The client of the cluster that this node belongs to."""
        name = f"{url} {sorted(self.options.items(), key=lambda item: item[0])}"
        if name not in self._clusters:
            # Outside of any lock: it asks the nodes, and one dead cluster must not stall others.
            cluster = self._make(url)
            if self._clusters.setdefault(name, cluster) is not cluster:
                self.disconnect(cluster)
        return self._clusters[name]

    def _make(self, url: str) -> Any:
        params = self.make_connection_params(url)
        # redis-py chooses the parser of a cluster's connections itself.
        del params["parser_class"]
        return CacheCluster.from_url(
            **{**params, **self.pool_cls_kwargs, **self.redis_client_cls_kwargs}
        )

    def disconnect(self, connection: Any) -> None:
        connection.disconnect_connection_pools()
