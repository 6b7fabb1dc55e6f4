"""
What the kernel does for a socket, and tells of it, beyond Python's own methods.
"""

from __future__ import annotations

import _socket
import socket
import struct
import sys
from typing import Any

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

TIMEVAL = struct.Struct("@ll")
INT = struct.Struct("@i")
TCP = frozenset({socket.AF_INET, socket.AF_INET6})


def let_kernel_wait(sock: Any, microseconds: int) -> bool:
    """
    Let the kernel wait so long at most for what is read, 0 without an end.

    False where it can't: times are not written like this, or the socket is not Python's
    own, as gevent's.
    """
    try:
        timeval = TIMEVAL.pack(0, microseconds)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    except OSError:
        return False
    return isinstance(sock, _socket.socket)


def notices_closing(sock: Any) -> bool:
    """
    Whether was_received() is certain to notice a connection that was closed before the call.

    Linux counts what the other side has acknowledged; to a closed unix socket it sends nothing.
    """
    if sys.platform != "linux" or not isinstance(sock, _socket.socket):
        return False
    try:
        return sock.family == socket.AF_UNIX or (sock.family in TCP and unacknowledged(sock) == 0)
    except (OSError, ValueError):
        return False


def was_received(sock: Any, sent: int) -> bool:
    """
    Of a connection that has ended: may the server have seen any of the last ``sent`` bytes?

    With its end a server acknowledges all that has reached it, and it reads nothing after
    (tcp(7), SIOCOUTQ: what is sent and not acknowledged, in bytes).
    """
    try:
        return sock.family not in TCP or unacknowledged(sock) < sent
    except (OSError, ValueError):
        return True


def unacknowledged(sock: Any) -> int:
    """Bytes that were sent and are not acknowledged. OSError or ValueError where nobody tells."""
    if sys.platform != "linux":
        raise OSError("Only Linux tells it so.")
    (count,) = INT.unpack(ioctl(sock.fileno(), TIOCOUTQ, bytes(INT.size)))
    return int(count)
