"""What the kernel tells of a connection that has ended, asked of real ones."""

import socket
import struct
import sys

import pytest

from redis_atomic.client import kernel

CALL = b"a call"
LINGER = struct.Struct("ii").pack(1, 0)  # to end with a reset

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="is about what Linux tells")


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=10)
        theirs = listener.accept()[0]
    with ours, theirs:
        ours.sendall(b"hello")
        assert theirs.recv(10) == b"hello"
        theirs.sendall(b"hello")
        assert ours.recv(10) == b"hello"
        assert kernel.notices_closing(ours)
        yield ours, theirs


def test_what_was_sent_to_a_closed_connection_was_not_received(pair):
    ours, theirs = pair
    theirs.close()
    ours.sendall(CALL)
    assert ours.recv(10) == b""
    assert not kernel.was_received(ours, len(CALL))


def test_what_was_read_before_the_end_was_received(pair):
    ours, theirs = pair
    ours.sendall(CALL)
    assert theirs.recv(10) == CALL
    theirs.close()
    assert ours.recv(10) == b""
    assert kernel.was_received(ours, len(CALL))


def test_what_nobody_has_read_before_the_end_may_have_been_received(pair):
    ours, theirs = pair
    ours.sendall(CALL)
    theirs.shutdown(socket.SHUT_WR)
    assert ours.recv(10) == b""
    assert kernel.was_received(ours, len(CALL))


def test_a_connection_that_was_reset_takes_nothing(pair):
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    theirs.close()
    with pytest.raises(ConnectionError):
        ours.send(CALL)


def test_nor_does_a_closed_unix_socket():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours:
        assert kernel.notices_closing(ours)
        theirs.close()
        with pytest.raises(ConnectionError):
            ours.send(CALL)


def test_of_what_a_unix_socket_took_nobody_knows():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours:
        ours.sendall(CALL)
        assert theirs.recv(10) == CALL
        theirs.close()
        assert ours.recv(10) == b""
        assert kernel.was_received(ours, len(CALL))


def test_of_a_socket_that_is_closed_here_nobody_knows(pair):
    ours, _ = pair
    ours.close()
    assert kernel.was_received(ours, len(CALL))
    assert not kernel.notices_closing(ours)


def test_other_sockets_and_systems_notice_nothing(pair, monkeypatch):
    ours, _ = pair
    assert not kernel.notices_closing(object())
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not kernel.notices_closing(ours)
    assert kernel.was_received(ours, len(CALL))
