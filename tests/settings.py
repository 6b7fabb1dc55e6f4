"""Settings of the tests: a real server, one for each test process."""

import os

from redis_atomic.testing import EmbeddedServer
from redis_atomic.testing.cluster import EmbeddedCluster
from redis_atomic.testing.sentinels import EmbeddedSentinels

SECRET_KEY = "only for tests"
USE_TZ = True
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "tests.urls"

# REDIS_URL: a server that is already there. Otherwise one of our own, whose address
# is not exported: each pytest-xdist worker imports this file and has its own.
# REDIS_TOPOLOGY: a cluster, or servers behind Sentinels, of our own instead.
LOCATION, OPTIONS = None, {}
if "REDIS_URL" in os.environ:
    SERVER = None
    REDIS_URL = os.environ["REDIS_URL"]
elif os.environ.get("REDIS_TOPOLOGY") == "cluster":
    SERVER = EmbeddedCluster().start()
    REDIS_URL, LOCATION = SERVER.urls[0], SERVER.urls
    OPTIONS = {"CONNECTION_FACTORY": "redis_atomic.cluster.ClusterConnectionFactory"}
elif os.environ.get("REDIS_TOPOLOGY") == "sentinel":
    SERVER = EmbeddedSentinels().start()
    REDIS_URL, LOCATION = SERVER.servers[0].tcp_url, SERVER.url
    OPTIONS = {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "CLIENT_CLASS": "django_redis.client.SentinelClient",
        "SENTINELS": SERVER.addresses,
    }
else:
    SERVER = EmbeddedServer().start()
    REDIS_URL = SERVER.url

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": LOCATION or REDIS_URL,
        "OPTIONS": OPTIONS,
        "KEY_PREFIX": "tests",
    },
    "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "redis_atomic"]
MIDDLEWARE = []
