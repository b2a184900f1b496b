"""A recognition worker with everything around it, for the tests of what it does."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.asr.load import Thresholds
from pipeline.asr.recogniser import Recogniser
from pipeline.asr.worker import GROUP, AsrWorker, Batching, Places
from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.metrics import Metrics
from pipeline.records import (
    Category,
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    TranscriptMessage,
    Verdict,
    Versions,
    Why,
    ms_to_samples,
)
from pipeline.store import Store
from pipeline.streams import SEGMENTS, TRANSCRIPTS

AT = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
LATER = AT + dt.timedelta(seconds=1)

#: Never behind.
CALM = Thresholds(merge_s=1e9, shed_s=0)


class Bench:
    """A worker with everything around it, and the ingest side of its stream."""

    def __init__(self, places: Places, folder: Path, redis_url: str) -> None:
        self.places = places
        self.redis_url = redis_url
        self.folder = folder
        self.stop = threading.Event()

    def worker(
        self,
        recogniser: Recogniser,
        max_batch: int = 4,
        wait_ms: int = 0,
        thresholds: Thresholds = CALM,
    ) -> AsrWorker:
        batching = Batching(max_batch, wait_ms, thresholds)
        return AsrWorker(recogniser, self.places, batching, self.stop, lambda: LATER)

    def send(
        self,
        room: str,
        seq: int,
        start_ms: int,
        language: str = "zh",
        *,
        priority: int = 0,
        level: float = 0.1,
    ) -> SegmentMessage:
        """What ingest does for a segment of 2 s; `level` is how loud it is."""
        key = SegmentKey(f"{room}-1", 0, seq)
        samples = np.full(ms_to_samples(2_000), level, np.float32)
        clip = self.places.clips.write(key, samples)
        message = SegmentMessage(
            key,
            room,
            start_ms,
            start_ms + 2_000,
            AT,
            clip.uri,
            clip.sha256,
            language,
            priority,
        )
        self.places.store.add_broadcast(room, key.broadcast, AT)
        self.places.store.add_segment(message)
        heard = Stretch(start_ms, start_ms + 2_000, CoverageKind.HEARD)
        self.places.store.add_stretches(key.broadcast, 0, [heard])
        self.places.bus.publish(SEGMENTS, message)
        return message

    def texts(self, room: str) -> list[str]:
        return [transcript.text for transcript in self.places.store.transcripts(f"{room}-1")]

    def published(self) -> list[TranscriptMessage]:
        batch = self.places.bus.read_batch(TRANSCRIPTS, "test", "test", 100, 1)
        return [delivery.record for delivery in batch]

    def waiting(self) -> int:
        return self.places.bus.stats(SEGMENTS, GROUP).total


def finding(words: str, start_ms: int = 0) -> Finding:
    """What a rule makes of `words`."""
    return Finding(
        category=Category.EFFICACY_CLAIM,
        subtype="E01",
        rule="r",
        score=0.9,
        verdict=Verdict.REVIEW,
        span=(0, len(words)),
        evidence=words,
        start_ms=start_ms,
        end_ms=start_ms + 500,
        why=Why("因为"),
        versions=Versions("t", "t"),
    )


@contextmanager
def opened(redis_url: str, folder: Path, reclaim_idle_ms: int) -> Iterator[Bench]:
    metrics = Metrics()
    with (
        Store(f"sqlite:///{folder / 'tingbo.db'}") as store,
        Bus(redis_url, metrics, reclaim_idle_ms=reclaim_idle_ms) as bus,
    ):
        places = Places(bus, store, ClipStore(str(folder / "clips")), metrics)
        yield Bench(places, folder, redis_url)


def step_until(worker: AsrWorker, done: object) -> None:
    assert callable(done)
    for _ in range(60):
        if done():
            return
        worker.step()
    pytest.fail("the worker did not get there")
