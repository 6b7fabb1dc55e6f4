"""The test server as plain clients see it: alone, a cluster, or behind Sentinels."""

from collections import Counter
from functools import cache

import redis

from redis_atomic.cluster import CacheCluster
from redis_atomic.testing.cluster import EmbeddedCluster
from tests import settings as test_settings

#: What nodes, Sentinels and clients say to a server that nobody has called.
TALK = {"auth", "client", "cluster", "command", "config", "hello", "info", "ping", "psync"}
TALK |= {"publish", "replconf", "role", "select", "subscribe"}

ON_CLUSTER = isinstance(test_settings.SERVER, EmbeddedCluster)
PRIMARIES = {"target_nodes": CacheCluster.PRIMARIES} if ON_CLUSTER else {}


def plain_client():
    """A client of the test server, or of the nodes where it is a cluster."""
    return _cluster() if ON_CLUSTER else redis.Redis.from_url(test_settings.REDIS_URL)


class LastingCluster(CacheCluster):
    """Asking for the map takes longer than most tests: one client serves them all."""

    def close(self):
        """Its connections end with the process."""


@cache
def _cluster():
    return LastingCluster.from_url(test_settings.REDIS_URL)


def forget_commands():
    with plain_client() as client:
        client.config_resetstat(**PRIMARIES)


def commands_sent():
    """How often the primaries were sent each command, since they were told to forget."""
    with plain_client() as client:
        stats = client.info("commandstats", **PRIMARIES)
    calls = Counter()
    for each in stats.values() if ON_CLUSTER else [stats]:
        for name, stat in each.items():
            calls[name.removeprefix("cmdstat_").partition("|")[0]] += stat["calls"]
    return Counter({name: count for name, count in calls.items() if name not in TALK})


def cache_at(location, **options):
    """A cache there, whatever the tests run on."""
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "KEY_PREFIX": "tests",
        "OPTIONS": options,
    }
