"""Keys of ours beside a key of the user's."""

from __future__ import annotations

from .script import RawKey


def companion_key(key: str | RawKey, suffix: str) -> str | RawKey:
    """
    A key of ours beside a key of the user's, in the same slot of a cluster.

    A key with a hash tag just takes the suffix; another one becomes the tag
    itself. (One with stray braces can be neither: good for a single server, and
    two slots on a cluster.)
    """
    if isinstance(key, RawKey):
        name = key.name if isinstance(key.name, bytes) else key.name.encode()
        return RawKey(_beside(name, suffix.encode()))
    return _beside(key.encode(), suffix.encode()).decode()


def _beside(name: bytes, suffix: bytes) -> bytes:
    _, opening, rest = name.partition(b"{")
    tag, closing, _ = rest.partition(b"}")
    return name + suffix if opening and closing and tag else b"{" + name + b"}" + suffix
