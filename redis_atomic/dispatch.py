"""``Operation``: one thing to do in Redis, called, awaited, or built for a pipeline."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from .client.connections import Client, client_for
from .client.execution import arun, run
from .conf import conf
from .scripting.script import Call

P = ParamSpec("P")
T = TypeVar("T")


class Operation(Generic[P, T]):
    """
    A builder of calls, made callable.

    ``operation(…)`` builds the call and executes it, ``await operation.acall(…)``
    does so on asyncio, ``operation.call(…)`` only builds it, for a pipeline or a
    test. All three take the builder's own arguments.
    """

    def __init__(
        self,
        build: Callable[P, Call[T]],
        *,
        cache: str | None = None,
        version: int | None = None,
    ) -> None:
        self._build = build
        self._cache = cache
        self._version = version
        functools.update_wrapper(self, build)
        self.__signature__ = _returning_the_result(build)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        call = self.call(*args, **kwargs)
        return run(_client_of(call), call)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """See calling the operation."""
        call = self.call(*args, **kwargs)
        return await arun(_client_of(call), call)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """The call with these arguments, not sent: for ``pipeline.add`` and tests."""
        call = self._build(*args, **kwargs)
        if not isinstance(call, Call):
            raise TypeError(f"{self!r} must return a Call, and returned {call!r}.")
        if self._cache is None and self._version is None:
            return call
        return dataclasses.replace(
            call,
            cache=call.cache if self._cache is None else self._cache,
            version=call.version if self._version is None else self._version,
        )

    def using(self, *, cache: str | None = None, version: int | None = None) -> Operation[P, T]:
        """The same operation on another cache alias, or with another key version."""
        return Operation(
            self._build,
            cache=self._cache if cache is None else cache,
            version=self._version if version is None else version,
        )

    def __repr__(self) -> str:
        return f"<Operation {getattr(self, '__name__', '?')}>"


def operation(build: Callable[P, Call[T]]) -> Operation[P, T]:
    """
    Make an Operation of a function that returns a Call (decorator).

    The function's arguments become the operation's, and the type that its call
    parses to becomes the operation's result.
    """
    return Operation(build)


def _client_of(call: Call[Any]) -> Client:
    return client_for(call.cache or conf.CACHE_ALIAS)


def _returning_the_result(build: Callable[..., Call[Any]]) -> inspect.Signature:
    """The builder's signature, with ``T`` for its return annotation ``Call[T]``."""
    signature = inspect.signature(build)
    returns = signature.return_annotation
    if isinstance(returns, str) and returns.startswith("Call[") and returns.endswith("]"):
        return signature.replace(return_annotation=returns[len("Call[") : -1])
    return signature
