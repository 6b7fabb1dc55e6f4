"""A site with one small view behind each package: the address of its server is BENCHMARK_URL."""

import os
from urllib.parse import urlsplit

_url = os.environ["BENCHMARK_URL"]
_parts = urlsplit(_url)

SECRET_KEY = "a benchmark's"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.website.urls"
INSTALLED_APPS = ["redis_atomic"]
MIDDLEWARE = []
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": _url}}
REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []}
RATELIMIT_BACKEND = "redis"
RATELIMIT_REDIS = {"host": _parts.hostname, "port": _parts.port, "db": 0}
