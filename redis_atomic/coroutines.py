"""Which functions are awaited, whatever they are wrapped in."""

from __future__ import annotations

from functools import partial

from asgiref.sync import iscoroutinefunction


def is_awaited(function: object) -> bool:
    """
    Whether what the function returns is to be awaited.

    Of an asynchronous class-based view so is what ``dispatch`` returns, though itself a
    plain function; and of an object that is called what a coroutine ``__call__`` returns.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        return True
    while isinstance(function, partial):  # as method_decorator passes methods on
        function = function.func
    return getattr(function, "__name__", "") == "dispatch" and bool(
        getattr(getattr(function, "__self__", None), "view_is_async", False)
    )
