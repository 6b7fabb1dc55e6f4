"""A small shop. Everything about redis_atomic is in the last three blocks."""

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
        # The login's, shop/accounts.py. Each is charged before the password is looked at,
        # and given back when it was right.
        "login-pair": {
            "RATE": ["5/15m", "20/d"],
            "KEY": ["ip", "post:username"],
            "COUNT_WHEN": "shop.accounts.failed",
        },
        "login-address": {"RATE": "50/h", "KEY": "ip", "COUNT_WHEN": "shop.accounts.failed"},
        "login-name": {
            "RATE": "200/d",
            "KEY": "post:username",
            "EXEMPT": "shop.accounts.is_known_device",
            "COUNT_WHEN": "shop.accounts.failed",
        },
    },
    # The demo asks from a hundred threads of one process: an answer may be heard late.
    "RATE_LIMIT_TIMEOUT": 5,
    "LOCK_TTL": 10,
}

# The framework's own settings of rates and scopes.
REST_FRAMEWORK = {
    "DEFAULT_THROTTLE_CLASSES": [
        "redis_atomic.contrib.drf.AnonRateThrottle",
        "redis_atomic.contrib.drf.UserRateThrottle",
        "redis_atomic.contrib.drf.RateLimitThrottle",  # throttle_scope
    ],
    "DEFAULT_THROTTLE_RATES": {"anon": "100/h", "user": "1000/h", "orders": "3/10s"},
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
