"""Live rooms that do what a test says, and what is heard of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pipeline.ingest import SegmentOptions, SourceOptions
from pipeline.ingest.lease import Leases
from pipeline.ingest.listening import IngestOptions
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets
from pipeline.ingest.room import RoomListener, RoomOptions
from pipeline.records import Coverage
from pipeline.store import RoomEntry, RoomState
from tests.ingest.media import Samples, silence, speech, write
from tests.ingest.servers import Connection
from tests.ingest.test_worker import total

#: A room is given up as silent after this many seconds.
QUIET_S = 0.8
OPTIONS = RoomOptions(
    IngestOptions(
        SourceOptions(open_timeout_s=QUIET_S, read_timeout_s=QUIET_S),
        SegmentOptions(window_ms=10_000, min_silence_ms=400, pad_ms=200, min_speech_ms=250),
    ),
    first_wait_s=0.1,
    longest_wait_s=0.2,
)
HOLDER = "tests"
LIVE = {"flvflags": "no_duration_filesize"}
#: Ledger times are those of sound that was encoded and cut into frames.
TOLERANCE_MS = 150


@dataclass
class Heard:
    """One room being listened to, and what is known of it."""

    outlets: Outlets
    listener: RoomListener
    states: list[RoomState] = field(default_factory=list)

    def see(self, state: RoomState) -> None:
        """Wait until the room is in this state, keeping the states on the way."""
        self.until(lambda: self.states[-1:] == [state])

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that comes to be true, and fail where it does not."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = self.listener.state
            if self.states[-1:] != [state]:
                self.states.append(state)
            if condition():
                return
            time.sleep(0.005)
        pytest.fail(f"it does not come to be so; states {self.states}")

    @property
    def broadcast(self) -> str:
        (broadcast,) = self.outlets.store.broadcasts()
        return broadcast.id

    def epochs(self) -> int:
        return sum(
            len(self.outlets.store.epochs.of(one.id)) for one in self.outlets.store.broadcasts()
        )

    def coverage(self) -> Coverage:
        return self.outlets.store.coverage(self.broadcast)

    def length_ms(self) -> int:
        """Length of the broadcast; its ledger adds up to it without a hole."""
        found = self.outlets.store.stretches(self.broadcast)
        end_ms = max(one.end_ms for one in found)
        assert total(self.coverage()) == end_ms
        assert sum(one.end_ms - one.start_ms for one in found) == end_ms, "double time"
        return end_ms

    def heard_ms(self) -> int:
        """Sound of every kind that was received."""
        coverage = self.coverage()
        return coverage.heard_ms + coverage.silent_ms + coverage.music_ms


@contextmanager
def listening(outlets: Outlets, url: str, options: RoomOptions = OPTIONS) -> Iterator[Heard]:
    """The room at `url`, held and listened to; afterwards everything it said is stored."""
    entry = RoomEntry("shop", url, priority=3, language="en")
    outlets.store.rooms.put([entry])
    outlets.store.rooms.take(HOLDER, 1, 600.0)
    leases = Leases(600.0)
    leases.beat(["shop"])
    with Outbox(outlets.metrics) as outbox:
        listener = RoomListener(entry, HOLDER, outlets, outbox, leases, options)
        listener.start()
        heard = Heard(outlets, listener)
        try:
            yield heard
        finally:
            listener.stop.set()
            assert listener.ended(30)


class Room:
    """A live server: what each connection gets is a function; the last one serves the rest."""

    def __init__(self, *connections: Callable[[Connection], None]) -> None:
        self._connections = list(connections)
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        with self._lock:
            at = min(self.count, len(self._connections) - 1)
            self.count += 1
        self._connections[at](connection)


def hang(connection: Connection) -> None:
    connection.over.wait(60)


def gone(connection: Connection) -> None:
    connection.answer(404, "text/html")
    connection.end()


def answer_and_hang(connection: Connection) -> None:
    connection.answer(200)
    connection.over.wait(60)


def sends(data: bytes, then: str = "close") -> Callable[[Connection], None]:
    """A connection that sends `data` at once and then ends, breaks off or hangs."""

    def serve(connection: Connection) -> None:
        if then == "break":
            connection.answer_until_closed(data)
            return
        connection.answer(200)
        connection.send(data)
        if then == "hang":
            connection.over.wait(60)
        connection.end()

    return serve


def flv(tmp_path: Path, sound: Samples, name: str = "a") -> bytes:
    return write(tmp_path / f"{name}.flv", sound, options=LIVE).read_bytes()


def said(quiet_s: float = 0.7) -> Samples:
    """A sentence and a pause."""
    return np.concatenate([speech(), silence(quiet_s)])


def other() -> Samples:
    """Another sentence: the same voice, louder and backwards."""
    return np.concatenate([speech()[::-1] * 0.7, silence(0.2)]).astype(np.float32)


SAID_MS = len(said()) // 16
OTHER_MS = len(other()) // 16
