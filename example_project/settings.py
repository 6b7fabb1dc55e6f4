"""A small shop. Everything about redis_atomic is in the last two blocks."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = "an example's key, known to everybody"  # yours comes from the environment
DEBUG = True  # never in production
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "urls"
USE_TZ = True
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "redis_atomic",
    "shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "redis_atomic.middleware.RateLimitMiddleware",  # directly after authentication
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# manage.py starts a server and sets REDIS_URL when it is not set.
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        "KEY_PREFIX": "shop",
    }
}

REDIS_ATOMIC = {
    "RATE_LIMITS": {
        # Used by name, on a view: @rate_limit("reserve").
        "reserve": {"RATE": ["5/10s", "100/h"], "KEY": "ip"},
        # The middleware's: every page below /api/, two rates at once.
        "api": {"RATE": ["10/s", "20/m"], "KEY": "ip", "PATH": "/api/"},
    },
    "LOCK_TTL": 10,
}
