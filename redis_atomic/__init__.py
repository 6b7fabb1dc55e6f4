"""Atomic Redis for Django: Lua scripts as typed functions, exact limits, honest locks."""

from .decorators import rate_limit
from .dispatch import operation
from .locks.context import current_lease
from .locks.fencing import afenced_update, fenced_update
from .locks.lease import Lease
from .locks.lock import redis_lock, redis_semaphore
from .locks.options import FOREVER
from .ratelimit.decision import Decision, LimitState
from .ratelimit.limit import Limit
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
    "afenced_update",
    "current_lease",
    "fenced_update",
    "operation",
    "rate_limit",
    "redis_lock",
    "redis_semaphore",
    "scripts",
]
__version__ = "0.1.0"
