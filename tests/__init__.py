"""
REDIS_ATOMIC_LEAN_CALLS=0 lets all tests, and their worker processes, call without lean calls.

It changes the setting's default, so it holds whatever REDIS_ATOMIC a test sets.
"""

import os

from redis_atomic.conf import Settings

if os.environ.get("REDIS_ATOMIC_LEAN_CALLS") == "0":
    Settings.LEAN_CALLS.default = False
