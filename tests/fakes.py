"""Fakes with behaviour: small classes that keep the contract of the real thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
