"""What a definition comes to with what the settings say: found out once, until they change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ..client.connections import Client, client_for
from .naming import lock_name
from .options import MAX_HOLD_TTLS, FromSettings, LockSettings, lock_settings
from .protocol import SLICE, Terms
from .waiting import TIMEOUT

if TYPE_CHECKING:
    from .definition import Lock


@lru_cache(maxsize=256)
def written_name(lock: Lock) -> str:
    """The name where no function makes it, nor could be skipped or replaced."""
    if (lock.on_busy, lock.on_error) != ("raise", "raise"):
        raise TypeError(
            "on_busy and on_error are for decorated functions. Around a `with` block, or an "
            "acquire(), catch LockBusy and LockUnavailable."
        )
    return lock_name(lock.name)


@dataclass(frozen=True, eq=False, slots=True)
class Resolved:
    """A definition with all defaults filled in. Times are seconds."""

    client: Client
    terms: Terms
    ttl: float
    wait: float
    max_hold: float
    listening: bool


def resolve(lock: Lock) -> Resolved:
    """The values that hold now for this lock."""
    settings = lock_settings()
    client = client_for(lock.cache or settings.alias, "locks", timeout=TIMEOUT)
    return _resolve(lock, settings, client)


@lru_cache(maxsize=256)
def _resolve(lock: Lock, settings: LockSettings, client: Client) -> Resolved:
    ttl = settings.ttl if isinstance(lock.ttl, FromSettings) else lock.ttl
    waiting = settings.waiting if isinstance(lock.waiting, FromSettings) else lock.waiting
    return Resolved(
        client,
        _terms(settings, client),
        ttl,
        wait=settings.wait if isinstance(lock.wait, FromSettings) else lock.wait,
        max_hold=MAX_HOLD_TTLS * ttl if lock.max_hold is None else lock.max_hold,
        # Nobody wakes waiters unless the setting, which all processes share, says so.
        listening=waiting == settings.waiting == "block",
    )


@lru_cache(maxsize=64)
def _terms(settings: LockSettings, client: Client) -> Terms:
    """What the calls to this server have in common."""
    # A waiter has to hear the end of its slice before its connection gives up.
    timeout = client.pool.connection_kwargs["socket_timeout"]
    return Terms(min(SLICE, timeout / 2), settings.fence_memory, settings.waiting == "block")
