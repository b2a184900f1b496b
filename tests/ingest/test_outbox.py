"""While the stores are away live rooms go on: nothing is lost, mixed up or held up for ever."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BusError, RefusedRowError, StoreError
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.metrics import Metrics
from pipeline.records import CoverageKind, SpeechSegment, Stretch
from pipeline.streams import SEGMENTS

AT = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)


class Door:
    """Something that deliveries go through, and that can be closed for a while."""

    def __init__(self) -> None:
        self.passed: list[int] = []
        self.error: Exception | None = None
        self.tried = threading.Event()
        self.through = threading.Event()

    def take(self, number: int) -> None:
        self.tried.set()
        if self.error is not None:
            raise self.error
        self.passed.append(number)
        self.through.set()


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.mark.parametrize("error", [BusError("away"), StoreError("away")])
def test_what_could_not_be_delivered_comes_later_and_in_order(door: Door, error: Exception) -> None:
    """The stores come back: everything arrives once, in the order in which it was said."""
    door.error = error
    with Outbox(Metrics()) as outbox:
        for number in range(5):
            assert outbox.put(10, lambda number=number: door.take(number))  # type: ignore[misc]  # a lambda with a default
        assert door.tried.wait(5)
        assert door.passed == []
        door.error = None
    assert door.passed == [0, 1, 2, 3, 4]


def test_too_much_is_refused_and_counted_but_the_ledger_always_fits(door: Door) -> None:
    """Memory is bounded; what tells of the loss needs no room."""
    metrics = Metrics()
    door.error = BusError("away")
    with Outbox(metrics, limit_bytes=25, drain_s=5) as outbox:
        assert outbox.put(10, lambda: door.take(0))
        assert outbox.put(10, lambda: door.take(1))
        assert not outbox.put(10, lambda: door.take(2))
        assert outbox.put(0, lambda: door.take(3))
        assert metrics.value("tingbo_ingest_outbox_bytes") == 20
        door.error = None
    assert door.passed == [0, 1, 3]
    assert metrics.value("tingbo_ingest_outbox_bytes") == 0
    assert metrics.value("tingbo_ingest_outbox_refused_total") == 1


def test_a_delivery_that_will_never_be_taken_does_not_hold_up_the_rest(door: Door) -> None:
    """A row that breaks the schema is given up with a count; the next one passes."""
    metrics = Metrics()

    def refused() -> None:
        raise RefusedRowError("no such broadcast")

    with Outbox(metrics) as outbox:
        outbox.put(1, refused)
        outbox.put(1, lambda: door.take(1))
    assert door.passed == [1]
    assert metrics.value("tingbo_ingest_outbox_refused_total") == 1


def test_leaving_ends_although_the_stores_stay_away(door: Door) -> None:
    """A process that is told to stop tries for a while and then ends."""
    door.error = BusError("away")
    with Outbox(Metrics(), drain_s=0.5) as outbox:
        outbox.put(1, lambda: door.take(0))
    assert door.passed == []


def test_what_comes_after_the_end_is_not_taken_in_silence(door: Door) -> None:
    """A listener that is slower than the process ends is told; it counts as refused."""
    metrics = Metrics()
    with Outbox(metrics) as outbox:
        outbox.put(1, lambda: door.take(0))
    assert not outbox.put(0, lambda: door.take(1))
    assert door.passed == [0]
    assert metrics.value("tingbo_ingest_outbox_refused_total") == 1


def test_a_clip_folder_that_was_full_takes_the_segments_once_there_is_room(
    outlets: Outlets, tmp_path: Path
) -> None:
    """Clip, row and message of a live room arrive when the folder can be written again."""
    outlets.store.add_broadcast("room", "b1", AT)
    # A file where the folder should be: it fails for root too.
    obstacle = tmp_path / "clips" / "b1"
    obstacle.write_text("")
    with Outbox(outlets.metrics) as outbox:
        recorder = Recorder(outlets, "room", "b1", outbox)
        for seq in range(3):
            start = seq * 1000
            segment = SpeechSegment(seq, start, start + 500, np.full(8000, 0.1, np.float32))
            assert recorder.segment(segment, AT)
            recorder.stretch(Stretch(start, start + 500, CoverageKind.HEARD))
        assert outlets.store.segments("b1") == []
        obstacle.unlink()
    stored = outlets.store.segments("b1")
    assert [one.key.seq for one in stored] == [0, 1, 2]
    batch = outlets.bus.read_batch(SEGMENTS, "test", "c", 10, 0)
    assert [item.record for item in batch] == stored
    assert outlets.store.coverage("b1").heard_ms == 1500
    assert [len(outlets.clips.read(one.clip_uri)) for one in stored] == [8000] * 3
