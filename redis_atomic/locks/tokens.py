"""
Tokens: the name of one attempt to acquire, and of the lease that comes of it.

``host:pid:random``: the first two for people who look at a lock, 128 random bits so that
nobody else ever has it, and nobody can guess it.
"""

from __future__ import annotations

import os
import re
import socket

#: So many are drawn at once: to ask the system takes longer than all else here.
DRAWN = 64


class _Drawn:
    """Random numbers of this process that no token has had yet."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:40]
        self.owner = f"{host}:{pid}:"
        self.unused: list[str] = []

    def draw(self) -> str:
        try:
            return self.unused.pop()  # one thread gets it
        except IndexError:
            digits = os.urandom(16 * DRAWN).hex()
            self.unused += [digits[at : at + 32] for at in range(32, len(digits), 32)]
            return digits[:32]


_drawn = _Drawn(0)


def new_token() -> str:
    """A name that nobody else has."""
    global _drawn
    pid = os.getpid()
    if _drawn.pid != pid:  # a child has its parent's
        _drawn = _Drawn(pid)
    drawn = _drawn
    return drawn.owner + drawn.draw()


def owner_of(token: str) -> str:
    """The readable part of a token: ``host:pid``."""
    return token.rpartition(":")[0] or token
