"""What is written down of a broadcast, and in which units: nothing is left half said."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.metrics import Metrics
from pipeline.records import CoverageKind, SpeechSegment, Stretch
from pipeline.store import Store

AT = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
SILENCE = Stretch(0, 700, CoverageKind.SILENT)
HEARD = Stretch(700, 2700, CoverageKind.HEARD)


@pytest.fixture
def outlets(tmp_path: Path, redis_url: str, database_url: str) -> Iterator[Outlets]:
    metrics = Metrics()
    with Store(database_url) as store, Bus(redis_url, metrics) as bus:
        store.add_broadcast("room", "b", AT)
        yield Outlets(store, bus, ClipStore(str(tmp_path / "clips")), metrics)


def speech() -> SpeechSegment:
    return SpeechSegment(0, 700, 2700, np.zeros(32_000, np.float32))


def test_a_segment_and_the_ledger_up_to_its_end_are_written_together(outlets: Outlets) -> None:
    """Whoever dies with the segment written leaves no hole: its time and what came before stand."""
    recorder = Recorder(outlets, "room", "b")
    recorder.stretch(SILENCE)
    assert recorder.segment(speech(), AT)
    assert outlets.store.stretches("b") == [SILENCE, HEARD]

    recorder.stretch(HEARD)
    recorder.flush()
    assert outlets.store.stretches("b") == [SILENCE, HEARD]
    assert recorder.end_ms == 2700


def test_what_was_entered_for_a_segment_without_room_still_is(outlets: Outlets) -> None:
    """Too much waits already: the segment is refused, and the ledger has no hole for it."""
    with Outbox(outlets.metrics, limit_bytes=1) as outbox:
        recorder = Recorder(outlets, "room", "b", outbox)
        recorder.stretch(SILENCE)
        assert not recorder.segment(speech(), AT)
        recorder.stretch(HEARD)
    assert outlets.store.stretches("b") == [SILENCE, HEARD]
    assert outlets.store.segments("b") == []
