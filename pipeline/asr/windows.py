"""Windows: what the recogniser hears at once, one segment or several of the same connection.

A window costs the encoder the same however much of it is speech. Behind live, neighbouring segments
share one, and what was understood is given back to each by the times of its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.asr.words import stripped
from pipeline.records import (
    SegmentMessage,
    SpeechSegment,
    Transcript,
    Word,
    ms_to_samples,
    samples_to_ms,
)
from pipeline.streams import Delivery

#: Silence between two segments of a window, at most: a pause tells the model as much as a minute.
_PAUSE_MS = 500

#: What ingest usually keeps after speech, and how much quieter than speech it is.
_PAD_MS = 200
_QUIET = 0.3
_SHORTEST_WORD_MS = 80

Window = tuple[Delivery[SegmentMessage], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a segment lies in the joined sound, in ms on the window's own clock."""

    segment: SpeechSegment
    start_ms: int
    end_ms: int

    @property
    def last_start_ms(self) -> int:
        """Where its last word may begin. Ingest pads speech with silence, where none does."""
        tail = self.segment.samples[-ms_to_samples(_PAD_MS) :]
        quiet = _level(tail) < _QUIET * _level(self.segment.samples)
        return self.end_ms - (_PAD_MS + _SHORTEST_WORD_MS if quiet else 0)


def single_windows(deliveries: Iterable[Delivery[SegmentMessage]]) -> list[Window]:
    """A window for each segment."""
    return [(item,) for item in deliveries]


def merged_windows(deliveries: Iterable[Delivery[SegmentMessage]], window_ms: int) -> list[Window]:
    """Segments that follow each other in one connection together, as many as `window_ms` holds."""

    def place(item: Delivery[SegmentMessage]) -> tuple[str, int, int]:
        key = item.record.key
        return key.broadcast, key.epoch, key.seq

    windows: list[Window] = []
    for item in sorted(deliveries, key=place):
        if windows and _follows(windows[-1], item, window_ms):
            windows[-1] = (*windows[-1], item)
        else:
            windows.append((item,))
    return windows


def joined(segments: Sequence[SpeechSegment]) -> SpeechSegment:
    """One segment that says what all say, with the silence between them, as `_PAUSE_MS` allows."""
    if len(segments) == 1:
        return segments[0]
    parts = _parts(segments)
    samples = np.zeros(ms_to_samples(parts[-1].end_ms - parts[0].start_ms), np.float32)
    for part in parts:
        at = ms_to_samples(part.start_ms - parts[0].start_ms)
        own = part.segment.samples[: len(samples) - at]
        samples[at : at + len(own)] = own
    first = segments[0]
    return SpeechSegment(first.seq, first.start_ms, parts[-1].end_ms, samples, first.language)


def parted(transcript: Transcript, segments: Sequence[SpeechSegment]) -> list[Transcript] | None:
    """The transcript of `joined(segments)` as one of each segment, times on the media clock.

    None when it cannot be told who said what: there are no word times, or a guard took words out.
    """
    if len(segments) == 1:
        return [transcript]
    if transcript.dropped_text or (transcript.text and not transcript.words):
        return None
    parts = _parts(segments)
    edges_ms = [part.last_start_ms for part in parts[:-1]]
    words: list[list[Word]] = [[] for _ in parts]
    for word, until_ms in _with_ends(transcript.words):
        middle_ms = (word.start_ms + until_ms) / 2
        row = sum(
            word.start_ms >= edge_ms or middle_ms >= (a.end_ms + b.start_ms) / 2
            for (a, b), edge_ms in zip(pairwise(parts), edges_ms, strict=True)
        )
        words[row].append(_moved(word, until_ms, parts[row]))
    return [
        _of_part(transcript, part, stripped(own)) for part, own in zip(parts, words, strict=True)
    ]


def _follows(window: Window, item: Delivery[SegmentMessage], window_ms: int) -> bool:
    last, this = window[-1].record, item.record
    if (this.key.broadcast, this.key.epoch, this.language) != (
        last.key.broadcast,
        last.key.epoch,
        last.language,
    ):
        return False
    if this.key.seq != last.key.seq + 1 or this.start_ms < last.end_ms:
        return False
    records = [one.record for one in (*window, item)]
    speech_ms = sum(record.end_ms - record.start_ms for record in records)
    pauses_ms = sum(_pause_ms(a.end_ms, b.start_ms) for a, b in pairwise(records))
    return speech_ms + pauses_ms <= window_ms


def _level(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0


def _pause_ms(end_ms: int, start_ms: int) -> int:
    return min(max(0, start_ms - end_ms), _PAUSE_MS)


def _parts(segments: Sequence[SpeechSegment]) -> list[_Part]:
    parts: list[_Part] = []
    for segment in segments:
        start_ms = segment.start_ms
        if parts:
            before = parts[-1]
            start_ms = before.end_ms + _pause_ms(before.segment.end_ms, segment.start_ms)
        length_ms = max(segment.end_ms - segment.start_ms, samples_to_ms(len(segment.samples)))
        parts.append(_Part(segment, start_ms, start_ms + length_ms))
    return parts


def _with_ends(words: Sequence[Word]) -> Iterator[tuple[Word, int]]:
    """Each word and where the alignment lets it end: where the next one begins.

    The word after a pause may begin with the pause; only its end tells which side it is on.
    """
    for word, following in pairwise(words):
        yield word, max(word.end_ms, following.start_ms)
    if words:
        yield words[-1], words[-1].end_ms


def _moved(word: Word, until_ms: int, part: _Part) -> Word:
    """The word on the media clock, inside its segment."""
    start_ms, end_ms = word.start_ms, word.end_ms
    if start_ms < part.start_ms:  # the pause before it is not part of it
        start_ms, end_ms = max(part.start_ms, until_ms - (end_ms - start_ms)), until_ms
    segment = part.segment
    shift_ms = segment.start_ms - part.start_ms
    start_ms = min(max(start_ms + shift_ms, segment.start_ms), segment.end_ms)
    end_ms = min(max(end_ms + shift_ms, start_ms), segment.end_ms)
    return replace(word, start_ms=start_ms, end_ms=end_ms)


def _of_part(transcript: Transcript, part: _Part, words: Sequence[Word]) -> Transcript:
    return replace(
        transcript,
        start_ms=part.segment.start_ms,
        end_ms=part.segment.end_ms,
        text="".join(word.text for word in words),
        words=tuple(words),
        guards=transcript.guards if words else (),
    )
