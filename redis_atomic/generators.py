"""
Driving a generator that decides what to do, by what is able to do it.

The generator yields things to do and is sent their outcomes, or thrown the errors it
can judge. So what is decided is written once, for threads and for asyncio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
Errors = type[Exception] | tuple[type[Exception], ...]


def drive(generator: Generator[S, Any, T], perform: Callable[[S], Any], errors: Errors) -> T:
    """Perform what it yields in this thread, and return what it returns."""
    try:
        step = next(generator)
        while True:
            try:
                outcome = perform(step)
            except errors as error:
                step = generator.throw(error)
            else:
                step = generator.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def adrive(
    generator: Generator[S, Any, T], perform: Callable[[S], Awaitable[Any]], errors: Errors
) -> T:
    """See drive()."""
    try:
        step = next(generator)
        while True:
            try:
                outcome = await perform(step)
            except errors as error:
                step = generator.throw(error)
            else:
                step = generator.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result
