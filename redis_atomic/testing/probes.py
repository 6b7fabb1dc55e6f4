"""
Probes: ways to call a script again that bring hidden faults to light.

They go to ``ScriptTester.run(…, probes=[…])``, which calls the script plainly first.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..client.connections import Client
from ..scripting.arguments import INT64_MAX, INT64_MIN
from ..scripting.script import Key
from .trial import Outcome, Probe, Steps, Trial, expect
from .values import Entry, Expiring, Server, plant

#: Strings that break what computes with them: no integer, a float, both ends of 64 bits.
TEXTS = (b"", b"abc", b"1.5", b"%d" % INT64_MAX, b"%d" % INT64_MIN)


def all_probes(also: Iterable[Key] = ()) -> list[Probe]:
    """Every probe there is; ``also`` as for ``declared_keys_only``."""
    return [declared_keys_only(also), no_partial_effect(), survives_script_flush()]


def survives_script_flush() -> Probe:
    """The call ends as expected also after the server has forgotten all scripts."""

    def probe(trial: Trial) -> Steps:
        trial.prepare()
        trial.server.script_flush()
        trial.verify((yield from trial.execute()))

    return probe


def declared_keys_only(also: Iterable[Key] = ()) -> Probe:
    """
    The script touches no key but those it is given.

    It is executed by a Redis user who may use just these keys, so a key that is
    written in the script or made of another is found on any server, also where
    the script swallows the error. ``also`` are further keys that it may use, a
    ``*`` in them standing for any text: a ``str`` is made a key as those of the
    call are, a ``RawKey`` is taken as it stands. Needs a server that lets us
    make users (ACL SETUSER).
    """

    def probe(trial: Trial) -> Steps:
        patterns = [_literally(key) for key in trial.keys]
        patterns += [_literally(trial.pattern(key), but=b"*") for key in also]
        with _limited_to(patterns, trial) as (client, user):
            trial.prepare()
            outcome = yield from trial.execute(client)
            if key := _refused_key(trial.server, user):
                raise AssertionError(
                    f"{trial.call.name} uses the key {key!r}, which is not one of its keys: "
                    "declare it, or allow it with declared_keys_only(also=…)."
                )
            trial.verify(outcome)

    return probe


def _literally(key: bytes, but: bytes = b"") -> bytes:
    """A pattern of ACL rules for just this key; they cannot hold spaces or zeros."""
    special = rb"*?[]\\".replace(but, b"")
    escaped = re.sub(b"([" + re.escape(special) + b"])", rb"\\\1", key)
    return re.sub(rb"[\s\0]", b"?", escaped)


@contextmanager
def _limited_to(patterns: Iterable[bytes], trial: Trial) -> Iterator[tuple[Client, str]]:
    """A client whose user may do everything, but only with keys of these patterns."""
    user, password = f"script-test-{secrets.token_hex(8)}", secrets.token_hex(16)
    rules = ["reset", "on", f">{password}", "+@all", "&*", *(b"~" + each for each in patterns)]
    trial.server.execute_command("ACL SETUSER", user, *rules)
    client = Client(trial.client.alias)
    client.pool.connection_kwargs.pop("credential_provider", None)
    client.pool.connection_kwargs.update(username=user, password=password)
    try:
        yield client, user
    finally:
        client.close()
        trial.server.acl_deluser(user)


def _refused_key(server: Server, user: str) -> str | None:
    """The key that this user was last refused, from the server's security log."""
    for entry in server.acl_log():
        if entry["username"] == user and entry["reason"] == "key":
            return str(entry["object"])
    return None


def no_partial_effect() -> Probe:
    """
    A call that fails changes nothing, whatever its keys hold.

    A wrong type, texts that are no integers and numbers next to an overflow are
    planted in each key in turn, and in each field of a hash of the ``setup``.
    Where the call then fails, all keys and their TTLs must be as they were.
    """

    def probe(trial: Trial) -> Steps:
        for key in trial.keys:
            for fault in _faults(trial.setup.get(key)):
                trial.prepare()
                plant(trial.server, key, fault)
                before = trial.snapshot()
                outcome = yield from trial.execute()
                if outcome.error is not None:
                    _verify_unchanged(trial, key, fault, before, outcome)

    return probe


def _faults(value: Any) -> Iterator[Any]:
    """What to plant in a key whose proper value is this."""
    if isinstance(value, Expiring):
        yield from (Expiring(fault, value.ttl) for fault in _faults(value.value))
        return
    yield from (["a list"], {"a": "hash"}, {"a set"})
    yield from TEXTS
    if isinstance(value, Mapping):
        yield from ({**value, name: text} for name in value for text in TEXTS)


def _verify_unchanged(
    trial: Trial, planted: bytes, fault: Any, before: Mapping[bytes, Entry], outcome: Outcome
) -> None:
    after = trial.snapshot()
    for key in sorted({*before, *after}):
        old, new = before.get(key, Entry(None, None)), after.get(key, Entry(None, None))
        expect(
            old.is_like(new),
            f"{trial.call.name} {outcome}, with {fault!r} in {planted!r}, and yet it changed "
            f"{key!r} from {old} to {new}. Validate everything before the first write: "
            "Redis does not roll back.",
        )
