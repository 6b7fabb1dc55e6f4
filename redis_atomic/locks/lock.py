"""``redis_lock`` and ``redis_semaphore``: locks are defined here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from .definition import Lock
from .lease import Lease
from .options import (
    FROM_SETTINGS,
    SHORTEST_TTL,
    Forever,
    FromSettings,
    Seconds,
    flag,
    from_settings_or,
    one_of,
    patience,
    seconds,
    whole_number,
)
from .policies import OnBusy, OnError, on_busy_policy, on_error_policy
from .protocol import MAX_LIMIT


def redis_lock(
    name: str,
    *,
    ttl: Seconds | FromSettings = FROM_SETTINGS,
    wait: Seconds | Forever | FromSettings = FROM_SETTINGS,
    fair: bool = True,
    waiting: Literal["block", "poll"] | FromSettings = FROM_SETTINGS,
    max_hold: Seconds | None = None,
    on_busy: OnBusy = "raise",
    on_error: OnError = "raise",
    on_lost: Callable[[Lease], Any] | None = None,
    cancel_on_lost: bool = False,
    transaction: Literal["defer", "ignore"] = "defer",
    using: str | None = None,
    cache: str | None = None,
) -> Lock:
    """
    A lock in Redis: a decorator, a ``with`` and ``async with``, and methods.

    ``name``: what is locked; on a decorator a template of the arguments, such as
    ``"invoice:{invoice.pk}"``. ``ttl``: seconds after which a lock is free whose
    holder has died (setting LOCK_TTL, 30); a living holder's is renewed, but for
    no longer than ``max_hold`` seconds (20 TTLs). ``wait``: seconds to wait for it
    (setting LOCK_WAIT, 10); 0 tries once, FOREVER has no end.

    ``fair``: in order of arrival; False takes the lock whenever it happens to be
    free and nobody is queued. ``waiting``: "block" sleeps until woken, "poll" asks
    now and then (setting LOCK_WAITING). ``on_lost``: called with the lease when it
    is lost; ``cancel_on_lost``: also cancel the asyncio task. ``transaction``:
    "defer" keeps the lock until the surrounding transaction of the database
    ``using`` has ended, "ignore" gives it back at the end of the section.
    ``cache``: the cache alias (setting LOCK_CACHE_ALIAS).

    A decorated function need not raise when the lock is not to be had. ``on_busy``,
    for LockBusy: "skip" returns None; 409, 423 or 503 is the status of a response
    with Retry-After, for views; a function is called with the error and the
    arguments instead. ``on_error``, for LockUnavailable: "skip", or "run" to call
    the function without the lock.

    Raises TypeError and ValueError for arguments that cannot be meant.
    """
    if not isinstance(name, str):
        raise TypeError(f"A lock's name is a str, not {type(name).__name__}.")
    if on_lost is not None and not callable(on_lost):
        raise TypeError(f"on_lost must be a function that takes the lease, not {on_lost!r}.")
    if using is not None and not isinstance(using, str):
        raise TypeError(f"using must be the alias of a database, not {using!r}.")
    return Lock(
        name=name,
        ttl=from_settings_or(seconds, "ttl", ttl, minimum=SHORTEST_TTL),
        wait=from_settings_or(patience, "wait", wait),
        fair=flag("fair", fair),
        waiting=one_of("waiting", waiting, "block", "poll", FROM_SETTINGS),
        max_hold=None if max_hold is None else seconds("max_hold", max_hold),
        on_busy=on_busy_policy(on_busy),
        on_error=on_error_policy(on_error),
        on_lost=on_lost,
        cancel_on_lost=flag("cancel_on_lost", cancel_on_lost),
        transaction=one_of("transaction", transaction, "defer", "ignore"),
        using=using,
        cache=cache,
    )


def redis_semaphore(
    name: str, limit: int, ttl: Seconds | FromSettings = FROM_SETTINGS, **options: Any
) -> Lock:
    """
    A lock that ``limit`` holders may have at once, 1 to 256. See redis_lock().

    Every holder has a fence of its own and several are valid at a time, so a fence
    keeps no late writer out. The calls get slower as the limit grows.
    """
    limit = whole_number("limit", limit, 1, MAX_LIMIT)
    lock = redis_lock(name, ttl=ttl, **options)
    return dataclasses.replace(lock, kind="semaphore", limit=limit)
