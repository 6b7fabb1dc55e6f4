"""
What is done while Redis does not answer: the breaker, and the three policies.

A call that fails is answered by RATE_LIMIT_ON_ERROR: "local" counts in this
process, "open" allows, "closed" refuses. After ``FAILURES`` of them the breaker
opens and Redis is left alone; a thread of its own asks it again every ``PAUSE``
seconds, so that no request is held up to find out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from ..conf import conf
from ..exceptions import RedisAtomicError
from ..signals import rate_limit_degraded
from .answer import Answer, State
from .charge import Charge
from .decision import Decision
from .local import LocalLimiter

logger = logging.getLogger("redis_atomic.rate_limits")

FAILURES = 3
PAUSE = 2.0  # seconds
#: A success wipes out failures older than this, in seconds: those of a partial
#: outage, with successes in between, still add up.
FORGIVEN = 10.0


class Breaker:
    """
    Whether Redis is to be asked. One for each process.

    ``probe`` asks Redis something harmless, and raises if it does not answer.
    """

    def __init__(self, probe: Callable[[], object]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Forget everything, as if Redis had always answered."""
        self.open = False
        self._failures = 0
        self._last_failure = 0.0
        self._round = object()  # a thread that finds another one here has been forgotten

    def renew_after_fork(self) -> None:
        """See renew(); of the parent's threads none came along."""
        self._lock = threading.Lock()
        self.renew()

    def failed(self, error: RedisAtomicError) -> None:
        """Count a call that failed; the one that is too many opens the breaker."""
        with self._lock:
            self._failures += 1
            self._last_failure = monotonic()
            if not self.open and self._failures >= FAILURES:
                self._round = object()
                # Without a thread to close it again it must not open.
                self.open = bool(
                    _started("redis_atomic.rate_limits", self._stay_open, self._round, error)
                )

    def succeeded(self) -> None:
        """Note a call that was answered."""
        if self._failures and not self.open and monotonic() - self._last_failure > FORGIVEN:
            self._failures = 0

    def _stay_open(self, this_round: object, error: RedisAtomicError) -> None:
        """Tell of it, and ask Redis until it answers: in a thread, so no request waits."""
        # A receiver may take as long as it likes: Redis is asked meanwhile.
        telling = _started("redis_atomic.rate_limits degraded", _tell_of_failure, error)
        if not self._wait_for_redis(this_round):
            return
        logger.warning("Redis answers rate limits again.")
        if telling is not None:
            telling.join()  # the end is told after the beginning
        rate_limit_degraded.send_robust(sender=Breaker, degraded=False, error=None)

    def _wait_for_redis(self, this_round: object) -> bool:
        """Close the breaker when Redis answers; false if this round was forgotten before."""
        pause = threading.Event()
        while True:
            pause.wait(PAUSE)
            if self._round is not this_round:
                return False
            try:
                self._probe()
            except Exception:
                logger.debug("Redis does still not answer rate limits.", exc_info=True)
            else:
                break
        with self._lock:
            if self._round is not this_round:
                return False
            self.renew()
        return True


def _tell_of_failure(error: RedisAtomicError) -> None:
    logger.error(
        "Redis does not answer rate limits, which are now %r in this process: %s",
        conf.RATE_LIMIT_ON_ERROR,
        error,
    )
    # Receivers may be asynchronous: this thread has no event loop that they'd block.
    rate_limit_degraded.send_robust(sender=Breaker, degraded=True, error=error)


def _started(name: str, target: Callable[..., object], *args: object) -> threading.Thread | None:
    """A thread that does this, or None where the system has none left."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        logger.error("The thread %r, for rate limits without Redis: %s", name, error)
        return None
    return thread


local_limiter = LocalLimiter()
os.register_at_fork(after_in_child=local_limiter.renew_after_fork)


def degraded_decision(charges: Sequence[Charge], *, peek: bool = False) -> Decision:
    """The Decision without Redis, as RATE_LIMIT_ON_ERROR says."""
    policy = conf.RATE_LIMIT_ON_ERROR
    if policy == "local":
        answer = local_limiter.ask(charges, peek=peek)
    elif policy == "open":
        answer = Answer(True, [State(charge.capacity, 0, 0) for charge in charges])
    else:
        wait = round(PAUSE * 1e6)
        shadow = all(charge.limit.shadow for charge in charges)
        answer = Answer(shadow, [State(0, wait, wait) for charge in charges])
    if peek:
        return Decision.uncharged(charges, answer, degraded=True)
    return Decision.without_redis(charges, answer)
