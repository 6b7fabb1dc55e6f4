"""Atomic Redis for Django: Lua scripts as typed functions, exact limits, honest locks."""

from .dispatch import operation
from .locks.lease import Lease, current_lease
from .locks.lock import redis_lock, redis_semaphore
from .locks.options import FOREVER
from .ratelimit.limit import Decision, Limit, LimitState
from .ratelimit.rate_limiter import RateLimiter
from .registry import scripts
from .scripting.script import Call, RawKey

__all__ = [
    "FOREVER",
    "Call",
    "Decision",
    "Lease",
    "Limit",
    "LimitState",
    "RateLimiter",
    "RawKey",
    "current_lease",
    "operation",
    "redis_lock",
    "redis_semaphore",
    "scripts",
]
__version__ = "0.1.0"
