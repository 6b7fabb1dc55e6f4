"""``ScriptTester``: calls a script on a real server, and checks all that it did."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, TypedDict, Unpack

from ..client.connections import Client, client_for
from ..client.execution import arun, run
from ..conf import conf
from ..dispatch import Operation
from ..exceptions import RedisAtomicError
from ..scripting.arguments import Seconds
from ..scripting.script import Call, Key, PrefixedKey, RawKey, Script
from .trial import ANYTHING, Expectation, Outcome, Probe, Raises, Steps, Trial, is_raised

#: A script: its registered name, an operation, a Script, or a call that is built already.
Target = str | Operation[..., Any] | Script | Call[Any]


class Case(TypedDict, total=False):
    """The named arguments of ``run`` and ``arun``."""

    setup: Mapping[Key, Any]
    call: Mapping[str, Any]
    result: Any
    raises: Raises
    state: Mapping[Key, Any]
    ttl: Mapping[Key, Seconds | None]
    probes: Iterable[Probe]


class ScriptTester:
    """
    Calls scripts on a real server, and checks what came of it.

    Every key gets a prefix of this tester's own, and what has it is deleted at
    the end of each run, also of one that fails. ``cache`` is the alias to use,
    by default that of the call or the settings; ``prefix`` is made up for you.
    """

    def __init__(self, *, cache: str | None = None, prefix: str | None = None) -> None:
        self._cache = cache
        self.prefix = f"script-test-{uuid.uuid4().hex}:" if prefix is None else prefix
        if not self.prefix or set(self.prefix) & set("*?[]{}\\"):
            raise ValueError(f"prefix must be text without *?[]{{}}\\, not {self.prefix!r}.")

    def run(self, target: Target, **case: Unpack[Case]) -> Any:
        """
        Call a script and check how it ends; then every probe calls it in its own way.

        ``target`` is a registered name, an Operation, a Script, or a Call. The
        rest is optional:

        ``call``     the named arguments; for a Script its ``keys`` and ``args``
        ``setup``    what keys hold before: str, bytes, int, list, set, dict (a
                     hash), SortedSet, None (missing), or Expiring
        ``result``   what is returned, compared by ``==``
        ``raises``   an exception class, or the code of a ReplyError
        ``state``    what keys hold after, as in ``setup``
        ``ttl``      how long keys then live (seconds, timedelta), None for ever
        ``probes``   such as ``no_partial_effect()``

        Returns the result, or the exception that was expected. AssertionError
        where something is not as expected. RuntimeError where one of the keys
        exists: nothing was run or changed then.
        """
        with closing(self._steps(target, **case)) as steps:
            outcome: Any = None
            try:
                while True:
                    outcome = _outcome(*steps.send(outcome))
            except StopIteration as stop:
                return stop.value

    async def arun(self, target: Target, **case: Unpack[Case]) -> Any:
        """As ``run``, with every call awaited."""
        with closing(self._steps(target, **case)) as steps:
            outcome: Any = None
            try:
                while True:
                    outcome = await _aoutcome(*steps.send(outcome))
            except StopIteration as stop:
                return stop.value

    def key(self, key: Key, version: int | None = None) -> bytes:
        """A key as this tester sends it: with its own prefix, through ``make_key``."""
        return client_for(self._alias()).make_key(self._prefixed(key), version)

    def _steps(
        self,
        target: Target,
        *,
        setup: Mapping[Key, Any] | None = None,
        call: Mapping[str, Any] | None = None,
        result: Any = ANYTHING,
        raises: Raises | None = None,
        state: Mapping[Key, Any] | None = None,
        ttl: Mapping[Key, Seconds | None] | None = None,
        probes: Iterable[Probe] = (),
    ) -> Steps:
        try:
            built = _build(target, call)
        except Exception as error:
            if raises is not None and is_raised(error, raises):
                return error  # refused before anything is sent: there is nothing to look at
            raise
        keys = tuple(map(self._prefixed, built.keys))
        built = Call(built.command, keys, built.args, built.parse, built.cache, built.version)
        client = client_for(self._alias(built))

        def pattern(key: Key) -> bytes:
            return client.make_key(
                key if isinstance(key, RawKey) else self._prefixed(key), built.version
            )

        def sent(values: Mapping[Key, Any] | None) -> dict[bytes, Any]:
            prefixed = ((self._prefixed(key), value) for key, value in (values or {}).items())
            return {client.make_key(key, built.version): value for key, value in prefixed}

        expected = Expectation(result, raises, sent(state), sent(ttl))
        trial = Trial(client, built, sent(setup), expected, self.prefix, pattern)
        trial.refuse_existing_keys()
        try:
            trial.prepare()
            outcome = yield from trial.execute()
            trial.verify(outcome)
            for probe in probes:
                yield from probe(trial)
            return outcome.value if outcome.error is None else outcome.error
        finally:
            trial.clean()

    def _alias(self, call: Call[Any] | None = None) -> str:
        return self._cache or (call.cache if call else None) or conf.CACHE_ALIAS

    def _prefixed(self, key: Key) -> Key:
        if isinstance(key, RawKey):
            name = key.name if isinstance(key.name, bytes) else key.name.encode()
            return RawKey(self.prefix.encode() + name)
        if isinstance(key, PrefixedKey):
            return PrefixedKey(self.prefix + key.name)
        return self.prefix + key


def _build(target: Target, arguments: Mapping[str, Any] | None) -> Call[Any]:
    if isinstance(target, Call):
        if arguments is not None:
            raise TypeError("call= is given, but the target is a Call that is built already.")
        return target
    if isinstance(target, Script):
        return _call_of_script(target, **(arguments or {}))
    operation = _registered(target) if isinstance(target, str) else target
    call: Call[Any] = operation.call(**(arguments or {}))
    return call


def _registered(name: str) -> Any:
    from ..registry import scripts  # only registered names need the registry

    return scripts[name]


def _call_of_script(
    script: Script, keys: Iterable[Key] = (), args: Iterable[Any] = ()
) -> Call[Any]:
    return Call(script, tuple(keys), tuple(args))


def _outcome(client: Client, call: Call[Any]) -> Outcome:
    try:
        return Outcome(run(client, call))
    except RedisAtomicError as error:
        return Outcome(error=error)


async def _aoutcome(client: Client, call: Call[Any]) -> Outcome:
    try:
        return Outcome(await arun(client, call))
    except RedisAtomicError as error:
        return Outcome(error=error)
    finally:
        if client is not client_for(client.alias):  # a probe's own, which ends before its loop
            await client.aclose()
