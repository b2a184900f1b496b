"""Self-check of one recording: every stage in this process, nothing stored, nothing sent."""

from __future__ import annotations

import datetime as dt
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pipeline import __version__
from pipeline.asr import Recogniser, load_recogniser
from pipeline.detect import Detected, Detector, Talk, legal_day, load_detector
from pipeline.errors import TingboError
from pipeline.ingest import SegmentOptions, Source, Vad, segments
from pipeline.ingest.listening import IngestOptions
from pipeline.records import (
    AudioChunk,
    CoverageKind,
    Finding,
    Gap,
    SpeechSegment,
    Stretch,
    Transcript,
    Utterance,
    Versions,
    samples_to_ms,
)
from pipeline.reports.replay import Replay
from pipeline.reports.sound import SoundTrack
from pipeline.settings import Settings
from pipeline.store.ledger import coverage_of

#: Segments that may wait for the recogniser: bounds memory whatever the recording's length.
_AHEAD = 64
#: Segments transcribed in one call. On a CPU larger batches win nothing (tests/bench/bench_asr.py).
_BATCH = 8

Progress = Callable[[int], None]
"""Called with the position on the media clock, in ms, up to which everything is judged."""


@dataclass(frozen=True, slots=True)
class Ears:
    """What listens and judges; loaded once, used for any number of recordings."""

    recogniser: Recogniser
    detector: Detector
    segments: SegmentOptions
    batch: int = _BATCH

    @property
    def versions(self) -> Versions:
        """What every result of these ears names."""
        return Versions(
            engine=__version__,
            rule_pack=self.detector.pack.label,
            model=self.detector.classifier.version,
            asr=self.recogniser.name,
        )


def load_ears(settings: Settings, progress: TextIO | None) -> Ears:
    """What the settings name; `progress` shows the download of a model that is not on disk.

    Raises ModelError, RulePackError or BadInputError.
    """
    recogniser = load_recogniser(settings.asr_model, device=settings.device, progress=progress)
    segments = IngestOptions.of(settings, recogniser.window_ms).segments
    detector = load_detector(
        settings.packs, settings.effective_classifier_dir, settings.lexicons_dir
    )
    return Ears(recogniser, detector, segments)


@dataclass(slots=True)
class _Listener:
    """Decodes and segments in a thread of its own; the recogniser works beside it."""

    source: Source
    options: SegmentOptions
    track: SoundTrack | None
    stopped: threading.Event = field(default_factory=threading.Event)
    position_ms: int = 0
    error: TingboError | None = None
    _items: queue.Queue[SpeechSegment | Stretch | None] = field(
        default_factory=lambda: queue.Queue(_AHEAD)
    )

    def items(self) -> Iterator[SpeechSegment | Stretch]:
        """Segments and ledger entries in time order. Raises the listener's TingboError."""
        thread = threading.Thread(target=self._listen, name="replay-listen", daemon=True)
        thread.start()
        try:
            while (item := self._items.get()) is not None:
                yield item
        finally:
            self.stopped.set()
            while thread.is_alive():  # a full queue must not hold it
                self._drain()
                thread.join(0.05)
        if self.error is not None:
            raise self.error

    def _listen(self) -> None:
        try:
            for item in segments(self._chunks(), Vad(), self.options):
                self._items.put(item)
        except TingboError as error:
            self.error = error
        finally:
            self._items.put(None)

    def _chunks(self) -> Iterator[AudioChunk | Gap]:
        for item in self.source.read():
            if self.stopped.is_set():
                return
            if isinstance(item, AudioChunk):
                self.position_ms = samples_to_ms(item.start_sample + len(item.samples))
                if self.track is not None:
                    self.track.add(item)
            yield item

    def _drain(self) -> None:
        try:
            while True:
                self._items.get_nowait()
        except queue.Empty:
            return


@dataclass(slots=True)
class _Record:
    """What was heard and found so far."""

    ears: Ears
    on: dt.date
    transcripts: list[Transcript] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _talk: Talk = field(init=False)

    def __post_init__(self) -> None:
        self._talk = Talk(self.ears.detector, self.on)

    def hear(self, batch: list[SpeechSegment]) -> list[Stretch]:
        """Transcribe and judge; what cannot be recognised comes back as FAILED."""
        try:
            transcripts = self.ears.recogniser.transcribe(batch)
        except RuntimeError as error:  # all that CTranslate2 raises
            if len(batch) > 1:
                return [item for one in batch for item in self.hear([one])]
            reason = f"语音识别出错，这一段没有听懂：{error}"
            return [Stretch(batch[0].start_ms, batch[0].end_ms, CoverageKind.FAILED, reason)]
        for transcript in transcripts:
            self.transcripts.append(transcript)
            self._judge(transcript)
        return []

    def _judge(self, transcript: Transcript) -> None:
        if transcript.text:
            said = (transcript.start_ms, transcript.end_ms, transcript.text, transcript.words)
            self._take(self._talk.add(Utterance(*said)))

    def finish(self) -> None:
        """Judge what waits for more that will not come."""
        self._take(self._talk.rest())

    def _take(self, judged: Iterable[tuple[Utterance, Detected]]) -> None:
        for _, detected in judged:
            self.findings += detected.findings


def replay(
    source: Source,
    ears: Ears,
    *,
    progress: Progress,
    track: SoundTrack | None = None,
    on: dt.date | None = None,
) -> Replay:
    """Listen to an open `source` from beginning to end and judge every utterance.

    `track` takes the sound along for a page; `on` is the day whose law applies, today by default.
    A recording that breaks off is judged up to there, and the result's `failure` says so.
    """
    begin, made_at = time.monotonic(), dt.datetime.now(dt.UTC)
    record = _Record(ears, on or legal_day(made_at))
    stretches = _listen(_Listener(source, ears.segments, track), record, progress)
    record.finish()
    failure = source.failure
    return Replay(
        # Of a file its name alone: a page that is passed on does not tell whose folder it was.
        media=Path(source.info.name).name if source.info.protocol == "file" else source.info.name,
        duration_ms=max((item.end_ms for item in stretches), default=0),
        coverage=coverage_of(stretches),
        stretches=tuple(stretches),
        transcripts=tuple(record.transcripts),
        findings=tuple(record.findings),
        versions=ears.versions,
        made_at=made_at,
        checked_for=record.on,
        synthetic_only=ears.recogniser.synthetic_only,
        failure=str(failure) if failure else None,
        elapsed_ms=int((time.monotonic() - begin) * 1000),
    )


def _listen(listener: _Listener, record: _Record, progress: Progress) -> list[Stretch]:
    stretches: list[Stretch] = []
    waiting: list[SpeechSegment] = []
    for item in listener.items():
        if isinstance(item, Stretch):
            stretches.append(item)
        else:
            waiting.append(item)
        if len(waiting) >= record.ears.batch:
            stretches += record.hear(waiting)
            waiting = []
        progress(waiting[0].start_ms if waiting else item.end_ms)
    if waiting:
        stretches += record.hear(waiting)
        progress(waiting[-1].end_ms)
    return stretches
