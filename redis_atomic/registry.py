"""
``scripts``: every script of the project, by name, as an operation.

The registry is filled when Django starts, from the ``lua/`` folders of the apps
and from settings. Redis is not asked for anything until a script is called.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.signals import setting_changed

from .client.connections import client_for
from .client.preload import preload
from .client.preload_report import Report
from .conf import conf
from .dispatch import Operation
from .exceptions import ScriptNotFound
from .scripting.builtin import builtins
from .scripting.discovery import Entry, discover
from .scripting.script import Call, Script
from .scripting.spelling import did_you_mean

if TYPE_CHECKING:
    from .client.pipeline import Pipeline


class Registry:
    """The scripts by name. Iterating gives the names; ``in`` tells whether there is one."""

    def __init__(self) -> None:
        self._entries: Mapping[str, Entry] | None = None
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> RegisteredScript:
        """
        A handle of the script; may be taken at import time, before Django is set up.

        It is resolved when it is used: ScriptNotFound and InvalidScript come then.
        """
        if not isinstance(name, str):
            raise TypeError(f"A script is named by a str such as 'shop.reserve', not {name!r}.")
        return RegisteredScript(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What was found, sound or not, by name; found and read at first use."""
        entries = self._entries
        if entries is None:
            with self._lock:
                entries = self._entries
                if entries is None:
                    entries = self._entries = discover(script_folders(), script_overrides())
        return entries

    def entry(self, name: str) -> Entry:
        """What was found under a name; ScriptNotFound, with the nearest one, if nothing."""
        entry = self.entries.get(name)
        if entry is None:
            near = did_you_mean(name, self.entries)
            raise ScriptNotFound(f"No script is named {name!r}.{near or _how_to_add(name)}")
        return entry

    def pipeline(self, *, transaction: bool = False, cache: str | None = None) -> Pipeline:
        """
        Many calls in one trip, ``with`` or ``async with``; see Pipeline.

        ``transaction``: in MULTI, so that nobody else's command comes between.
        ``cache``: the alias, by default CACHE_ALIAS.
        """
        from .client.pipeline import Pipeline

        return Pipeline(client_for(cache or conf.CACHE_ALIAS), transaction=transaction)

    def preload(
        self,
        names: Sequence[str] = (),
        *,
        cache: str | None = None,
        load: bool = True,
        progress: Callable[[str], None] | None = None,
    ) -> Report:
        """
        Load scripts on every node of every alias in use; the report tells how it went.

        ``names``: only these; by default all, with those that ship with the
        package. ``cache``: only this alias. ``load=False`` only looks. ``progress``
        is told a line for each of several nodes. Raises ScriptNotFound for an unknown
        name, ImproperlyConfigured for a cache that is not one of django-redis.
        """
        entries = [self.entry(name) for name in names or self]
        found = [entry.script for entry in entries if entry.script is not None]
        found += [] if names else builtins()
        faults = [entry.fault.told(entry.path) for entry in entries if entry.fault is not None]
        aliases = [cache] if cache else dict.fromkeys(conf.aliases().values())
        reports = [
            each
            for alias in aliases
            for each in preload(client_for(alias), found, load=load, progress=progress)
        ]
        return Report(faults, reports)

    def reset(self, *, setting: str = "REDIS_ATOMIC", **kwargs: object) -> None:
        """Forget what was found, so that changed settings take effect (tests do that)."""
        if setting in {"REDIS_ATOMIC", "INSTALLED_APPS"}:
            self._entries = None

    def renew_after_fork(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Registry: {', '.join(self) or 'no scripts'}>"


class RegisteredScript(Operation[..., Any]):
    """A script of the registry as an operation. It takes keyword arguments only."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        *,
        cache: str | None = None,
        version: int | None = None,
    ) -> None:
        self._registry = registry
        self.__name__ = self.__qualname__ = name
        self._cache = cache
        self._version = version

    @property
    def script(self) -> Script:
        """The script; ScriptNotFound or InvalidScript where it can't be called."""
        return self._registry.entry(self.__name__).usable()

    def call(self, *args: Any, **kwargs: Any) -> Call[Any]:
        script = self.script
        signature = script.signature
        assert signature is not None  # a script of the registry has one
        if args:
            raise TypeError(
                f"{script.name} takes its arguments by name: {signature.usage}. "
                f"Give {args[0]!r} a name."
            )
        keys, words = signature.bind(kwargs)
        return Call(script, keys, words, signature.parse, self._cache, self._version)

    def using(self, *, cache: str | None = None, version: int | None = None) -> RegisteredScript:
        return RegisteredScript(
            self._registry,
            self.__name__,
            cache=self._cache if cache is None else cache,
            version=self._version if version is None else version,
        )

    @property
    def __signature__(self) -> inspect.Signature:  # type: ignore[override]
        signature = self.script.signature
        assert signature is not None
        return signature.in_python()

    def __repr__(self) -> str:
        return f"<Script {self.__name__}>"


def script_folders() -> list[tuple[str | None, Path]]:
    """The folders that scripts are looked for in, each with the label of its app."""
    folders: list[tuple[str | None, Path]] = [
        (app.label, Path(app.path) / "lua")
        for app in apps.get_app_configs()
        if app.name != __package__  # ours are not called by name
    ]
    dirs = conf.SCRIPT_DIRS
    if isinstance(dirs, list | tuple):  # else a check tells
        folders += [(None, Path(each)) for each in dirs if isinstance(each, str | Path)]
    return folders


def script_overrides() -> dict[str, Path]:
    """The files of REDIS_ATOMIC["SCRIPTS"], by the name that they are given."""
    chosen: object = conf.SCRIPTS
    if not isinstance(chosen, Mapping):  # a check tells
        return {}
    return {
        name: Path(path)
        for name, path in chosen.items()
        if isinstance(name, str) and isinstance(path, str | Path)
    }


def _how_to_add(name: str) -> str:
    app, _, stem = name.rpartition(".")
    folder = f"the folder lua/ of the app {app!r}" if app else "a folder of SCRIPT_DIRS"
    return f" Put {stem}.lua in {folder}."


scripts = Registry()
os.register_at_fork(after_in_child=scripts.renew_after_fork)
setting_changed.connect(scripts.reset, dispatch_uid="redis_atomic.registry")
