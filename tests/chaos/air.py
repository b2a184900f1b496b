"""Rooms on the air: the bundled broadcast in a loop, as live HTTP-FLV on the loopback address."""

from __future__ import annotations

import http.server
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from zlib import crc32

import av

from pipeline.resources import resource

#: How much sound is sent at once.
_STEP_S = 0.1
_AUDIO_TAG = 8
#: Signature, version, sound only, length of this header, and size of the tag before: none.
_FLV_HEADER = b"FLV\x01\x04\x00\x00\x00\x09\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Tag:
    """One packet of sound and its time in the broadcast."""

    at_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Programme:
    """A broadcast as the body of sound tags; `setup` tells a decoder what they are."""

    setup: bytes
    tags: tuple[Tag, ...]
    length_ms: int

    def from_ms(self, start_ms: int) -> Iterator[Tag]:
        """Tags for ever, from this place on; times begin at 0 and run on over the loop's end."""
        start_ms %= self.length_ms
        for turn in count():
            for tag in self.tags:
                at_ms = turn * self.length_ms + tag.at_ms - start_ms
                if at_ms >= 0:
                    yield Tag(at_ms, tag.data)


@dataclass(slots=True)
class Connection:
    """One listener of a room; times are monotonic seconds."""

    began: float
    ended: float | None = None


@dataclass(slots=True)
class Air:
    """What was on the air: rooms come into being when somebody listens."""

    url: str
    _connections: dict[str, list[Connection]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def address(self, room: str) -> str:
        """Where a room can be listened to."""
        return f"{self.url}/{room}.flv"

    def begin(self, room: str) -> Connection:
        """Note that somebody begins to listen."""
        connection = Connection(time.monotonic())
        with self._lock:
            self._connections.setdefault(room, []).append(connection)
        return connection

    def played_ms(self, room: str) -> int:
        """From when a room was first listened to until it was last, or now."""
        with self._lock:
            connections = list(self._connections.get(room, ()))
        if not connections:
            return 0
        ended = max(one.ended or time.monotonic() for one in connections)
        return int((ended - connections[0].began) * 1000)


@contextmanager
def on_the_air() -> Iterator[Air]:
    """Rooms of any name, in real time; every room begins at another place of the broadcast."""
    programme = bundled()
    air = Air("")
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            room = self.path.strip("/").removesuffix(".flv")
            self.send_response(200)
            self.send_header("Content-Type", "video/x-flv")
            self.end_headers()
            connection = air.begin(room)
            try:
                self._play(room)
            except OSError:
                pass  # the listener left
            finally:
                connection.ended = time.monotonic()

        def _play(self, room: str) -> None:
            began = time.monotonic()
            self.wfile.write(_FLV_HEADER + flv_tag(0, programme.setup))
            waiting = b""
            due_ms = 0
            for tag in programme.from_ms(crc32(room.encode()) % programme.length_ms):
                if tag.at_ms > due_ms:
                    self.wfile.write(waiting)
                    waiting = b""
                    due_ms = tag.at_ms + int(_STEP_S * 1000)
                    if over.wait(max(0.0, began + tag.at_ms / 1000 - time.monotonic())):
                        return
                waiting += flv_tag(tag.at_ms, tag.data)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 -- its name there
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    air.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield air
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def bundled() -> Programme:
    """The demo's broadcast, encoded to AAC."""
    file = io.BytesIO()
    source = resource("models", "demo_broadcast", "broadcast.ogg")
    with av.open(str(source)) as container, av.open(file, "w", format="flv") as target:
        sound = target.add_stream("aac", rate=44_100)
        assert isinstance(sound, av.AudioStream)
        sound.layout = "mono"
        resampler = av.AudioResampler("fltp", "mono", 44_100, 1024)
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                target.mux(sound.encode(piece))
        target.mux(sound.encode(None))
    return read_programme(file.getvalue())


def read_programme(flv: bytes) -> Programme:
    """The sound of an FLV file. Its other tags are left out: they say how long it is."""
    tags = []
    at = len(_FLV_HEADER)
    while at < len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4])
        at_ms = flv[at + 7] << 24 | int.from_bytes(flv[at + 4 : at + 7])
        if flv[at] == _AUDIO_TAG:
            tags.append(Tag(at_ms, flv[at + 11 : at + 11 + size]))
        at += 11 + size + 4
    setup, *sound = tags
    return Programme(setup.data, tuple(sound), 2 * sound[-1].at_ms - sound[-2].at_ms)


def flv_tag(at_ms: int, data: bytes) -> bytes:
    """A tag of sound with its header and the size that follows it."""
    time_ = (at_ms & 0xFFFFFF).to_bytes(3) + (at_ms >> 24 & 0xFF).to_bytes(1)
    header = bytes([_AUDIO_TAG]) + len(data).to_bytes(3) + time_ + bytes(3)
    return header + data + (11 + len(data)).to_bytes(4)
