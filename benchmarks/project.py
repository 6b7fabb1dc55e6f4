"""The Django project of the processes that measure."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings


def configure(url: str, unix_url: str | None = None) -> None:
    """Settings for redis_atomic and its peers; "unix" is the same server by its socket."""
    backend = "django_redis.cache.RedisCache"
    urls = {"default": url, "unix": unix_url or url}
    parts = urlsplit(url)
    settings.configure(
        SECRET_KEY="a benchmark's",
        CACHES={name: {"BACKEND": backend, "LOCATION": each} for name, each in urls.items()},
        INSTALLED_APPS=["redis_atomic"],
        REDIS_ATOMIC={
            # What Redis did not answer is to be seen as a refusal, and not to be measured.
            "RATE_LIMIT_ON_ERROR": "closed",
            "RATE_LIMIT_TIMEOUT": 5,
            "SCRIPT_DIRS": [Path(__file__).parent / "lua"],
        },
        RATELIMIT_BACKEND="redis",
        RATELIMIT_REDIS={"host": parts.hostname, "port": parts.port, "db": 0},
    )
    django.setup()
