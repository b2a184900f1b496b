"""One broadcast being listened to, over all its connections."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.errors import BusError, ClipStoreError, TingboError
from pipeline.ingest.recorder import Recorder
from pipeline.ingest.segment import SegmentOptions, segments
from pipeline.ingest.source import Source, SourceInfo, SourceOptions, open_source
from pipeline.ingest.vad import Vad
from pipeline.metrics import Metrics
from pipeline.records import (
    SAMPLE_RATE,
    AudioChunk,
    CoverageKind,
    Gap,
    SpeechSegment,
    Stretch,
    samples_to_ms,
)
from pipeline.settings import Settings

REASON_RECONNECTED = "连接中断，重新连上之前的声音没有收到"
REASON_BROKEN_OFF = "连接中断，之后的声音没有收到"
REASON_NOT_STORED = "录音片段无法保存，这一段没有送去识别"
REASON_NOT_SENT = "消息队列不可用，这一段没有送去识别"

#: Seconds between attempts to reach a room again: the first, doubling up to the last.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
#: Chunks whose arrival is kept: at four a second, minutes more than any window.
_ARRIVALS = 1024


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a source is listened to."""

    source: SourceOptions
    segments: SegmentOptions
    give_up_s: float = 300.0
    """A live room without sound for this long has ended."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        window_ms: int,
        allowed_dirs: tuple[Path, ...] | None = None,
        *,
        typed: bool = True,
    ) -> IngestOptions:
        """What the settings say, for a recogniser that hears `window_ms` at once.

        `allowed_dirs` are the folders that files must lie in, None for any. `typed` addresses come
        from the operator's own command line: the host that they name may be private.
        """
        return cls(
            SourceOptions.of(settings, allowed_dirs, typed=typed),
            SegmentOptions(
                window_ms, settings.min_silence_ms, settings.pad_ms, settings.min_speech_ms
            ),
        )


class Sound(Protocol):
    """What can be listened to: a source, or a stream that is sent to us."""

    @property
    def info(self) -> SourceInfo:
        """What is known of it."""
        ...

    def read(self) -> Iterator[AudioChunk | Gap]:
        """As `Source.read`."""
        ...


@dataclass(slots=True)
class Listening:
    """Brings the sound of one broadcast to its recorder."""

    recorder: Recorder
    metrics: Metrics
    options: IngestOptions
    stop: threading.Event
    now: Callable[[], dt.datetime]
    speed: float | None
    """Media time per wall time at which a file is played, None for as fast as it goes."""
    _vad: Vad = field(default_factory=Vad)
    heard_at: float = field(default_factory=time.monotonic)
    """When sound last came; monotonic seconds."""
    _arrivals: deque[tuple[int, dt.datetime]] = field(
        default_factory=lambda: deque(maxlen=_ARRIVALS)
    )
    """Position in ms of the latest chunks' ends, and when each came."""

    def listen(self, source: Sound) -> None:
        """Record one connection to its end. Raises ClipStoreError, BusError or StoreError."""
        rooms = self.metrics.ingest_rooms.labels("live")
        rooms.inc()
        try:
            self.hear(source.read(), source.info)
        finally:
            rooms.dec()

    def hear(self, items: Iterable[AudioChunk | Gap], info: SourceInfo) -> None:
        """Record sound of one connection to its end. Raises as `listen` does."""
        self._arrivals.clear()
        try:
            chunks = self._arriving(items, info)
            for item in segments(chunks, self._vad, self.options.segments):
                self._record(item, info.duration_ms)
        finally:
            self.recorder.flush()

    @property
    def away_ms(self) -> int:
        """How long ago sound last came."""
        return int((time.monotonic() - self.heard_at) * 1000)

    def keep_listening(self, url: str, source: Source) -> TingboError | None:
        """Open a live room again and again until it has ended or `stop` is set.

        The failure after which it stayed away; None when it ended cleanly or was stopped.
        """
        while not self.stop.is_set():
            self.heard_at = source.heard_at  # its last sound is passed on only at the end
            failure = source.failure
            reason = "ended" if failure is None else "broken"
            again = self._reopened(url)
            if again is None:
                self._account_for_the_end(failure)
                return None if self.stop.is_set() else failure
            self.metrics.ingest_reconnects.labels(source.info.protocol, reason).inc()
            with again:
                self.recorder.begin_epoch(self.away_ms, REASON_RECONNECTED)
                self.listen(again)
            source = again
        return None

    def _reopened(self, url: str) -> Source | None:
        """A new connection; None when there was none before giving up or being stopped."""
        wait_s = _FIRST_WAIT_S
        rooms = self.metrics.ingest_rooms.labels("connecting")
        rooms.inc()
        try:
            while time.monotonic() - self.heard_at < self.options.give_up_s:
                self.metrics.loop_turned()
                # Rooms of one server break off together; they must not come back together.
                if self.stop.wait(wait_s * random.uniform(0.5, 1.0)):
                    return None
                try:
                    return open_source(url, self.options.source)
                except TingboError:
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            return None
        finally:
            rooms.dec()

    def _account_for_the_end(self, failure: TingboError | None) -> None:
        """After a failure nobody knows whether the room went on: the wait for it is lost."""
        if failure is not None:
            self.recorder.begin_epoch(self.away_ms, REASON_BROKEN_OFF)
            self.recorder.flush()

    def _arriving(
        self, items: Iterable[AudioChunk | Gap], info: SourceInfo
    ) -> Iterator[AudioChunk | Gap]:
        """The sound as it comes, until `stop`; a file at `speed` comes like a live room."""
        began = time.monotonic()
        seconds = self.metrics.ingest_audio_seconds.labels(info.protocol)
        for item in items:
            if isinstance(item, Gap):
                end_ms = samples_to_ms(item.end_sample)
            else:
                end_ms = samples_to_ms(item.start_sample + len(item.samples))
                seconds.inc(len(item.samples) / SAMPLE_RATE)
            wait_s = end_ms / 1000 / self.speed + began - time.monotonic() if self.speed else 0.0
            if self.stop.wait(wait_s) if wait_s > 0 else self.stop.is_set():
                return
            self.heard_at = time.monotonic()
            self.metrics.loop_turned()
            self._arrivals.append((end_ms, self.now()))
            yield item

    def _record(self, item: SpeechSegment | Stretch, duration_ms: int | None) -> None:
        if isinstance(item, Stretch):
            self.recorder.stretch(item)
            return
        try:
            kept = self.recorder.segment(item, self._arrival(item.end_ms))
        except (ClipStoreError, BusError) as error:
            reason = REASON_NOT_STORED if isinstance(error, ClipStoreError) else REASON_NOT_SENT
            end_ms = max(item.end_ms, duration_ms or 0)
            self.recorder.stretch(Stretch(item.start_ms, end_ms, CoverageKind.FAILED, reason))
            raise
        if not kept:
            failed = Stretch(item.start_ms, item.end_ms, CoverageKind.FAILED, REASON_NOT_STORED)
            self.recorder.stretch(failed)

    def _arrival(self, end_ms: int) -> dt.datetime:
        """Wall time at which the sound that ends at `end_ms` had come."""
        while len(self._arrivals) > 1 and self._arrivals[0][0] < end_ms:
            self._arrivals.popleft()
        return self._arrivals[0][1]
