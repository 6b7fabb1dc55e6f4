"""A function, or coroutine function, whose calls run under a lock."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ..coroutines import is_awaited
from ..exceptions import LockBusy, LockUnavailable
from .context import WithoutLease
from .policies import check_callable, instead_of
from .section import Section
from .templates import bind_template

if TYPE_CHECKING:
    from .definition import Lock

P = ParamSpec("P")
R = TypeVar("R")


def decorate(lock: Lock, function: Callable[P, R]) -> Callable[P, R]:
    """The function, each call of it a section; its arguments make the lock's name."""
    _refuse_what_cannot_be_decorated(lock, function)
    check_callable(lock.on_busy, function)
    name_of = bind_template(lock.name, function)

    def section(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Section:
        return Section(lock, name_of(args, kwargs))

    if is_awaited(function):

        @functools.wraps(function)
        async def awaiting(*args: P.args, **kwargs: P.kwargs) -> Any:
            call: Callable[..., Any] = function
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(section(args, kwargs))
                except (LockBusy, LockUnavailable) as error:
                    call = instead_of(function, error, lock.on_busy, lock.on_error)
                    stack.enter_context(WithoutLease() if call is function else nullcontext())
                result = call(*args, **kwargs)
                result = await result if inspect.isawaitable(result) else result
                return _finished(function, result) if call is function else result

        return cast(Callable[P, R], awaiting)

    @functools.wraps(function)
    def calling(*args: P.args, **kwargs: P.kwargs) -> R:
        call: Callable[..., R] = function
        with ExitStack() as stack:
            try:
                stack.enter_context(section(args, kwargs))
            except (LockBusy, LockUnavailable) as error:
                call = instead_of(function, error, lock.on_busy, lock.on_error)
                stack.enter_context(WithoutLease() if call is function else nullcontext())
            result = call(*args, **kwargs)
            return _finished(function, result) if call is function else result

    return calling


def _refuse_what_cannot_be_decorated(lock: Lock, function: object) -> None:
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(
            f"redis_lock(…) decorates functions: put it beneath @{type(function).__name__}."
        )
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"redis_lock(…) decorates functions, not {function!r}.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{getattr(function, '__qualname__', function)}() is a generator: the lock would "
            "be given back before its first item. Use `with` inside it."
        )
    if lock.cancel_on_lost and not is_awaited(function):
        raise TypeError(
            "cancel_on_lost=True is for async code: a thread cannot be cancelled. If it stands in "
            "method_decorator(…), put redis_lock(…) on the async method itself."
        )


@contextmanager
def _context() -> Iterator[None]:
    yield


@asynccontextmanager
async def _acontext() -> AsyncIterator[None]:
    yield


#: What has not begun when it is returned. (The type is asked, as a lazy object would be
#: evaluated for its class. Tasks and futures go on by themselves.)
UNFINISHED = (
    CoroutineType,
    GeneratorType,
    AsyncGeneratorType,
    type(_context()),
    type(_acontext()),
)


def _finished(function: object, result: R) -> R:
    """
    The result; TypeError for one whose work is still to be done, without the lock then.

    It is what shows that a decorator beneath has hidden a coroutine function or a
    generator, as contextlib.contextmanager does.
    """
    if not issubclass(type(result), UNFINISHED):
        return result
    if isinstance(result, CoroutineType):
        result.close()  # nobody is to await it
    raise TypeError(
        f"{getattr(function, '__qualname__', function)}() returned {type(result).__name__}, whose "
        "work is still to be done, and the lock is given back now: put redis_lock(…) on the "
        "coroutine function itself, or use `with` inside a generator."
    )
