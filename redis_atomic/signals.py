"""
Signals. All are sent robustly: a receiver that raises never harms the caller.

``rate_limited``           a request was refused; ``decision``, ``request`` (or None)
``rate_limit_degraded``    Redis stopped or resumed answering limits; ``degraded``, ``error``
``lock_acquired``          ``name``, ``lease``, ``waited`` (seconds)
``lock_busy``              ``name``, ``waited`` (seconds)
``lock_lost``              ``name``, ``lease``, ``held`` (seconds)
``lock_released``          ``name``, ``lease``, ``held`` (seconds)
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

logger = logging.getLogger("redis_atomic")

rate_limited = Signal()
rate_limit_degraded = Signal()

lock_acquired = Signal()
lock_busy = Signal()
lock_lost = Signal()
lock_released = Signal()


def send(signal: Signal, sender: Any, **named: Any) -> None:
    """
    Send a signal in this thread, whatever its receivers do.

    Django's own send_robust() raises, and tells nobody, where a receiver is asynchronous
    and an event loop runs in this thread.
    """
    try:
        signal.send_robust(sender, **named)
    except Exception:
        logger.exception("A signal did not reach all its receivers: %r", named)
