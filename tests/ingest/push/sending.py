"""What media servers do, and what is known of their rooms afterwards."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import httpx2
import numpy as np

from tests.ingest.media import silence, speech
from tests.ingest.pushing import Pushing

SECOND = 32_000


def programme() -> np.ndarray:
    """Two sentences with silence between them, about 9 s."""
    return np.concatenate([silence(0.5), speech(), silence(1.5), speech(), silence(1.0)])


def post(
    server: Pushing,
    room: str,
    headers: dict[str, str],
    seq: int,
    data: bytes,
    **query: str | int,
) -> httpx2.Response:
    said = {"stream": "one", "seq": seq, **query}
    return httpx2.post(
        f"{server.http}/{room}", params=said, headers=headers, content=data, timeout=20
    )


def wait_for(condition: Callable[[], bool]) -> None:
    """Until `condition` holds; the test's own timeout ends it."""
    while not condition():
        time.sleep(0.02)


def heard_ms(server: Pushing, room: str) -> int:
    return sum(server.outlets.store.coverage(one).heard_ms for one in server.broadcasts(room))


def length_ms(server: Pushing, room: str) -> int:
    stretches = [
        stretch
        for one in server.broadcasts(room)
        for stretch in server.outlets.store.stretches(one)
    ]
    return max((stretch.end_ms for stretch in stretches), default=0)


def sent(port: int, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    if data:
        client.sendall(data)
    return client


def rest(client: socket.socket) -> bytes:
    """What the server says until it closes."""
    said = b""
    with client:
        while part := client.recv(65_536):
            said += part
    return said
