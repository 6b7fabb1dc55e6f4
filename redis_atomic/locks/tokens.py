"""
Tokens: the name of one attempt to acquire, and of the lease that comes of it.

``host:pid:random``: the first two for people who look at a lock, 128 random bits so that
nobody else ever has it, and nobody can guess it.
"""

from __future__ import annotations

import functools
import os
import re
import socket


def new_token() -> str:
    """A name that nobody else has."""
    return f"{_host()}:{os.getpid()}:{os.urandom(16).hex()}"


@functools.cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:40]


def owner_of(token: str) -> str:
    """The readable part of a token: ``host:pid``."""
    return token.rpartition(":")[0] or token
