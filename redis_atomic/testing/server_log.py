"""What the server writes to its log, such as the ``redis.log`` of a script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from ..client.connections import client_for
from ..conf import conf
from .values import Server


class ServerLog:
    """The lines that were written since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    @property
    def text(self) -> str:
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read().decode("utf-8", "replace")

    @property
    def messages(self) -> list[str]:
        """The lines without the process, the time, the level, and Valkey's mark of a script."""
        # 4711:M 23 Nov 2026 12:00:00.000 * <lua> the message
        parts = (line.split(" ", 6) for line in self.text.splitlines())
        return [words[6].removeprefix("<lua> ") for words in parts if len(words) == 7]


@contextmanager
def server_log(*, cache: str | None = None, level: str | None = None) -> Iterator[ServerLog]:
    """
    What the server of a cache alias logs inside the ``with`` block.

    ``level`` (``"debug"``, ``"verbose"``, ``"notice"``, ``"warning"``) is set for
    the block: Redis leaves out what is below ``notice`` unless told otherwise.
    RuntimeError where the log is not a file on this machine.
    """
    server: Server = redis.Redis(connection_pool=client_for(cache or conf.CACHE_ALIAS).pool)
    found = _setting(server, "logfile")
    if not found or not Path(_setting(server, "dir"), found).is_file():
        raise RuntimeError(
            "The server's log is not a file here: start it with --logfile, or use "
            "redis_atomic.testing.embedded_server()."
        )
    usual_level = _setting(server, "loglevel")
    if level is not None:
        server.config_set("loglevel", level)
    try:
        yield ServerLog(Path(_setting(server, "dir"), found))
    finally:
        server.config_set("loglevel", usual_level)


def _setting(server: Server, name: str) -> str:
    (value,) = server.config_get(name).values()
    return value.decode() if isinstance(value, bytes) else str(value)
