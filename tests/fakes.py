"""Fakes with behaviour: small classes that keep the contract of the real thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from pipeline.errors import BadInputError
from pipeline.records import SpeechSegment, Transcript, Word


class ScriptedRecogniser:
    """Hears what it is told: `script` gives texts by the ms at which they begin.

    A segment says every text that begins in it; its characters are spread evenly over it.
    """

    name = "scripted"
    device = "cpu"
    synthetic_only = False

    def __init__(self, script: Mapping[int, str], *, window_ms: int = 30_000) -> None:
        self.window_ms = window_ms
        self.batches: list[int] = []
        """Sizes of the batches so far."""
        self._script = dict(sorted(script.items()))

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        """As `Recogniser.transcribe`."""
        if segments:
            self.batches.append(len(segments))
        return [self._transcript(segment) for segment in segments]

    def _transcript(self, segment: SpeechSegment) -> Transcript:
        start, end = segment.start_ms, segment.end_ms
        if end - start > self.window_ms:
            raise BadInputError(f"Segment {segment.seq} is longer than {self.window_ms} ms.")
        text = "".join(said for at, said in self._script.items() if start <= at < end)
        step = (end - start) / max(1, len(text))
        words = tuple(
            Word(start + int(i * step), start + int((i + 1) * step), character, 1.0)
            for i, character in enumerate(text)
        )
        return Transcript(start, end, text, words, model=self.name)


class LevelRecogniser:
    """Hears how loud it is: each quarter of a second at level 0.3 is the word "3".

    What it says depends on the sound alone, so that joined sound can be told from its parts.
    """

    name = "levels"
    device = "cpu"
    synthetic_only = False
    window_ms = 30_000

    def __init__(self) -> None:
        self.windows: list[int] = []
        """Windows of each call so far."""

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        """As `Recogniser.transcribe`."""
        self.windows.append(len(segments))
        return [self._transcript(segment) for segment in segments]

    def _transcript(self, segment: SpeechSegment) -> Transcript:
        levels = np.rint(10 * segment.samples).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
        runs = [(a, b) for a, b in pairwise(edges) if b > a and levels[a]]
        words = [
            self._word(segment, at, min(at + 4_000, b), levels[a])
            for a, b in runs
            for at in range(a, b, 4_000)
        ]
        text = "".join(word.text for word in words)
        return Transcript(segment.start_ms, segment.end_ms, text, tuple(words), model=self.name)

    def _word(self, segment: SpeechSegment, begin: int, end: int, level: int) -> Word:
        start = segment.start_ms
        return Word(start + begin // 16, start + end // 16, str(level), 1.0)
