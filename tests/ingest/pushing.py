"""A push server in this process, on a port of its own, and what a sender says to it."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.ingest import SegmentOptions, SourceOptions
from pipeline.ingest.http_server import Listen, serve
from pipeline.ingest.intake import Intake
from pipeline.ingest.listening import IngestOptions
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.push_server import MAX_CHUNK_BYTES, SEQ_BYTES, PushServer, PushTimes
from pipeline.ingest.recorder import Outlets
from pipeline.ingest.room import RoomOptions
from tests.ingest.media import Samples
from tests.ingest.servers import closed_port

OPTIONS = RoomOptions(
    IngestOptions(
        SourceOptions(open_timeout_s=5.0, read_timeout_s=1.0),
        SegmentOptions(window_ms=10_000, min_silence_ms=400, pad_ms=200, min_speech_ms=250),
    ),
    pause_s=300.0,
)


@dataclass
class Pushing:
    """A running server."""

    outlets: Outlets
    outbox: Outbox
    port: int

    @property
    def http(self) -> str:
        """Where rooms are pushed by HTTP."""
        return f"http://127.0.0.1:{self.port}/push"

    @property
    def websocket(self) -> str:
        """The same by WebSocket."""
        return f"ws://127.0.0.1:{self.port}/push"

    def token(self, room: str) -> dict[str, str]:
        """Headers of a sender who may push `room`."""
        issued = self.outlets.store.push.issue_token(room, now())
        return {"Authorization": f"Bearer {issued}"}

    def broadcasts(self, room: str) -> list[str]:
        """Ids of a room's broadcasts."""
        return [one.id for one in self.outlets.store.broadcasts() if one.room == room]

    def refusals(self, reason: str) -> float:
        """How often a push was refused for this reason."""
        return self.outlets.metrics.value("tingbo_push_refusals_total", reason=reason)


def now() -> dt.datetime:
    """The wall time."""
    return dt.datetime.now(dt.UTC)


def pcm(samples: Samples) -> bytes:
    """s16le as it is sent."""
    return (samples * 32_767).astype("<i2").tobytes()


def pieces(data: bytes, size: int) -> list[bytes]:
    """`data` cut into chunks."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def numbered(seq: int, data: bytes) -> bytes:
    """A message of a WebSocket."""
    return seq.to_bytes(SEQ_BYTES) + data


@contextmanager
def push_server(
    outlets: Outlets,
    *,
    options: RoomOptions = OPTIONS,
    times: PushTimes | None = None,
    head_s: float = 10.0,
    resume_s: float = 60.0,
    outbox_bytes: int = 2**28,
) -> Iterator[Pushing]:
    """A server on the loopback address; leaving it keeps what was heard."""
    stop, ready = threading.Event(), threading.Event()
    port = closed_port()
    with (
        Outbox(outlets.metrics, outbox_bytes) as outbox,
        Intake(outlets, outbox, options, stop, secrets.token_hex(4), resume_s) as intake,
    ):
        server = PushServer(intake, outlets.store.push, outlets.metrics, times or PushTimes())
        listen = Listen("127.0.0.1", port, MAX_CHUNK_BYTES + SEQ_BYTES, head_s)
        thread = threading.Thread(
            target=serve,
            args=(server.app(), listen, stop),
            kwargs={
                "refused": server.refused,
                "ready": ready.set,
                "turned": outlets.metrics.loop_turned,
            },
        )
        thread.start()
        assert ready.wait(20)
        try:
            yield Pushing(outlets, outbox, port)
        finally:
            stop.set()
            thread.join()
