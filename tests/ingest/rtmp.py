"""The least RTMP server that lets a client play: handshake, four answers, the tags of an FLV."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_HANDSHAKE = 1536
_CHUNK = 65_536
_SET_CHUNK_SIZE, _COMMAND, _SOUND = 1, 20, 8


@contextmanager
def rtmp_server(flv: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """URL of a room that plays the sound of one FLV to its first client and stops."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_play, args=(server, flv, tls), daemon=True)
        thread.start()
        scheme, host = ("rtmps", "localhost") if tls else ("rtmp", "127.0.0.1")
        yield f"{scheme}://{host}:{server.getsockname()[1]}/live/room"
        thread.join(timeout=5)


def _play(server: socket.socket, flv: bytes, tls: ssl.SSLContext | None) -> None:
    client, _ = server.accept()
    if tls:
        try:
            client = tls.wrap_socket(client, server_side=True)
        except OSError:
            client.close()
            return
    with client:
        _receive(client, 1 + _HANDSHAKE)
        client.sendall(b"\x03" + bytes(2 * _HANDSHAKE))
        _receive(client, _HANDSHAKE)
        client.sendall(_message(_SET_CHUNK_SIZE, struct.pack(">I", _CHUNK)))
        _await(client, b"connect")
        client.sendall(_message(_COMMAND, _text("_result") + _number(1) + _NULL + _status("ok")))
        _await(client, b"createStream")
        client.sendall(_message(_COMMAND, _text("_result") + _number(2) + _NULL + _number(1)))
        _await(client, b"play")
        client.sendall(_on_status("NetStream.Play.Start"))
        for kind, time_ms, body in _tags(flv):
            if kind == _SOUND:
                client.sendall(_message(_SOUND, body, time_ms))
        client.sendall(_on_status("NetStream.Play.Stop"))
        while client.recv(4096):
            pass  # until the client has heard everything and leaves


def _receive(client: socket.socket, size: int) -> None:
    while size:
        size -= len(client.recv(size))


def _await(client: socket.socket, command: bytes) -> None:
    received = b""
    while command not in received:
        received += client.recv(4096)


def _tags(flv: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, time in ms and body of each tag."""
    at = 13
    while at + 11 <= len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4])
        time_ms = int.from_bytes(flv[at + 7 : at + 8] + flv[at + 4 : at + 7])
        yield flv[at], time_ms, flv[at + 11 : at + 11 + size]
        at += 11 + size + 4


def _message(kind: int, body: bytes, time_ms: int = 0) -> bytes:
    stream = 0 if kind != _SOUND else 1
    assert len(body) <= _CHUNK
    head = b"\x03" + time_ms.to_bytes(3) + len(body).to_bytes(3) + bytes([kind])
    return head + stream.to_bytes(4, "little") + body


_NULL = b"\x05"


def _number(value: float) -> bytes:
    return b"\x00" + struct.pack(">d", value)


def _text(value: str) -> bytes:
    return b"\x02" + len(value).to_bytes(2) + value.encode()


def _status(code: str) -> bytes:
    pairs = (("level", "status"), ("code", code), ("description", code))
    body = b"".join(len(key).to_bytes(2) + key.encode() + _text(value) for key, value in pairs)
    return b"\x03" + body + b"\x00\x00\x09"


def _on_status(code: str) -> bytes:
    return _message(_COMMAND, _text("onStatus") + _number(0) + _NULL + _status(code))
