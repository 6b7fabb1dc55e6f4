"""Settings of the tests: a real server, one for each test process."""

import os

from redis_atomic.testing import EmbeddedServer

SECRET_KEY = "only for tests"
USE_TZ = True
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "tests.urls"

# REDIS_URL: a server that is already there. Otherwise one of our own, whose address
# is not exported: each pytest-xdist worker imports this file and has its own.
if "REDIS_URL" in os.environ:
    SERVER = None
    REDIS_URL = os.environ["REDIS_URL"]
else:
    SERVER = EmbeddedServer().start()
    REDIS_URL = SERVER.url

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "tests",
    },
    "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "redis_atomic"]
MIDDLEWARE = []
