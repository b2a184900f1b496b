"""Live servers on the loopback address that behave well or badly, each as a context manager."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Connection:
    """What a handler may do with one accepted HTTP request."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler, over: threading.Event) -> None:
        self._handler = handler
        self.path = handler.path
        self.headers = handler.headers
        self.over = over
        """Set when the test is done or the client has left: a handler that hangs waits for it."""

    def answer(self, status: int, kind: str = "video/x-flv") -> None:
        """Send status and headers; the body follows in chunks, as from a live server."""
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", kind)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()

    def redirect(self, target: str) -> None:
        """Send the client elsewhere."""
        self._handler.send_response(302)
        self._handler.send_header("Location", target)
        self._handler.send_header("Content-Length", "0")
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()

    def answer_part(self, data: bytes) -> None:
        """The range of `data` that was asked for, all of it without one."""
        begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = data[int(begin) : int(end) + 1 if end else None]
        self._handler.send_response(206 if "Range" in self.headers else 200)
        last = int(begin) + len(part) - 1
        self._handler.send_header("Content-Range", f"bytes {begin}-{last}/{len(data)}")
        self._handler.send_header("Accept-Ranges", "bytes")
        self._handler.send_header("Content-Length", str(len(part)))
        self._handler.end_headers()
        self._write(part)

    def send_raw(self, data: bytes) -> bool:
        """Send bytes as they are, headers too; False when the client left."""
        self._write(data)
        return not self.over.is_set()

    def answer_until_closed(self, data: bytes) -> None:
        """Answer as servers of HTTP/1.0 do: nobody knows whether the end was meant."""
        self._handler.send_response(200)
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()
        self._write(data)

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """Say that the body is complete; without it the connection breaks off."""
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        try:
            self._handler.wfile.write(data)
            self._handler.wfile.flush()
        except OSError:
            self.over.set()  # the client left

    def send_slowly(self, data: bytes, seconds: float) -> None:
        """Send `data` in small pieces spread over `seconds`."""
        pieces = 20
        size = -(-len(data) // pieces)
        for at in range(0, len(data), size):
            self.send(data[at : at + size])
            if self.over.wait(seconds / pieces):
                return


@contextmanager
def http_server(handle: Callable[[Connection], None]) -> Iterator[str]:
    """Base URL of a server that hands each request to `handle` in a thread of its own."""
    connections: list[threading.Event] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            over = threading.Event()
            connections.append(over)
            handle(Connection(self, over))

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 -- its name there
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that leave are part of the tests

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        for over in connections:
            over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Trap:
    """A port that nobody may connect to."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.port: int = server.getsockname()[1]
        self.place = f"127.0.0.1:{self.port}"

    def touched(self) -> bool:
        """Whether anybody has connected, ever: connections wait until they are accepted."""
        try:
            self._server.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@contextmanager
def trap() -> Iterator[Trap]:
    """A port on the loopback address that remembers connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield Trap(server)


@contextmanager
def silent_server() -> Iterator[int]:
    """Port of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Base URL under which the files of a folder can be fetched."""

    def handle(connection: Connection) -> None:
        path = folder / connection.path.lstrip("/").partition("?")[0]
        if not path.is_file():
            connection.answer(404, "text/html")
            connection.end()
            return
        kind = "application/vnd.apple.mpegurl" if path.suffix == ".m3u8" else "video/mp2t"
        connection.answer(200, kind)
        connection.send(path.read_bytes())
        connection.end()

    with http_server(handle) as url:
        yield url
