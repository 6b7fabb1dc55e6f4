"""
Cores that stay awake while something is measured.

A virtual machine halts a core that has nothing to do, and its host takes longer to wake
it than a call takes: what is measured then is the host. A busy site's cores don't sleep.
So each core is given something to do that gives way to all else. (Not SCHED_IDLE: to the
scheduler a core with nothing but that is idle.)
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
os.nice(19)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def awake() -> Iterator[None]:
    """Keep the cores awake in this block."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores())]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
