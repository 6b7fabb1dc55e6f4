"""
Cores that stay awake while something is measured.

A virtual machine halts a core that has nothing to do, and its host takes longer to wake
it than a call takes: what is measured then is the host. A busy site's cores don't sleep.

Linux keeps them awake while somebody who may asks for it:
https://docs.kernel.org/power/pm_qos_interface.html. Elsewhere each core is given
something to do that gives way to all else. (Not SCHED_IDLE: to the scheduler a core with
nothing but that is idle.) That takes part of what the cores share, so figures vary more.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .machine import cores

LATENCY = Path("/dev/cpu_dma_latency")

SPIN = """
import os
parent = os.getppid()
os.nice(19)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def awake() -> Iterator[str]:
    """Keep the cores awake in this block; how that is done."""
    try:
        asking = LATENCY.open("wb", buffering=0)
    except OSError:
        with _spinning():
            yield "kept awake by processes of the lowest priority"
    else:
        with asking:
            asking.write(bytes(4))  # they take 0 microseconds to wake, so they don't sleep
            yield "kept awake by the kernel"


@contextmanager
def _spinning() -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
