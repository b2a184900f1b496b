"""The recognition worker: segments of many rooms, batched, become transcript rows and messages."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.asr.ahead import Ahead, Appetite, urgency_ms
from pipeline.asr.behind import SecondsBehind, oldest_by_room
from pipeline.asr.fit import BatchFit
from pipeline.asr.hearing import Hearing, Loaded, load_segment
from pipeline.asr.load import Level, Load, Thresholds
from pipeline.asr.recogniser import Recogniser
from pipeline.asr.shedding import REASON, least_risky_first, risk_of
from pipeline.asr.upkeep import Upkeep
from pipeline.asr.windows import Window, merged_windows, single_windows
from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.consumer import Consumer
from pipeline.errors import BadInputError, ClipStoreAwayError, ClipStoreError
from pipeline.logs import concern_segment
from pipeline.metrics import Metrics
from pipeline.records import (
    CoverageKind,
    SegmentMessage,
    Stretch,
    Transcript,
    TranscriptMessage,
)
from pipeline.store import Store
from pipeline.streams import SEGMENTS, TRANSCRIPTS, Delivery
from pipeline.wall_time import utc_now

log = logging.getLogger(__name__)

#: Consumer group of the recognition workers on the stream `segments`.
GROUP = "asr"

#: Batches that are read ahead, so that urgent segments can go first.
_BATCHES_AHEAD = 4
#: Segments that are read ahead at most, however far behind: neighbours are to meet in one worker.
_MOST_AHEAD = 2048
#: Pause between two looks at the backlog.
_LOOK_S = 1.0

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
    thresholds: Thresholds = Thresholds(merge_s=10.0, shed_s=120.0)  # noqa: RUF009 -- it is frozen
    segment_s: float = 0.1
    """What a segment takes, until it is measured."""


class AsrWorker:
    """One recogniser that works off the stream `segments` together with others of its group.

    A segment is acknowledged when its transcript is stored and published. One that cannot be read
    or recognised is delivered again, and given up as a dead letter and a FAILED stretch after that.
    Far behind live, neighbours are heard together, and if that is not enough, the least risky
    segments are left out as SHED stretches.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        places: Places,
        batching: Batching,
        stop: threading.Event,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self._window_ms = recogniser.window_ms
        self._bus = places.bus
        self._store = places.store
        self._clips = places.clips
        self._metrics = places.metrics
        self._batching = batching
        self._stop = stop
        self._now = now
        self._consumer = Consumer(places.bus, SEGMENTS, GROUP, places.metrics)
        self._ahead = Ahead(self._consumer, self._give_up)
        self._load = Load(batching.thresholds, batching.segment_s)
        self._fit = BatchFit(batching.max_batch, places.metrics)
        self._hearing = Hearing(recogniser, self._fit, places.metrics, self._load.worked)
        self._behind = SecondsBehind(places.metrics)
        self._upkeep: Upkeep | None = None
        self._look_at = 0.0

    def run(self, upkeep: Upkeep | None = None) -> None:
        """Work until `stop` is set; the batch in hand is finished, the rest is for others."""
        self._upkeep = upkeep

        def step() -> None:
            if upkeep is None or upkeep.fit():
                self.step()
            else:
                self._ahead.hand_back()
                self._stop.wait(1.0)

        self._consumer.work(step, self._stop, self._ahead.hand_back)

    def step(self) -> int:
        """See the most urgent batch through; the number of segments that were begun."""
        with self._ahead.held():
            limit = self._fit.limit
            retried = self._ahead.fill(Appetite(self._most(), limit, self._batching.wait_ms))
            self._look_at_backlog()
            windows = self._windows()[:limit]
            if retried is not None:
                self._see_through([(retried,)])
            self._see_through(windows)
        self._note_waiting()
        return sum(map(len, windows)) + (retried is not None)

    def _most(self) -> int:
        """How much may be held: half of what this worker will do of the backlog, at its pace."""
        share = int(self._load.behind_s / max(self._load.segment_s, 1e-6) / 2)
        return max(_BATCHES_AHEAD * self._fit.limit, min(share, _MOST_AHEAD))

    def _windows(self) -> list[Window]:
        """What is held, as windows, the most urgent first."""
        waiting = self._ahead.waiting
        if self._load.level is Level.EASY:
            windows = single_windows(waiting)
        else:
            windows = merged_windows(waiting, self._window_ms)
        return sorted(windows, key=lambda window: min(map(urgency_ms, window)))

    def _look_at_backlog(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_S
        backlog = self._consumer.backlog()
        before = self._load.level
        self._load.seen(backlog.total, backlog.oldest_age_s)
        self._metrics.asr_backlog_seconds.set(self._load.behind_s)
        if self._load.level is not before:
            log.warning("%.0f s behind live: %s", self._load.behind_s, self._load.level.name)
        if self._load.share_to_shed > 0:
            self._shed(self._load.share_to_shed)

    def _shed(self, share: float) -> None:
        """Leave out this part of what is held, the least risky first. It is declared, then gone."""
        waiting = self._ahead.waiting
        broadcasts = {item.record.key.broadcast for item in waiting}
        findings = self._store.last_findings(broadcasts)
        chosen = least_risky_first(waiting, findings)[: int(share * len(waiting))]
        stretches: dict[tuple[str, int], list[Stretch]] = {}
        for item in chosen:
            message = item.record
            stretch = Stretch(message.start_ms, message.end_ms, CoverageKind.SHED, REASON)
            place = (message.key.broadcast, message.key.epoch)
            stretches.setdefault(place, []).append(stretch)
        for (broadcast, epoch), own in stretches.items():
            self._store.add_stretches(broadcast, epoch, own)
        self._metrics.ledger_seconds.labels("shed").inc(sum(_seconds(i.record) for i in chosen))
        self._consumer.ack([item.id for item in chosen])
        self._ahead.drop(chosen)
        risks = Counter(risk_of(item.record, findings) for item in chosen)
        for risk, count in risks.items():
            self._metrics.queue_shed_entries.labels(risk.value).inc(count)
        log.warning("%.0f s behind live: %d segments left out", self._load.behind_s, len(chosen))

    def _see_through(self, windows: Sequence[Window]) -> None:
        self._ahead.take(item for window in windows for item in window)
        loaded = []
        finished: list[tuple[_Delivery, Transcript]] = []
        for window in windows:
            sounds = []
            for item in window:
                concern_segment(item.record.room, item.record.key)
                # It may have been stored by a worker that ended before it could acknowledge.
                known = self._store.transcript(item.record.key) if item.deliveries > 1 else None
                if known is not None:
                    finished.append((item, known))
                    continue
                sounds += self._loaded(item)
            # A clip that is missing parts its neighbours.
            loaded += [sounds] if len(sounds) == len(window) else [[one] for one in sounds]
        for item, result in self._hearing.hear(loaded):
            concern_segment(item.record.room, item.record.key)
            if isinstance(result, BadInputError):
                # It would be refused again and again.
                self._give_up(item, str(result))
                self._consumer.dead_letter(item, str(result))
                continue
            self._count(result)
            finished.append((item, result))
        self._finish(finished)
        if self._hearing.exhausted and self._upkeep is not None:
            self._upkeep.recycle("there is no memory for a single window")

    def _loaded(self, item: _Delivery) -> list[Loaded]:
        try:
            return [(item, load_segment(self._clips, item.record))]
        except ClipStoreAwayError:
            raise
        except ClipStoreError as error:
            log.warning("Delivery %d of %s: %s", item.deliveries, item.record.key, error)
            return []

    def _finish(self, heard: Sequence[tuple[_Delivery, Transcript]]) -> None:
        """Store, publish and acknowledge a batch: each waits for the disk once."""
        if not heard:
            return
        messages = [item.record for item, _ in heard]
        self._store.add_transcripts([(item.record.key, result) for item, result in heard])
        news = [TranscriptMessage(one.key, one.room, one.at) for one in messages]
        self._bus.publish(TRANSCRIPTS, *news)
        for item, _ in heard:
            if item.replayed:
                self._store.withdraw_failure(item.record.key)
            latency_s = self._age_s(item.record)
            self._metrics.stage_latency_seconds.labels("asr").observe(latency_s)
            self._behind.note(item.record.room, latency_s)
        self._consumer.ack([item.id for item, _ in heard])

    def _note_waiting(self) -> None:
        waits = ((item.record.room, self._age_s(item.record)) for item in self._ahead.waiting)
        for room, seconds in oldest_by_room(waits).items():
            self._behind.note(room, seconds)
        self._behind.sweep()

    def _age_s(self, message: SegmentMessage) -> float:
        return max(0.0, (self._now() - message.at).total_seconds())

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
        self._metrics.ledger_seconds.labels("failed").inc(_seconds(message))

    def _count(self, transcript: Transcript) -> None:
        outcome = "text" if transcript.text else "dropped" if transcript.dropped_text else "empty"
        self._metrics.asr_segments.labels(outcome).inc()
        for guard in transcript.guards:
            self._metrics.asr_guards.labels(guard).inc()
        if self._upkeep is not None:
            self._upkeep.heard(transcript)


def _seconds(message: SegmentMessage) -> float:
    return (message.end_ms - message.start_ms) / 1000
