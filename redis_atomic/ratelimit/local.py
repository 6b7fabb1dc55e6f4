"""
Limits counted in this process alone, for as long as Redis does not answer.

Pure, bounded, and as strict as Redis: a window never admits more than its
amount. To keep a log short whatever the amount, its units are put together in
128ths of the window, and counted until the last of them could leave.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Protocol

from .answer import NEVER, Answer, State
from .charge import Charge
from .protocol import life_of, unit_and_drain

PARTS = 128
#: Counts kept; the one that was idle longest makes room for a new one.
MOST_COUNTS = 10_000


def microseconds() -> int:
    return monotonic_ns() // 1000


class Count(Protocol):
    """How one limit is counted. Times are microseconds."""

    def state(self, charge: Charge, now: int) -> State: ...
    def add(self, charge: Charge, now: int) -> None: ...
    def take_back(self, charge: Charge, end: int, now: int) -> None: ...


class Window:
    """A sliding window: the ticks at which units were charged, oldest first, and how many."""

    def __init__(self, charge: Charge) -> None:
        self._tick = max(charge.rate.window // PARTS, 1)
        self._life = life_of(charge.rate.window, self._tick)
        self._log: deque[list[int]] = deque()
        self._used = 0

    def state(self, charge: Charge, now: int) -> State:
        while self._log and now // self._tick - self._log[0][0] >= self._life:
            self._used -= self._log.popleft()[1]
        end = self._end(self._log[-1][0]) if self._log else now
        free = max(charge.capacity - self._used, 0)
        return State(free, self._retry(charge, now), end - now, end)

    def _retry(self, charge: Charge, now: int) -> int:
        if charge.cost > charge.capacity:
            return NEVER
        missing = self._used + charge.cost - charge.capacity
        if charge.cost and missing > 0:
            for tick, units in self._log:
                missing -= units
                if missing <= 0:
                    return self._end(tick) - now
        return 0

    def _end(self, tick: int) -> int:
        return (tick + self._life) * self._tick

    def add(self, charge: Charge, now: int) -> None:
        tick = now // self._tick
        if not self._log or self._log[-1][0] != tick:
            self._log.append([tick, 0])
        self._log[-1][1] += charge.cost
        self._used += charge.cost

    def take_back(self, charge: Charge, end: int, now: int) -> None:
        for entry in self._log:
            if self._end(entry[0]) == end:
                units = min(charge.cost, entry[1])
                entry[1] -= units
                self._used -= units
                if not entry[1]:
                    self._log.remove(entry)
                return


class Bucket:
    """A token bucket: its backlog, and when that was."""

    def __init__(self, charge: Charge) -> None:
        self._unit, self._drain = unit_and_drain(charge.rate)
        self._backlog = 0
        self._moment = 0

    def state(self, charge: Charge, now: int) -> State:
        self._backlog = max(self._backlog - (now - self._moment) * self._drain, 0)
        self._moment = now
        room = charge.capacity * self._unit - self._backlog
        missing = charge.cost * self._unit - room
        retry = NEVER if charge.cost > charge.capacity else max(-(-missing // self._drain), 0)
        reset = -(-self._backlog // self._drain)
        return State(max(room // self._unit, 0), retry if charge.cost else 0, reset, now + reset)

    def add(self, charge: Charge, now: int) -> None:
        self._backlog += charge.cost * self._unit

    def take_back(self, charge: Charge, end: int, now: int) -> None:
        self.state(charge, now)
        left = max(end - now, 0) * self._drain
        self._backlog -= min(charge.cost * self._unit, left, self._backlog)


class LocalLimiter:
    """All counts of this process. ``clock`` gives microseconds that never step back."""

    def __init__(self, *, size: int = MOST_COUNTS, clock: Callable[[], int] = microseconds) -> None:
        self._size = size
        self._clock = clock
        self.renew_after_fork()

    def renew_after_fork(self) -> None:
        """Start anew: a thread of the parent may have been half way through a count."""
        self._counts: OrderedDict[object, Count] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, charges: Sequence[Charge], *, peek: bool = False) -> Answer:
        """Charge all or none, as Redis does; ``peek``: only look."""
        with self._lock:
            now = self._clock()
            # New counts are kept when they are charged: those refused have nobody else's evicted.
            counts = [self._known(charge) or _new_count(charge) for charge in charges]
            states = [count.state(c, now) for count, c in zip(counts, charges, strict=True)]
            allowed = all(
                state.retry_after == 0 or charge.limit.shadow
                for charge, state in zip(charges, states, strict=True)
            )
            if allowed and not peek:
                self._keep(charges, counts)
                states = [
                    _charged(count, charge, state, now)
                    for count, charge, state in zip(counts, charges, states, strict=True)
                ]
        return Answer(allowed, states)

    def take_back(self, owed: Sequence[tuple[Charge, int]]) -> None:
        """Give charges back, each with the time at which its effect would end."""
        with self._lock:
            for charge, end in owed:
                count = self._known(charge)
                if count is not None:
                    count.take_back(charge, end, self._clock())

    def forget(self, charges: Sequence[Charge]) -> None:
        """Start anew with these charges' limits and identities."""
        with self._lock:
            for charge in charges:
                self._counts.pop(_name(charge), None)

    def _known(self, charge: Charge) -> Count | None:
        count = self._counts.get(name := _name(charge))
        if count is not None:
            self._counts.move_to_end(name)
        return count

    def _keep(self, charges: Sequence[Charge], counts: Sequence[Count]) -> None:
        for charge, count in zip(charges, counts, strict=True):
            name = _name(charge)
            self._counts[name] = count
            self._counts.move_to_end(name)
        while len(self._counts) > self._size:
            self._counts.popitem(last=False)


def _new_count(charge: Charge) -> Count:
    return Window(charge) if charge.limit.algorithm == "sliding_window" else Bucket(charge)


def _name(charge: Charge) -> object:
    return charge.tariff.count, charge.identity, charge.limit.keys


def _charged(count: Count, charge: Charge, state: State, now: int) -> State:
    if state.retry_after or not charge.cost:
        return state
    count.add(charge, now)
    # What is left after the charge; that the cost fitted was told before.
    return count.state(charge, now)._replace(retry_after=0)
