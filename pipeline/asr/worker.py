"""The recognition worker: segments of many rooms, batched, become transcript rows and messages."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.asr.recogniser import Recogniser
from pipeline.bus import RECLAIM_IDLE_MS, Bus
from pipeline.clips import ClipStore
from pipeline.consumer import IDLE_MS, Consumer
from pipeline.errors import BadInputError, BusError, ClipStoreAwayError, ClipStoreError
from pipeline.logs import concern_segment
from pipeline.metrics import Metrics
from pipeline.records import (
    CoverageKind,
    SegmentMessage,
    SpeechSegment,
    Stretch,
    Transcript,
    TranscriptMessage,
    ms_to_samples,
)
from pipeline.store import Store
from pipeline.streams import SEGMENTS, TRANSCRIPTS, Delivery

log = logging.getLogger(__name__)

#: Consumer group of the recognition workers on the stream `segments`.
GROUP = "asr"

#: A clip may decode to a little less than its segment, never to much less.
_WHOLE = 0.9

_Delivery = Delivery[SegmentMessage]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a recognition worker reads and writes."""

    bus: Bus
    store: Store
    clips: ClipStore
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Batching:
    """How segments are gathered: a batch goes when it is full or its first segment is this old."""

    max_batch: int
    wait_ms: int


def utc_now() -> dt.datetime:
    """The wall time, aware and in UTC."""
    return dt.datetime.now(dt.UTC)


class AsrWorker:
    """One recogniser that works off the stream `segments` together with others of its group.

    A segment is acknowledged when its transcript is stored and published. One that cannot be read
    or recognised is delivered again, and given up as a dead letter and a FAILED stretch after that.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        places: Places,
        batching: Batching,
        stop: threading.Event,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self._recogniser = recogniser
        self._bus = places.bus
        self._store = places.store
        self._clips = places.clips
        self._metrics = places.metrics
        self._batching = batching
        self._stop = stop
        self._now = now
        self._consumer = Consumer(places.bus, SEGMENTS, GROUP, places.metrics)

    def run(self) -> None:
        """Work until `stop` is set; the batch in hand is finished, what was not read stays."""
        self._consumer.work(self.step, self._stop)

    def step(self) -> int:
        """Read one batch and see it through; the number of segments read."""
        batch = self._read()
        # A segment that was delivered before may bring the worker down: it goes alone.
        parts = [[item for item in batch if item.deliveries == 1]]
        parts += [[item] for item in batch if item.deliveries > 1]
        with self._held(batch):
            for part in parts:
                self._handle(part)
        return len(batch)

    def _read(self) -> list[_Delivery]:
        batch = self._read_up_to(self._batching.max_batch, IDLE_MS)
        deadline = time.monotonic() + self._batching.wait_ms / 1000
        while batch and len(batch) < self._batching.max_batch:
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                break
            batch += self._read_up_to(self._batching.max_batch - len(batch), left_ms)
        return batch

    def _read_up_to(self, count: int, block_ms: int) -> list[_Delivery]:
        return self._consumer.read(count, block_ms, self._give_up)

    @contextmanager
    def _held(self, batch: Sequence[_Delivery]) -> Iterator[None]:
        """Nobody takes `batch` over while it is worked on, however long a large model needs."""
        done = threading.Event()
        ids = [item.id for item in batch]

        def extend() -> None:
            while not done.wait(RECLAIM_IDLE_MS / 4000):
                try:
                    self._consumer.extend(ids)
                except BusError as error:
                    log.warning("%s", error)

        thread = threading.Thread(target=extend, name="asr-hold", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _handle(self, batch: Sequence[_Delivery]) -> None:
        loaded = []
        finished = []
        for item in batch:
            concern_segment(item.record.room, item.record.key)
            # It may have been stored by a worker that ended before it could acknowledge.
            known = self._store.transcript(item.record.key) if item.deliveries > 1 else None
            if known is not None:
                self._finish(item.record, known)
                finished.append(item.id)
                continue
            try:
                loaded.append((item, self._load(item.record)))
            except ClipStoreAwayError:
                raise
            except ClipStoreError as error:
                log.warning("Delivery %d of %s: %s", item.deliveries, item.record.key, error)
        for item, transcript in self._transcribed(loaded):
            concern_segment(item.record.room, item.record.key)
            self._finish(item.record, transcript)
            if item.replayed:
                self._store.withdraw_failure(item.record.key)
            self._count(transcript)
            finished.append(item.id)
        self._consumer.ack(finished)

    def _load(self, message: SegmentMessage) -> SpeechSegment:
        """The segment with its sound. Raises ClipStoreError, also for a clip that is cut short."""
        samples = self._clips.read(message.clip_uri)
        wanted = ms_to_samples(message.end_ms - message.start_ms)
        if len(samples) < _WHOLE * wanted:
            raise ClipStoreError(
                f"The clip {message.clip_uri} holds {len(samples)} samples of {wanted}: "
                "restore it from a backup."
            )
        # Opus pads its last packet.
        return SpeechSegment(
            message.key.seq, message.start_ms, message.end_ms, samples[:wanted], message.language
        )

    def _transcribed(
        self, loaded: Sequence[tuple[_Delivery, SpeechSegment]]
    ) -> Iterator[tuple[_Delivery, Transcript]]:
        if not loaded:
            return
        started = time.monotonic()
        segments = [segment for _, segment in loaded]
        try:
            transcripts = self._recogniser.transcribe(segments)
        except (RuntimeError, BadInputError) as error:  # RuntimeError: all that CTranslate2 raises
            if len(loaded) > 1:
                for one in loaded:
                    yield from self._transcribed([one])
                return
            self._refuse(loaded[0][0], error)
            return
        self._count_batch(segments, time.monotonic() - started)
        for (item, _), transcript in zip(loaded, transcripts, strict=True):
            yield item, transcript

    def _finish(self, message: SegmentMessage, transcript: Transcript) -> None:
        self._store.add_transcript(message.key, transcript)
        self._bus.publish(TRANSCRIPTS, TranscriptMessage(message.key, message.room, message.at))
        latency = (self._now() - message.at).total_seconds()
        self._metrics.stage_latency_seconds.labels("asr").observe(max(0.0, latency))

    def _refuse(self, item: _Delivery, error: Exception) -> None:
        concern_segment(item.record.room, item.record.key)
        if isinstance(error, BadInputError):
            # It would be refused again and again.
            self._give_up(item, str(error))
            self._consumer.dead_letter(item, str(error))
        else:
            log.warning("Delivery %d of %s: %s", item.deliveries, item.record.key, error)

    def _give_up(self, item: _Delivery, reason: str) -> None:
        """Nobody will hear it: the ledger says so."""
        message = item.record
        concern_segment(message.room, message.key)
        log.error("%s is given up: %s", message.key, reason)
        stretch = Stretch(
            message.start_ms, message.end_ms, CoverageKind.FAILED, "语音片段多次尝试后仍无法识别"
        )
        self._store.add_stretches(message.key.broadcast, message.key.epoch, [stretch])
        self._metrics.asr_segments.labels("failed").inc()
        self._metrics.ledger_seconds.labels("failed").inc(
            (stretch.end_ms - stretch.start_ms) / 1000
        )

    def _count_batch(self, segments: Sequence[SpeechSegment], seconds: float) -> None:
        name, device = self._recogniser.name, self._recogniser.device
        self._metrics.asr_batch_size.observe(len(segments))
        self._metrics.asr_inference_duration_seconds.labels("transcribe", device).observe(seconds)
        heard_ms = sum(segment.end_ms - segment.start_ms for segment in segments)
        self._metrics.asr_audio_seconds.labels(name, device).inc(heard_ms / 1000)

    def _count(self, transcript: Transcript) -> None:
        outcome = "text" if transcript.text else "dropped" if transcript.dropped_text else "empty"
        self._metrics.asr_segments.labels(outcome).inc()
        for guard in transcript.guards:
            self._metrics.asr_guards.labels(guard).inc()
