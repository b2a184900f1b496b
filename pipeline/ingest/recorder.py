"""Writes down what a broadcast sounded like: clip, row and message per segment, and the ledger."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest.outbox import Outbox
from pipeline.metrics import Metrics
from pipeline.records import (
    CoverageKind,
    SegmentKey,
    SegmentMessage,
    SpeechSegment,
    Stretch,
)
from pipeline.store.epochs import Epoch
from pipeline.store.store import Store
from pipeline.streams import SEGMENTS

#: Stretches wait for a segment or for this many of them, so that a silent room costs few commits.
_STRETCHES_AT_ONCE = 8
#: A room that others may take over tells them sooner how far it was heard.
_LATEST_S = 10.0


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where ingest puts what it hears."""

    store: Store
    bus: Bus
    clips: ClipStore
    metrics: Metrics


class Recorder:
    """One broadcast being written. `epoch` and `offset_ms` move on with every connection."""

    def __init__(
        self, outlets: Outlets, room: str, broadcast: str, outbox: Outbox | None = None
    ) -> None:
        """`outbox` takes what a live room says; without one everything is stored at once."""
        self.language = "zh"
        self.priority = 0
        self.epoch = 0
        self.offset_ms = 0
        """Where the epoch begins on the broadcast's media clock."""
        self.segments = 0
        """Segments written."""
        self.end_ms = 0
        """Up to where the broadcast is accounted for."""
        self._outlets = outlets
        self._outbox = outbox
        self._room = room
        self._broadcast = broadcast
        self._stretches: list[Stretch] = []
        self._heard: Stretch | None = None
        """The last segment's entry of the ledger, which went with it."""
        self._flushed_at = time.monotonic()
        self._shared = False

    def segment(self, segment: SpeechSegment, at: dt.datetime) -> bool:
        """Keep a segment; False when it has to be given up because too much waits already.

        Without an outbox it is stored when this returns. Raises ClipStoreError, StoreError or
        BusError then.
        """
        key = SegmentKey(self._broadcast, self.epoch, segment.seq)
        message = SegmentMessage(
            key=key,
            room=self._room,
            start_ms=self.offset_ms + segment.start_ms,
            end_ms=self.offset_ms + segment.end_ms,
            at=at,
            clip_uri="",
            clip_sha256="",
            language=self.language,
            priority=self.priority,
        )
        data = self._outlets.clips.encode(segment.samples)
        heard = Stretch(message.start_ms, message.end_ms, CoverageKind.HEARD)
        ledger = (*self._stretches, heard)
        if not self._send(len(data), partial(self._deliver, message, data, ledger)):
            return False
        self._stretches, self._heard = [], heard
        self.segments += 1
        return True

    def stretch(self, stretch: Stretch) -> None:
        """Enter a stretch of the epoch into the ledger."""
        begin, end = self.offset_ms + stretch.start_ms, self.offset_ms + stretch.end_ms
        seconds = (stretch.end_ms - stretch.start_ms) / 1000
        self._outlets.metrics.ledger_seconds.labels(stretch.kind.value).inc(seconds)
        self.end_ms = max(self.end_ms, end)
        entry = replace(stretch, start_ms=begin, end_ms=end)
        if entry == self._heard:
            return
        self._stretches.append(entry)
        late = self._shared and time.monotonic() - self._flushed_at > _LATEST_S
        if stretch.kind is CoverageKind.HEARD or len(self._stretches) >= _STRETCHES_AT_ONCE or late:
            self.flush()

    def take_up(self, epoch: Epoch, position_ms: int, reason: str) -> None:
        """Go on as this epoch of a broadcast that others may take over.

        Its sound begins at `position_ms` of the connection; what was not heard before it is LOST.
        """
        self._shared = True
        self.epoch = epoch.epoch
        self.offset_ms = 0
        self.end_ms = epoch.start_ms
        if epoch.accounted_ms < epoch.start_ms:
            lost = Stretch(epoch.accounted_ms, epoch.start_ms, CoverageKind.LOST, reason)
            self.stretch(lost)
        self.offset_ms = epoch.start_ms - position_ms

    def begin_epoch(self, lost_ms: int, reason: str) -> None:
        """Go on after a broken connection; `lost_ms` passed without sound."""
        self.epoch += 1
        self.offset_ms = self.end_ms
        if lost_ms > 0:
            self.stretch(Stretch(0, lost_ms, CoverageKind.LOST, reason))
            self.offset_ms = self.end_ms

    def flush(self) -> None:
        """Write the stretches that wait. Raises StoreError without an outbox."""
        waiting, self._stretches = self._stretches, []
        self._flushed_at = time.monotonic()
        if waiting:
            self._send(0, partial(self._enter, self.epoch, waiting))

    def _enter(self, epoch: int, found: Sequence[Stretch]) -> None:
        found = _before(self._fence_ms(epoch), found)
        self._outlets.store.add_stretches(self._broadcast, epoch, found)

    def _fence_ms(self, epoch: int) -> int | None:
        """From where on another holder hears the room; None where nobody does."""
        if not self._shared:
            return None
        return self._outlets.store.epochs.next_start_ms(self._broadcast, epoch)

    def _deliver(self, message: SegmentMessage, data: bytes, ledger: Sequence[Stretch]) -> None:
        """Clip, then rows, then message: a message never names what is not there.

        A segment and the ledger up to its end are written together: whoever dies in between leaves
        no hole in a ledger.
        """
        outlets = self._outlets
        fence_ms = self._fence_ms(message.key.epoch)
        if fence_ms is not None and message.start_ms >= fence_ms:
            self._enter(message.key.epoch, ledger)
            return
        ledger = _before(fence_ms, ledger)
        clip = outlets.clips.put(message.key, data)
        message = replace(message, clip_uri=clip.uri, clip_sha256=clip.sha256)
        outlets.store.add_segment(message, ledger)
        outlets.bus.publish(SEGMENTS, message)
        seconds = (message.end_ms - message.start_ms) / 1000
        outlets.metrics.vad_speech_seconds.inc(seconds)
        outlets.metrics.segment_duration_seconds.observe(seconds)

    def _send(self, size: int, deliver: Callable[[], None]) -> bool:
        if self._outbox is not None:
            return self._outbox.put(size, deliver)
        deliver()
        return True


def _before(fence_ms: int | None, found: Sequence[Stretch]) -> Sequence[Stretch]:
    """What of these stretches lies before the fence."""
    if fence_ms is None:
        return found
    return [
        replace(one, end_ms=min(one.end_ms, fence_ms)) for one in found if one.start_ms < fence_ms
    ]
