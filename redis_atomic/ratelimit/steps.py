"""
One body for sync and async code.

What a request goes through is written once, as a generator. Where an answer may
have to be awaited it yields an ``Ask`` and is sent the answer; ``walk`` and
``awalk`` are the two ways to get it, and the only doubled lines.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from inspect import isawaitable
from typing import Any, NamedTuple, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from .. import generators

T = TypeVar("T")


class Ask(NamedTuple):
    """A question: the way to ask it in sync and in async code, and what about."""

    sync: Callable[..., Any]
    asynchronous: Callable[..., Awaitable[Any]]
    about: tuple[Any, ...] = ()


#: Callables that were found to ask the database, which asynchronous code may not.
_in_threads: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()

#: A generator that asks, and returns a ``T`` at its end.
Steps = Generator[Ask, Any, T]


def walk(steps: Steps[T]) -> T:
    """Go through the steps and return what they return. What an Ask raises, they see."""
    return generators.drive(steps, lambda ask: ask.sync(*ask.about), Exception)


async def awalk(steps: Steps[T]) -> T:
    """See walk()."""
    return await generators.adrive(steps, lambda ask: ask.asynchronous(*ask.about), Exception)


def called(function: Callable[..., Any], *args: Any) -> Steps[Any]:
    """
    The result of a project's own callable, be it sync or async.

    A sync callable is called directly, in async code too: a thread for each
    would cost more than the limit itself. Only one that turns out to ask the database,
    as ``request.user`` does, is called again in a thread, and from then on at once.
    """
    in_a_thread = _asks_the_database(function)
    if not in_a_thread:
        try:
            result = function(*args)
        except SynchronousOnlyOperation:
            in_a_thread = True
            with suppress(TypeError):  # an object that cannot be referred to weakly
                _in_threads.add(function)
    if in_a_thread:
        result = yield Ask(function, sync_to_async(function), args)
    if isawaitable(result):
        result = yield Ask(lambda it: async_to_sync(_awaited)(it), _awaited, (result,))
    return result


def _asks_the_database(function: Callable[..., Any]) -> bool:
    try:
        return bool(_in_threads) and function in _in_threads
    except TypeError:  # an object without a hash
        return False


async def _awaited(result: Awaitable[T]) -> T:
    return await result
