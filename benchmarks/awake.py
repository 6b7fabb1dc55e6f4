"""
Cores that stay awake while something is measured.

A virtual machine halts a core that has nothing to do, and its host takes longer to wake
it than a call takes: what is measured then is the host. A busy site's cores don't sleep.
So each core is given something to do of the lowest priority, which gives way to all else.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .machine import cores

SPIN = """
import os
parent = os.getppid()
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def awake() -> Iterator[None]:
    """Keep the cores awake in this block, where the system has such a priority: on Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores())]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
