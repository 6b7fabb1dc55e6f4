"""
``settings.REDIS_ATOMIC``: every key and every default, read nowhere else.

A setting is read when it is used, never at import, and again after ``setting_changed``,
so ``override_settings`` works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from django.conf import settings
from django.core.signals import setting_changed

T = TypeVar("T")


class Setting(Generic[T]):
    """One key of ``REDIS_ATOMIC``, typed by its default."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> T | Setting[T]:
        if instance is None:
            return self
        value: T = user_settings().get(self.name, self.default)
        return value


@cache  # Django looks for a setting that is missing anew each time: microseconds on hot paths
def user_settings() -> Mapping[str, Any]:
    """``settings.REDIS_ATOMIC`` as the project wrote it, or an empty mapping."""
    value = getattr(settings, "REDIS_ATOMIC", None)
    return value if isinstance(value, Mapping) else {}  # a check tells


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "REDIS_ATOMIC":
        user_settings.cache_clear()


# Before any other receiver: they read the settings.
setting_changed.connect(_forget, dispatch_uid="redis_atomic.conf")


class Settings:
    """The closed list of settings. Times are seconds."""

    CACHE_ALIAS = Setting("default")
    SCRIPT_DIRS = Setting[Sequence[str | Path]](())
    SCRIPTS = Setting[Mapping[str, str | Path]]({})

    RATE_LIMITS = Setting[Mapping[str, Mapping[str, Any]]]({})
    RATE_LIMIT_ENABLED = Setting(True)
    RATE_LIMIT_CACHE_ALIAS = Setting[str | None](None)  # None: CACHE_ALIAS
    RATE_LIMIT_ON_ERROR = Setting("local")  # local, open, closed
    RATE_LIMIT_TIMEOUT = Setting[float](0.25)
    RATE_LIMIT_HEADERS = Setting[str | None]("draft")  # draft, legacy, None
    RATE_LIMIT_DENY_CACHE_SIZE = Setting(10_000)  # entries, in each process
    TRUSTED_PROXIES = Setting[Sequence[str]](())
    IPV6_PREFIX = Setting(64)  # bits: what one subscriber is usually given

    LOCK_CACHE_ALIAS = Setting[str | None](None)  # None: CACHE_ALIAS
    LOCK_TTL = Setting[float](30)
    LOCK_WAIT = Setting[float](10)
    LOCK_WAITING = Setting("block")  # block, poll
    LOCK_FENCE_MEMORY = Setting[float](3600)

    LEAN_CALLS = Setting(True)

    def aliases(self) -> dict[str, str]:
        """The cache aliases in use, by the setting that names each."""
        names = ("CACHE_ALIAS", "RATE_LIMIT_CACHE_ALIAS", "LOCK_CACHE_ALIAS")
        found = {name: getattr(self, name) for name in names}
        return {name: alias for name, alias in found.items() if alias and isinstance(alias, str)}

    @classmethod
    def names(cls) -> list[str]:
        return [name for name, value in vars(cls).items() if isinstance(value, Setting)]


conf = Settings()
