"""From clips to transcripts: windows through the recogniser, whatever goes wrong on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline.asr.fit import BatchFit, is_out_of_memory
from pipeline.asr.recogniser import Recogniser
from pipeline.asr.windows import joined, parted
from pipeline.clips import ClipStore
from pipeline.errors import BadInputError, ClipStoreError
from pipeline.logs import concern_segment
from pipeline.metrics import Metrics
from pipeline.records import SegmentMessage, SpeechSegment, Transcript, ms_to_samples
from pipeline.streams import Delivery

log = logging.getLogger(__name__)

#: A clip may decode to a little less than its segment, never to much less.
_WHOLE = 0.9

_Delivery = Delivery[SegmentMessage]
Loaded = tuple[_Delivery, SpeechSegment]
"""A segment and its sound."""
Heard = tuple[_Delivery, Transcript | BadInputError]
"""What was understood, or why the model will never take it."""


def load_segment(clips: ClipStore, message: SegmentMessage) -> SpeechSegment:
    """The segment with its sound. Raises ClipStoreError, also for a clip that is cut short."""
    samples = clips.read(message.clip_uri)
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


class Hearing:
    """One recogniser at work on windows."""

    def __init__(
        self,
        recogniser: Recogniser,
        fit: BatchFit,
        metrics: Metrics,
        worked: Callable[[int, float], None],
    ) -> None:
        """`worked` is told after each call how many segments it held and how long it took."""
        self.exhausted = False
        """Whether there was no memory for a single window: only a new process can go on."""
        self._recogniser = recogniser
        self._fit = fit
        self._metrics = metrics
        self._worked = worked

    def hear(self, windows: Sequence[Sequence[Loaded]]) -> Iterator[Heard]:
        """What each segment says, from one call of the recogniser if all goes well.

        A call that fails is repeated in parts, so that one segment does not poison the others. A
        segment that fails alone is left out; it will be delivered again.
        """
        if not windows:
            return
        started = time.monotonic()
        try:
            transcripts = self._recogniser.transcribe(
                [joined([segment for _, segment in window]) for window in windows]
            )
        # RuntimeError: all that CTranslate2 raises.
        except (RuntimeError, MemoryError, BadInputError) as error:
            yield from self._after(error, windows)
            return
        self._count(windows, time.monotonic() - started)
        for window, transcript in zip(windows, transcripts, strict=True):
            parts = parted(transcript, [segment for _, segment in window])
            if parts is None:
                yield from self.hear([[one] for one in window])
            else:
                items = (item for item, _ in window)
                yield from zip(items, parts, strict=True)

    def _after(self, error: Exception, windows: Sequence[Sequence[Loaded]]) -> Iterator[Heard]:
        full = is_out_of_memory(error)
        if full:
            self._fit.shrink(len(windows))
        if len(windows) > 1:
            at = 0
            while at < len(windows):
                size = self._fit.limit if full else 1  # the parts may shrink it further
                yield from self.hear(windows[at : at + size])
                at += size
        elif len(windows[0]) > 1:
            yield from self.hear([[one] for one in windows[0]])
        else:
            item, _ = windows[0][0]
            concern_segment(item.record.room, item.record.key)
            self.exhausted |= full
            if isinstance(error, BadInputError):
                yield item, error
            else:
                log.warning("Delivery %d of %s: %s", item.deliveries, item.record.key, error)

    def _count(self, windows: Sequence[Sequence[Loaded]], seconds: float) -> None:
        segments = [segment for window in windows for _, segment in window]
        self._worked(len(segments), seconds)
        name, device = self._recogniser.name, self._recogniser.device
        self._metrics.asr_batch_size.observe(len(windows))
        self._metrics.asr_merged_segments.inc(len(segments) - len(windows))
        self._metrics.asr_inference_duration_seconds.labels("transcribe", device).observe(seconds)
        heard_ms = sum(segment.end_ms - segment.start_ms for segment in segments)
        self._metrics.asr_audio_seconds.labels(name, device).inc(heard_ms / 1000)
