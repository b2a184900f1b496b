"""The wire between roles and servers does what its scenario says, and otherwise nothing."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.wire import Wire, wires


class Echo(socketserver.BaseRequestHandler):
    """Says back what it hears."""

    def handle(self) -> None:
        try:
            while data := self.request.recv(4096):
                self.request.sendall(data)
        except OSError:
            pass  # cut off


@pytest.fixture
def wire() -> Iterator[Wire]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with wires(server.server_address[1]) as (one,):
            yield one
        server.shutdown()
        thread.join()


def connected(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=10)


def heard(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := line.recv(size)):
        data += piece
    return data


def over(line: socket.socket) -> bool:
    """Whether the other side ended it, without a word."""
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True


def test_everything_passes_in_order(wire: Wire) -> None:
    """More than one piece, there and back."""
    said = bytes(range(256)) * 400
    with connected(wire) as line:
        threading.Thread(target=line.sendall, args=(said,), daemon=True).start()
        assert heard(line, len(said)) == said


def test_a_cut_ends_connections_and_lets_new_ones_through(wire: Wire) -> None:
    """Whoever is connected hears of it; who comes back is served."""
    with connected(wire) as line:
        line.sendall(b"one")
        assert heard(line, 3) == b"one"
        assert wire.cut() == 1
        assert over(line)
    with connected(wire) as line:
        line.sendall(b"two")
        assert heard(line, 3) == b"two"


def test_nobody_gets_through_while_it_refuses(wire: Wire) -> None:
    """A connection ends before anything is said."""
    wire.refusing = True
    with connected(wire) as line:
        assert over(line)


def test_a_slow_wire_takes_its_time_both_ways(wire: Wire) -> None:
    """0.1 s there and 0.1 s back, at the least."""
    wire.delay_s = 0.1
    with connected(wire) as line:
        began = time.monotonic()
        line.sendall(b"ping")
        assert heard(line, 4) == b"ping"
        assert time.monotonic() - began >= 0.2
