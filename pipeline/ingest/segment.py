"""Cuts running sound into speech segments and accounts for every millisecond between them.

Speech begins where the detector passes 0.5 and ends where it stays below 0.35 for
`min_silence_ms` (Silero's own hysteresis). Speech that does not pause is cut in the second half
of the window, where detector and level together are lowest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.music import SHORTEST, kind_without_speech
from pipeline.ingest.tape import Tape
from pipeline.ingest.vad import FRAME, SpeechDetector
from pipeline.records import (
    AudioChunk,
    CoverageKind,
    Gap,
    SpeechSegment,
    Stretch,
    ms_to_samples,
    samples_to_ms,
)

_SPEECH = 0.5
_NO_SPEECH = 0.35
#: Sound without speech is judged in pieces of this length: 1.024 s.
_BLOCK = 32 * FRAME
#: A stretch without speech is reported at least this often, so that a ledger does not lag behind.
_LONGEST_STRETCH = ms_to_samples(30_000)


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """How speech is cut, in ms. Raises ValueError for a window that holds no speech but padding."""

    window_ms: int
    """No segment is longer: what the recogniser hears at once."""
    min_silence_ms: int
    """A pause this long ends a segment."""
    pad_ms: int
    """Sound kept before and after speech, as far as no neighbour has it."""
    min_speech_ms: int
    """Shorter speech is no segment."""

    def __post_init__(self) -> None:
        if self.window_ms < 2 * self.pad_ms + 500:
            raise ValueError(f"a window of {self.window_ms} ms is too short for its padding")


def segments(
    chunks: Iterable[AudioChunk | Gap], vad: SpeechDetector, options: SegmentOptions
) -> Iterator[SpeechSegment | Stretch]:
    """Speech segments and the ledger, in time order.

    The stretches cover the media clock from the first chunk on exactly once; each segment is
    followed by its HEARD stretch. `seq` counts from 0. Raises ValueError for chunks that do not
    follow each other: the source owes a `Gap` there.
    """
    cutter: _Cutter | None = None
    seq = 0
    for item in chunks:
        if cutter is None:
            cutter = _Cutter(item.start_sample, seq, vad, options)
        if item.start_sample != cutter.end:
            raise ValueError(f"sound at sample {item.start_sample}, expected {cutter.end}")
        if isinstance(item, AudioChunk):
            yield from cutter.push(item.samples)
            continue
        yield from cutter.finish()
        yield from _stretch(item.start_sample, item.end_sample, item.kind, item.reason)
        cutter = _Cutter(item.end_sample, cutter.seq, vad, options)
    if cutter is not None:
        yield from cutter.finish()


def _stretch(start: int, end: int, kind: CoverageKind, reason: str = "") -> Iterator[Stretch]:
    """The stretch between two samples; none if it has no whole ms, which then goes to the next."""
    start_ms, end_ms = samples_to_ms(start), samples_to_ms(end)
    if start_ms < end_ms:
        yield Stretch(start_ms, end_ms, kind, reason)


@dataclass(slots=True)
class _Speech:
    """Speech that has begun and not ended. Positions are samples on the media clock."""

    onset: int
    """Where the detector first heard it."""
    start: int
    """Where its segment will begin, padding included."""
    pause: int | None = None
    """Where the detector went low, until it rises again."""
    voiced: bool = True
    """Whether any frame passed the speech threshold."""
    continues: bool = False
    """Whether its beginning was cut off into the segment before."""


class _Cutter:
    """State of one uninterrupted run of sound. All positions are samples on the media clock."""

    def __init__(self, start: int, seq: int, vad: SpeechDetector, options: SegmentOptions) -> None:
        vad.reset()
        self.seq = seq
        self._vad = vad
        self._window = ms_to_samples(options.window_ms)
        self._min_silence = ms_to_samples(options.min_silence_ms)
        self._pad = ms_to_samples(options.pad_ms)
        self._min_speech = ms_to_samples(options.min_speech_ms)
        self._tape = Tape(start)
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._first = start  # position of the oldest frame in the two lists
        self._probabilities: list[float] = []
        self._levels: list[float] = []
        self._speech: _Speech | None = None
        self._cut_at = -1  # where speech without a pause was last cut
        self._done = start  # everything before is accounted for
        self._reported = start  # everything before has left as a stretch
        self._kind = CoverageKind.SILENT  # of what lies between the two

    @property
    def end(self) -> int:
        """Where the next sound must begin."""
        return self._tape.end + len(self._rest)

    def push(self, samples: NDArray[np.float32]) -> Iterator[SpeechSegment | Stretch]:
        """Take sound that begins at `end`."""
        sound = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        whole = len(sound) // FRAME * FRAME
        self._rest = sound[whole:].copy()
        if whole:
            self._tape.append(sound[:whole])
            yield from self._frames(sound[:whole])

    def finish(self) -> Iterator[SpeechSegment | Stretch]:
        """End the run: what is open is closed, everything up to `end` is accounted for."""
        if len(self._rest):
            rest, self._rest = self._rest, np.zeros(0, np.float32)
            self._tape.append(rest)
            yield from self._frames(np.pad(rest, (0, FRAME - len(rest))))
        speech, end = self._speech, self._tape.end
        if speech is not None:
            yield from self._close(speech, end if speech.pause is None else speech.pause, end)
        yield from self._account(self._tape.end)

    def _frames(self, sound: NDArray[np.float32]) -> Iterator[SpeechSegment | Stretch]:
        frames = sound.reshape(-1, FRAME)
        probabilities = self._vad.probabilities(frames).tolist()
        levels = np.sqrt(np.mean(np.square(frames), axis=1)).tolist()
        for probability, level in zip(probabilities, levels, strict=True):
            start = self._first + len(self._probabilities) * FRAME
            self._probabilities.append(probability)
            self._levels.append(level)
            yield from self._step(start, probability)
        self._forget()

    def _step(self, start: int, probability: float) -> Iterator[SpeechSegment | Stretch]:
        """Take one frame that begins at `start` into account."""
        end = min(start + FRAME, self._tape.end)
        if self._speech is None:
            if probability < _SPEECH:
                yield from self._pass(end - self._pad)
                return
            padded = max(self._done, start - self._pad)
            self._speech = _Speech(start, padded, continues=padded == self._cut_at)
        speech = self._speech
        if probability >= _SPEECH:
            speech.pause, speech.voiced = None, True
        elif probability < _NO_SPEECH and speech.pause is None:
            speech.pause = start
        if speech.pause is not None and end - speech.pause >= self._min_silence:
            yield from self._close(speech, speech.pause, end)
        elif end + FRAME - speech.start > self._window:
            yield from self._cut(speech, end)

    def _close(
        self, speech: _Speech, speech_end: int, seen: int
    ) -> Iterator[SpeechSegment | Stretch]:
        """End speech at `speech_end`; sound is known up to `seen`."""
        self._speech = None
        long_enough = speech_end - speech.onset >= self._min_speech
        # The last syllable after a cut is short and belongs to a sentence all the same.
        if long_enough or (speech.continues and speech.voiced):
            yield from self._segment(speech.start, min(speech_end + self._pad, seen))
        yield from self._pass(seen - self._pad)

    def _cut(self, speech: _Speech, end: int) -> Iterator[SpeechSegment | Stretch]:
        """Cut speech that fills the window where it is quietest, and go on behind the cut."""
        frames = (end - self._first) // FRAME
        frame = self._quietest(speech.start + self._window // 2, frames)
        self._speech, self._cut_at = None, self._first + frame * FRAME
        yield from self._segment(speech.start, self._cut_at)
        if self._probabilities[frame] >= _NO_SPEECH:
            self._speech = _Speech(self._cut_at, self._cut_at, voiced=False, continues=True)
        for again in range(frame, frames):
            yield from self._step(self._first + again * FRAME, self._probabilities[again])

    def _quietest(self, earliest: int, frames: int) -> int:
        """Index of the frame before which to cut, at `earliest` or later."""
        index = -(-(earliest - self._first) // FRAME)
        probabilities = np.array(self._probabilities[index - 1 : frames])
        decibels = 20 * np.log10(np.array(self._levels[index - 1 : frames]) + 1e-6)
        loudness = (decibels - decibels.min()) / max(np.ptp(decibels), 1.0)
        score = probabilities + 0.5 * loudness
        return index + int(np.argmin(score[:-1] + score[1:]))

    def _segment(self, start: int, end: int) -> Iterator[SpeechSegment | Stretch]:
        yield from self._account(start)
        samples = self._tape.take(start, end)
        yield SpeechSegment(self.seq, samples_to_ms(start), samples_to_ms(end), samples)
        yield from _stretch(start, end, CoverageKind.HEARD)
        self.seq += 1
        self._done = self._reported = end

    def _pass(self, limit: int) -> Iterator[Stretch]:
        """Account for whole blocks without speech up to `limit`."""
        while self._done + _BLOCK <= limit:
            block = self._tape.take(self._done, self._done + _BLOCK)
            yield from self._mark(self._done + _BLOCK, kind_without_speech(block))

    def _account(self, limit: int) -> Iterator[Stretch]:
        """Account for everything without speech up to `limit`, and report it."""
        yield from self._pass(limit)
        if self._done < limit:
            rest = self._tape.take(self._done, limit)
            kind = kind_without_speech(rest) if len(rest) >= SHORTEST else self._kind
            yield from self._mark(limit, kind)
        yield from self._report()

    def _mark(self, end: int, kind: CoverageKind) -> Iterator[Stretch]:
        if kind is not self._kind:
            yield from self._report()
        self._kind, self._done = kind, end
        if self._done - self._reported >= _LONGEST_STRETCH:
            yield from self._report()

    def _report(self) -> Iterator[Stretch]:
        yield from _stretch(self._reported, self._done, self._kind)
        self._reported = self._done

    def _forget(self) -> None:
        """Let go of what is accounted for; memory stays within a window and a block."""
        self._tape.forget(self._done)
        old = (self._done - self._first) // FRAME
        del self._probabilities[:old], self._levels[:old]
        self._first += old * FRAME
