"""The detection worker: transcript messages become finding rows, cases and case messages."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

from pipeline.bus import Bus
from pipeline.consumer import IDLE_MS, Consumer
from pipeline.detect.basis import legal_day
from pipeline.detect.classifier import Classifier
from pipeline.detect.corrections import (
    WITHIN,
    WITHIN_MS,
    Raised,
    correction_of,
    is_correction,
    taken_back,
)
from pipeline.detect.detector import LOOK_AHEAD, Detected, Detector
from pipeline.detect.engine import CONTEXT_MS
from pipeline.detect.watch import PackWatch
from pipeline.errors import BadInputError
from pipeline.logs import concern_segment
from pipeline.metrics import Metrics
from pipeline.records import (
    CaseMessage,
    CoverageKind,
    Finding,
    SegmentKey,
    Stretch,
    Transcript,
    TranscriptMessage,
    Utterance,
)
from pipeline.review import file_findings
from pipeline.store import Store
from pipeline.streams import CASES, TRANSCRIPTS, Delivery
from pipeline.wall_time import utc_now

#: Consumer group of the detection workers on the stream `transcripts`.
GROUP = "detect"

_BATCH = 32
_GIVEN_UP = "这一段的转写没有判完,已放弃"


@dataclass(frozen=True, slots=True)
class _Heard:
    """An utterance and what is known of the broadcast around it."""

    utterance: Utterance
    around: Sequence[Utterance]
    """What was said within CONTEXT_MS before and after it, in order, itself included."""
    on: dt.date

    def detected(self, detector: Detector) -> Detected:
        """What the utterance means."""
        return self._detect(detector, self.utterance, self.around)

    def completed(self, detector: Detector) -> Iterator[tuple[Utterance, Detected]]:
        """Other utterances with what this one adds to them.

        Those just before it may be the first half of a claim; those after it, which came earlier
        though said later, its second half.
        """
        start = self.utterance.start_ms
        without = [item for item in self.around if item.start_ms != start]
        before = [item for item in without if item.start_ms < start][-LOOK_AHEAD:]
        for other in [*before, *(item for item in without if item.start_ms > start)]:
            known = self._detect(detector, other, without)
            found = self._detect(detector, other, self.around)
            added = Detected(_new(found.findings, known.findings), _new(found.shadow, known.shadow))
            if added.findings or added.shadow:
                yield other, added

    def corrections(self, detector: Detector) -> Iterator[tuple[Utterance, Detected]]:
        """What takes something back, of this utterance and those that could do so after it."""
        later = [item for item in self.around if item.start_ms >= self.utterance.start_ms]
        for item in later[: WITHIN + 1]:
            if is_correction(detector.pack, item):
                yield item, self._detect(detector, item, self.around)

    def _detect(
        self, detector: Detector, utterance: Utterance, around: Sequence[Utterance]
    ) -> Detected:
        before = [item for item in around if item.start_ms < utterance.start_ms]
        after = [item for item in around if item.start_ms > utterance.start_ms]
        return detector.detect(utterance, before, after[:LOOK_AHEAD], self.on)


def _new(found: Sequence[Finding], known: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings of a category that had none on those words: another score is no other finding."""
    return tuple(
        one
        for one in found
        if not any(
            one.category is other.category
            and one.span[0] < other.span[1]
            and other.span[0] < one.span[1]
            for other in known
        )
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where a worker takes transcripts from and puts what it finds."""

    bus: Bus
    store: Store
    metrics: Metrics


class DetectWorker:
    """One of the workers that share the stream `transcripts`.

    A transcript is acknowledged when its findings are stored, filed and published. Its context is
    read from SQL, so the order of arrival does not matter: what was said within CONTEXT_MS after it
    and came earlier is judged again.
    """

    def __init__(
        self,
        places: Places,
        rules: PackWatch,
        classifier: Classifier,
        stop: threading.Event,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        """`rules` may change while it works; what is judged later is judged by the new ones."""
        bus, store, metrics = places.bus, places.store, places.metrics
        self._rules = rules
        self._classifier = classifier
        self._bus = bus
        self._store = store
        self._metrics = metrics
        self._stop = stop
        self._now = now
        self._consumer = Consumer(bus, TRANSCRIPTS, GROUP, metrics)

    def run(self) -> None:
        """Work until `stop` is set; the batch in hand is finished, what was not read stays."""
        self._consumer.work(self.step, self._stop)

    def step(self) -> int:
        """Read one batch and see it through; the number of transcripts read."""
        batch = self._consumer.read(_BATCH, IDLE_MS, self._give_up)
        keys = {delivery.record.key for delivery in batch}
        done = []
        try:
            for delivery in batch:
                self._handle(delivery.record, keys)
                done.append(delivery)
        finally:  # one that fails does not make those before it come back
            self._finish(done)
        return len(batch)

    def _finish(self, done: Sequence[Delivery[TranscriptMessage]]) -> None:
        self._store.mark_judged([delivery.record.key for delivery in done], self._now())
        for delivery in done:
            if delivery.replayed:
                self._store.withdraw_failure(delivery.record.key)
        self._consumer.ack([delivery.id for delivery in done])

    def _handle(self, message: TranscriptMessage, batch: Set[SegmentKey]) -> None:
        concern_segment(message.room, message.key)
        transcript = self._store.transcript(message.key)
        if transcript is None:
            raise BadInputError(
                f"Transcript {message.key} was announced and is not stored: check the database."
            )
        if transcript.text:
            heard = self._heard(message, transcript)
            detector = Detector(self._rules.current(), self._classifier)
            self._file(message, message.key, transcript.text, heard.detected(detector))
            for other, added in heard.completed(detector):
                for key in self._store.keys_at(message.key.broadcast, other.start_ms):
                    # Later ones of this batch have their own turn.
                    if other.start_ms < transcript.start_ms or key not in batch:
                        self._file(message, key, other.text, added)
            for said, detected in heard.corrections(detector):
                self._take_back(message.key.broadcast, said, detected, heard, detector)
        waited = max(0.0, (self._now() - message.at).total_seconds())
        self._metrics.stage_latency_seconds.labels("detect").observe(waited)

    def _take_back(
        self,
        broadcast: str,
        said: Utterance,
        detected: Detected,
        heard: _Heard,
        detector: Detector,
    ) -> None:
        """Store which findings a correction concerns; those that came late as well."""
        start_ms = said.start_ms - WITHIN_MS
        stored = self._store.findings_between(broadcast, start_ms, said.start_ms - 1)
        keys = dict.fromkeys(key for key, _ in stored)
        starts = {key: segment.start_ms for key in keys if (segment := self._store.segment(key))}
        before = [
            Raised(item, tuple(f for key, f in stored if starts.get(key) == item.start_ms))
            for item in heard.around
            if item.start_ms < said.start_ms
        ]
        taken = {id(f) for _, f in taken_back(detector.pack, said, detected, before)}
        for key, finding in stored:
            if id(finding) in taken:
                self._store.add_correction(key, finding, correction_of(said))

    def _heard(self, message: TranscriptMessage, transcript: Transcript) -> _Heard:
        around = self._store.utterances_before(
            message.key.broadcast, transcript.start_ms + CONTEXT_MS, 2 * CONTEXT_MS
        )
        utterance = Utterance(
            transcript.start_ms, transcript.end_ms, transcript.text, transcript.words
        )
        return _Heard(utterance, around, legal_day(message.at))

    def _file(
        self, message: TranscriptMessage, key: SegmentKey, text: str, detected: Detected
    ) -> None:
        self._store.add_findings(key, detected.shadow)
        found = detected.findings
        if not found:
            return
        for finding in found:
            self._metrics.findings.labels(finding.category.value, finding.verdict.value).inc()
        now = self._now()
        for case in file_findings(self._store, key, text, found, now):
            self._bus.publish(CASES, CaseMessage(case.id, message.room, case.broadcast, message.at))
            # A repeated message announces a case again; it was opened once.
            if case.opened_at == now:
                waited = max(0.0, (case.opened_at - case.heard_at).total_seconds())
                verdict = case.finding.verdict.value
                self._metrics.alert_latency_seconds.labels(verdict).observe(waited)

    def _give_up(self, delivery: Delivery[TranscriptMessage], _reason: str) -> None:
        """Enter what was never judged as FAILED, so that it does not look clean."""
        key = delivery.record.key
        segment = self._store.segment(key)
        if segment is not None:
            stretch = Stretch(segment.start_ms, segment.end_ms, CoverageKind.FAILED, _GIVEN_UP)
            self._store.add_stretches(key.broadcast, key.epoch, [stretch])
            seconds = (segment.end_ms - segment.start_ms) / 1000
            self._metrics.ledger_seconds.labels("failed").inc(seconds)
