"""What a decorated function does where its lock is not to be had."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from django.http import HttpResponse

from ..coroutines import is_awaited
from ..exceptions import LockBusy, LockUnavailable

OnBusy = Literal["raise", "skip", 409, 423, 503] | Callable[..., Any]
OnError = Literal["raise", "skip", "run"]

#: Conflict, Locked, Service Unavailable: what a view may answer when the lock is busy.
STATUSES = (409, 423, 503)


def on_busy_policy(value: OnBusy) -> OnBusy:
    """The value, if it is one; ValueError otherwise."""
    if callable(value) or value in ("raise", "skip") or (type(value) is int and value in STATUSES):
        return value
    raise ValueError(
        f"on_busy must be 'raise', 'skip', 409, 423, 503 or a function, not {value!r}."
    )


def on_error_policy(value: OnError) -> OnError:
    """The value, if it is one; ValueError otherwise."""
    if value in ("raise", "skip", "run"):
        return value
    raise ValueError(f"on_error must be 'raise', 'skip' or 'run', not {value!r}.")


def check_callable(on_busy: OnBusy, function: Callable[..., Any]) -> None:
    """TypeError for a coroutine function that a function would have to await."""
    if is_awaited(on_busy) and not is_awaited(function):
        raise TypeError(
            "on_busy is a coroutine function, and the decorated function is not. If it stands in "
            "method_decorator(…), put redis_lock(…) on the async method itself."
        )


def instead_of(
    function: Callable[..., Any],
    error: LockBusy | LockUnavailable,
    on_busy: OnBusy,
    on_error: OnError,
) -> Callable[..., Any]:
    """What to call instead of the function whose lock was not to be had; or raises the error."""
    if isinstance(error, LockBusy):
        return _when_busy(error, on_busy)
    if on_error == "raise":
        raise error
    return function if on_error == "run" else _skip


def _when_busy(error: LockBusy, policy: OnBusy) -> Callable[..., Any]:
    if policy == "raise":
        raise error
    if policy == "skip":
        return _skip
    if callable(policy):
        return partial(policy, error)
    response = busy_response(policy, error.retry_after)
    return lambda *args, **kwargs: response


def _skip(*args: Any, **kwargs: Any) -> None:
    pass


def busy_response(status: int, retry_after: float) -> HttpResponse:
    """Says when to come back (seconds): when the lock is free, should its holder have died."""
    seconds = max(1, math.ceil(retry_after))
    return HttpResponse(
        f"Somebody else is working on this. Try again in {seconds} s.\n",
        status=status,
        content_type="text/plain; charset=utf-8",
        headers={"Retry-After": str(seconds), "Cache-Control": "no-store"},
    )
