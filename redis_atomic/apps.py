"""The app's wiring. ``ready()`` does no I/O on the network and never raises."""

from __future__ import annotations

from django.apps import AppConfig


class RedisAtomicConfig(AppConfig):
    name = "redis_atomic"
    verbose_name = "Redis Atomic"
