"""
The keys of a lock, or of a semaphore.

    slot     string  "fence:token"; a lease, or for a moment a grant to one who waited
    :fence   string  the last fence; outlives the lease, so that fences always grow
    :queue   list    tokens in order of arrival
    :alive   hash    token: until when (server ms) this waiter counts as alive
    :wake:…  list    wakes the waiter of this token; as a string: the token is finished

The braces in the name make all keys of one lock one slot of a cluster. They stand
inside KEY_PREFIX, and the readable name is the lock itself: GET and PTTL tell the truth.
"""

from __future__ import annotations

import functools

from ..scripting.script import PrefixedKey


class Keys:
    """The keys of one lock, or of a semaphore of ``limit`` slots."""

    def __init__(self, name: str, limit: int = 1, kind: str = "lock") -> None:
        self.name = name
        self.encoded = name.encode()
        self.limit = limit
        self.kind = kind
        self.base = f"{kind}:{{{name}}}"

    def slot(self, number: int) -> PrefixedKey:
        """From 1; the first one is the lock itself."""
        return PrefixedKey(self.base if number == 1 else f"{self.base}:{number}")

    @functools.cached_property
    def slots(self) -> tuple[PrefixedKey, ...]:
        return tuple([self.slot(number) for number in range(1, self.limit + 1)])

    @functools.cached_property
    def queue(self) -> PrefixedKey:
        return PrefixedKey(f"{self.base}:queue")

    @functools.cached_property
    def _shared(self) -> tuple[PrefixedKey, ...]:
        fence, alive = PrefixedKey(f"{self.base}:fence"), PrefixedKey(f"{self.base}:alive")
        return (fence, self.queue, alive, *self.slots)

    def wake(self, token: str) -> PrefixedKey:
        return PrefixedKey(f"{self.base}:wake:{token}")

    def of(self, token: str) -> tuple[PrefixedKey, ...]:
        """What acquire and finish take."""
        return (self.wake(token), *self._shared)


@functools.lru_cache(maxsize=1024)
def keys_of(name: str, limit: int = 1, kind: str = "lock") -> Keys:
    """The same Keys, made once: a lock is mostly asked for again."""
    return Keys(name, limit, kind)
