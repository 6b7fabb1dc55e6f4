"""The caches whose servers we use: there, of the right kind, and not emptied by others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured

from ..client.connections import is_sharded
from ..conf import conf
from ..scripting.spelling import did_you_mean
from .problem import Problem, check

#: What projects put in the place of a real cache when they test.
STAND_INS = (LocMemCache, DummyCache)

#: Options of django-redis that have nothing to do with its connections.
HARMLESS = frozenset(
    {"CLIENT_CLASS", "CLOSE_CONNECTION", "COMPRESSOR", "IGNORE_EXCEPTIONS", "KEY_FUNCTION"}
    | {"LOG_IGNORED_EXCEPTIONS", "PICKLE_VERSION", "REVERSE_KEY_FUNCTION", "SERIALIZER"}
)


def _aliases() -> list[str]:
    """The aliases that we shall use and that there are, each once."""
    return [alias for alias in dict.fromkeys(conf.aliases().values()) if alias in settings.CACHES]


@check("E004")
def missing_alias() -> Iterator[Problem]:
    """A setting names a cache that is not in CACHES."""
    for name, alias in conf.aliases().items():
        if alias not in settings.CACHES:
            near = did_you_mean(alias, settings.CACHES)
            yield Problem(
                f"REDIS_ATOMIC[{name!r}] is {alias!r}, and CACHES has no such alias.",
                near.strip() or f"CACHES has: {', '.join(settings.CACHES)}.",
            )


@check("E005")
def not_a_redis_cache() -> Iterator[Problem]:
    """A cache that we shall use is not one of django-redis."""
    for alias in _aliases():
        if fault := _fault(alias):
            yield Problem(
                f"CACHES[{alias!r}] {fault}",
                f"Set CACHES[{alias!r}]['BACKEND'] = 'django_redis.cache.RedisCache', with any "
                "CLIENT_CLASS but ShardClient, or name another alias in "
                "REDIS_ATOMIC['CACHE_ALIAS'].",
            )


def _fault(alias: str) -> str | None:
    try:
        cache: Any = caches[alias]
        client = getattr(cache, "client", None)
    except (InvalidCacheBackendError, ImproperlyConfigured, ImportError) as error:
        return f"cannot be used: {error}"
    if is_sharded(cache):
        return "is sharded (ShardClient), and a script is executed by one server."
    if isinstance(cache, STAND_INS) or hasattr(client, "connection_factory"):
        return None
    return f"is {type(cache).__name__}, not django-redis's."


@check("W001")
def stand_in() -> Iterator[Problem]:
    """A cache that we shall use is a stand-in for tests, without a server."""
    for alias in _aliases():
        if _fault(alias) is None and isinstance(caches[alias], STAND_INS):
            yield Problem(
                f"CACHES[{alias!r}] is {type(caches[alias]).__name__}: every call of "
                "redis_atomic will raise ImproperlyConfigured.",
                f"Set CACHES[{alias!r}]['BACKEND'] = 'django_redis.cache.RedisCache'; "
                "redis_atomic.testing.embedded_server() starts a server for tests.",
            )


@check("W101", deploy=True)
def flushed_by_clear() -> Iterator[Problem]:
    """Locks or limits are in a database that cache.clear() empties."""
    purposes = {"Locks": "LOCK_CACHE_ALIAS"}
    if conf.RATE_LIMIT_ENABLED:
        purposes["Rate limits"] = "RATE_LIMIT_CACHE_ALIAS"
    for purpose, setting in purposes.items():
        alias = getattr(conf, setting) or conf.CACHE_ALIAS
        cleared = [each for each in settings.CACHES if _is_cleared(alias, each)]
        if cleared:
            yield Problem(
                f"{purpose} are in the database of CACHES[{cleared[0]!r}], and its clear() "
                "empties it (FLUSHDB).",
                "Give them an alias with a database of its own, such as "
                f"redis://…/1, and name it in REDIS_ATOMIC[{setting!r}].",
            )


def _is_cleared(alias: str, other: str) -> bool:
    """Whether ``other`` is a cache for everybody's use in the database of ``alias``."""
    shared = bool(_databases(alias) & _databases(other))
    return shared and (other == "default" or other != alias)


def _databases(alias: str) -> set[tuple[str, str]]:
    """Server and number of each database of an alias."""
    config: Mapping[str, Any] = settings.CACHES.get(alias, {})
    location = config.get("LOCATION", "")
    if isinstance(location, str):
        location = location.replace(";", ",").split(",")
    return {_database(str(url).strip()) for url in location if "://" in str(url)}


def _database(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    number = parse_qs(parts.query).get("db", [""])[0]
    if parts.scheme == "unix":
        return parts.path, number or "0"
    server = f"{(parts.hostname or 'localhost').lower()}:{parts.port or 6379}"
    return server, number or parts.path.strip("/") or "0"


@check("W102", deploy=True)
def one_pool_for_two() -> Iterator[Problem]:
    """Two aliases have one LOCATION and different connection OPTIONS."""
    for one, two in combinations(settings.CACHES, 2):
        a, b = settings.CACHES[one], settings.CACHES[two]
        theirs = {a.get("BACKEND"), b.get("BACKEND")} == {"django_redis.cache.RedisCache"}
        if not theirs or a.get("LOCATION") != b.get("LOCATION"):
            continue
        different = _different(a.get("OPTIONS", {}), b.get("OPTIONS", {}))
        if different:
            yield Problem(
                f"CACHES[{one!r}] and CACHES[{two!r}] have one LOCATION and different "
                f"{', '.join(different)}: django-redis keeps one pool for both, that of "
                "whichever is used first.",
                "Give both the same OPTIONS, or tell the addresses apart, such as by another "
                "database number.",
            )


def _different(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    names = sorted((one.keys() | two.keys()) - HARMLESS)
    return [f"OPTIONS[{name!r}]" for name in names if one.get(name) != two.get(name)]
