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

from django.dispatch import Signal

rate_limited = Signal()
rate_limit_degraded = Signal()

lock_acquired = Signal()
lock_busy = Signal()
lock_lost = Signal()
lock_released = Signal()
