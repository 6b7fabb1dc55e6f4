"""The app's wiring. ``ready()`` does no I/O on the network and never raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.utils import autoreload


class RedisAtomicConfig(AppConfig):
    name = "redis_atomic"
    verbose_name = "Redis Atomic"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registered by being imported
        from .registry import scripts

        scripts.entries  # noqa: B018  read now, so that every process runs what was deployed
        autoreload.autoreload_started.connect(watch_scripts, dispatch_uid="redis_atomic.watch")
        autoreload.file_changed.connect(restart, dispatch_uid="redis_atomic.restart")


def watch_scripts(sender: autoreload.BaseReloader, **kwargs: Any) -> None:
    """Let the autoreloader look at the files that scripts come from."""
    from .registry import script_folders, script_overrides

    for label, folder in script_folders():
        sender.watch_dir(folder, "*.lua" if label else "**/*.lua")
    sender.extra_files.update(path.absolute() for path in script_overrides().values())


def restart(sender: object, file_path: Path, **kwargs: Any) -> None:
    """Restart on a changed script, even one in a folder of templates, which Django only reloads."""
    from .registry import scripts

    if str(file_path.resolve()) in {entry.path for entry in scripts.entries.values()}:
        autoreload.trigger_reload(str(file_path))
