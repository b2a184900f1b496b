"""TLS for RTMP: libav gets a numeric address, with which it neither names nor verifies the host.

The connection goes to a checked address, and the server must prove its name. libav talks to a port
of this machine that takes one connection.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from functools import cache

from httpcore2 import default_ssl_context

_PIECE = 65_536
_LOOK_S = 0.5


class TlsRelay:
    """One connection to a server, decrypted on `port` of the loopback address until `close`."""

    def __init__(self, host: str, port: int, address: str, timeout_s: float) -> None:
        """Connect to `address` and `port` as `host`. Raises OSError when that fails."""
        plain = socket.create_connection((address, port), timeout_s)
        try:
            self._upstream = _context().wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._server.settimeout(timeout_s)
        self.port: int = self._server.getsockname()[1]
        self._closed = threading.Event()
        threading.Thread(target=self._run, name=f"tls-{host}", daemon=True).start()

    def close(self) -> None:
        """Let go of both connections soon."""
        self._closed.set()

    def _run(self) -> None:
        # Whoever ends the connection, the other side sees it end.
        with self._upstream, suppress(OSError):
            with self._server:
                client, _ = self._server.accept()
            with client:
                self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        others = {client: self._upstream, self._upstream: client}
        while not self._closed.is_set():
            # What TLS has decrypted already does not show in the socket.
            waiting = [self._upstream] if self._upstream.pending() else list(others)
            ready = waiting[:1] if len(waiting) == 1 else select.select(waiting, [], [], _LOOK_S)[0]
            for one in ready:
                data = one.recv(_PIECE)
                if not data:
                    return
                others[one].sendall(data)


@cache
def _context() -> ssl.SSLContext:
    return default_ssl_context()
