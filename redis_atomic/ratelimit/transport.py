"""
How limits reach Redis: over connections of their own, and within RATE_LIMIT_TIMEOUT in all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ..client.connections import Client, client_for
from ..client.deadline import within
from ..client.execution import arun, run
from ..conf import conf
from ..exceptions import IndeterminateResult, RedisAtomicError
from ..scripting.script import Call

T = TypeVar("T")

#: A day, in seconds. What is much longer no socket can wait.
LONGEST_TIMEOUT = 86_400

#: A generator that yields calls, is sent their results or thrown why there is none, and
#: returns a ``T``.
Steps = Generator[Call[Any], Any, T]


class Setup(NamedTuple):
    """What every decision needs to know; read once, as each lookup takes microseconds."""

    enabled: bool
    alias: str
    timeout: float  # seconds


@cache
def setup() -> Setup:
    alias = conf.RATE_LIMIT_CACHE_ALIAS or conf.CACHE_ALIAS
    return Setup(conf.RATE_LIMIT_ENABLED, alias, timeout_of(conf.RATE_LIMIT_TIMEOUT))


def timeout_of(value: Any) -> float:
    """Seconds, of a number or timedelta; ImproperlyConfigured where no call could wait so."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if is_number and 0 < seconds <= LONGEST_TIMEOUT:
        return float(seconds)
    raise ImproperlyConfigured(
        "REDIS_ATOMIC['RATE_LIMIT_TIMEOUT'] must be a number of seconds above 0, at most "
        f"{LONGEST_TIMEOUT}."
    )


def limits_client() -> Client:
    """The client of the limits' alias, with pools and a time-out of its own."""
    _, alias, timeout = setup()
    return client_for(alias, "limits", timeout=timeout)


def walk(steps: Steps[T], outcome: Any = None, spent: float = 0.0) -> T:
    """
    Make the calls that these steps yield, and return what they return.

    ``outcome`` is that of the first call's first trip, where it was made already, and
    ``spent`` the seconds that it took.
    """
    try:
        call = next(steps)
        with within(setup().timeout - spent):
            while True:
                first, outcome = outcome, None
                try:
                    result = run(limits_client(), call, first)
                except RedisAtomicError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


async def awalk(steps: Steps[T], outcome: Any = None, spent: float = 0.0) -> T:
    """See walk()."""
    try:
        call = next(steps)
        end = asyncio.get_running_loop().time() + setup().timeout - spent
        while True:
            first, outcome = outcome, None
            try:
                async with asyncio.timeout_at(end):
                    result = await arun(limits_client(), call, first)
            except RedisAtomicError as error:
                call = steps.throw(error)
            except TimeoutError:
                call = steps.throw(IndeterminateResult("Redis did not answer in time."))
            else:
                call = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting in {"CACHES", "REDIS_ATOMIC"}:
        setup.cache_clear()


setting_changed.connect(_forget, dispatch_uid="redis_atomic.limits_transport")
