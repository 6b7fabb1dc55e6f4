"""The breaker of this process, and how it asks Redis whether it answers again."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from django.core.signals import setting_changed

from ..exceptions import RedisAtomicError, WrongType
from .answer import Answer
from .charge import Charge
from .failure import Breaker
from .keys import keys_of
from .limit import Limit
from .protocol import ask
from .rate import SECOND, Rate
from .transport import Steps, walk

logger = logging.getLogger("redis_atomic.rate_limits")

#: A charge that is never refused is always a write.
PROBE = Limit("1/s", algorithm="token_bucket", burst=1000)


def failed(error: RedisAtomicError) -> None:
    """Note that a limit could not be asked, and why."""
    if isinstance(error, WrongType):  # somebody else's key in our place: Redis is well
        logger.error("A rate limit can't be counted: %s", error)
    else:
        breaker.failed(error)


def _probe() -> None:
    """Ask Redis for all that a limit needs: the script, a write, memory."""
    charge = Charge(PROBE, Rate(1, SECOND), "redis_atomic.probe", str(os.getpid()))
    walk(_probing([charge]))


def _probing(charges: Sequence[Charge]) -> Steps[Answer]:
    answer: Answer = yield ask(charges, keys_of(charges))
    return answer


breaker = Breaker(_probe)
os.register_at_fork(after_in_child=breaker.renew_after_fork)


def _forget_settings(*, setting: str, **kwargs: object) -> None:
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        breaker.renew()


setting_changed.connect(_forget_settings, dispatch_uid="redis_atomic.breaker")
