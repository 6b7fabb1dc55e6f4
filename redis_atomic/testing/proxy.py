"""A proxy that loses replies, to see what a caller does about it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class LostReplyProxy:
    """
    A TCP proxy in front of a Redis server, which can lose requests and replies.

    ``lose_replies(n, containing=b"EVALSHA")`` delivers the next ``n`` requests
    with these bytes in them, reads the server's reply, drops it and cuts the
    connection; ``lose_requests`` cuts before delivery. ``lost`` counts.
    ``delay`` (seconds) holds every reply back. ``fall_silent()`` leaves the
    connections that are open half-open.
    """

    def __init__(self, server_url: str) -> None:
        self._target = _address(server_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._plans: list[tuple[str, bytes]] = []
        self._sockets: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self._closed = threading.Event()
        self.delay = 0.0
        self.lost = 0

    @property
    def url(self) -> str:
        """The proxy's address, for LOCATION."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def lose_replies(self, count: int = 1, *, containing: bytes = b"") -> None:
        """Lose the replies of the next ``count`` requests that contain these bytes."""
        with self._lock:
            self._plans += [("reply", containing)] * count

    def lose_requests(self, count: int = 1, *, containing: bytes = b"") -> None:
        """Lose the next ``count`` requests that contain these bytes, undelivered."""
        with self._lock:
            self._plans += [("request", containing)] * count

    def _plan_for(self, data: bytes) -> str | None:
        with self._lock:
            for plan in self._plans:
                if plan[1] in data:
                    self._plans.remove(plan)
                    self.lost += 1
                    return plan[0]
        return None

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, self._connect() as server:
            self._sockets |= {client, server}
            lose = threading.Event()
            threading.Thread(target=self._answer, args=(server, client, lose), daemon=True).start()
            with suppress(OSError):
                while data := client.recv(1 << 20):
                    if client in self._silent:
                        continue
                    plan = self._plan_for(data)
                    if plan == "request":
                        break
                    if plan == "reply":
                        lose.set()
                    server.sendall(data)
            if client in self._silent:
                self._closed.wait()  # the server is not told
            with suppress(OSError):
                if not lose.is_set():
                    server.shutdown(socket.SHUT_RDWR)
                client.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: socket.socket, client: socket.socket, lose: threading.Event) -> None:
        """Pass replies on; on the first one that is to be lost, cut instead."""
        with suppress(OSError):
            while data := server.recv(1 << 20):
                if client in self._silent:
                    continue
                if lose.is_set():
                    break
                if self.delay:
                    threading.Event().wait(self.delay)
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        if isinstance(self._target, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            return server
        return socket.create_connection(self._target)

    def fall_silent(self) -> None:
        """
        Let every connection that is open now carry nothing more, and end for neither side.

        So it is when a peer vanishes, or a firewall forgets. New connections work.
        """
        self._silent |= self._sockets

    def cut(self) -> None:
        """Cut every connection that is open now."""
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.cut()


def _address(url: str) -> str | tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return (parts.hostname or "127.0.0.1", parts.port or 6379)


@contextmanager
def lost_reply_proxy(server_url: str) -> Iterator[LostReplyProxy]:
    """
    A running LostReplyProxy in front of the server at this address.

    Call each script once before you lose its reply: otherwise it is the answer
    "NOSCRIPT" that gets lost.
    """
    proxy = LostReplyProxy(server_url)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
