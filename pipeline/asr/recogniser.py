"""The protocol every recogniser keeps, and the one that drives faster-whisper.

Segments of different rooms share one `encode` and one `generate`. No words are ever put into the
prompt: a prompt with forbidden words makes Whisper hear them in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.asr.guards import Hypothesis, Judgement, judge, needs_retry
from pipeline.asr.whisper import Whisper, rows_of
from pipeline.asr.words import timed_words
from pipeline.records import SAMPLE_RATE, SpeechSegment, Transcript, Word

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_RETRY_TEMPERATURE = 0.4
_LEAST_LOGPROB = -100.0


class Recogniser(Protocol):
    """Turns speech into text."""

    @property
    def name(self) -> str:
        """Name of the model, for people and for `Versions.asr`."""
        ...

    @property
    def window_ms(self) -> int:
        """Longest segment it takes."""
        ...

    @property
    def synthetic_only(self) -> bool:
        """Whether it knows synthetic speech only; to be said wherever its text is shown."""
        ...

    @property
    def device(self) -> str:
        """Where it computes: "cpu" or "cuda"."""
        ...

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        """One transcript per segment, in the same order, times on the media clock.

        Raises BadInputError for a segment longer than `window_ms`, or in a language the model does
        not know.
        """
        ...


class WhisperRecogniser:
    """A faster-whisper model as a recogniser."""

    def __init__(
        self,
        model: WhisperModel,
        *,
        name: str,
        decoder_positions: int,
        inventions: frozenset[str],
        synthetic_only: bool = False,
        word_times: bool = True,
    ) -> None:
        """Take over a loaded model.

        `decoder_positions` is how many tokens its decoder holds, prompt included; `inventions` is
        what `guards.read_inventions` gives. Without `word_times` transcripts have no words and cost
        one pass of the decoder less.
        """
        self.name = name
        self.synthetic_only = synthetic_only
        self.whisper = Whisper(model, decoder_positions)
        self.device = self.whisper.device
        self.window_ms = self.whisper.window_samples * 1000 // SAMPLE_RATE
        self._inventions = inventions
        self._word_times = word_times

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        """One transcript per segment, in the same order, from one `encode` and one `generate`.

        A second, hotter `generate` follows for those segments alone whose text repeats itself.
        """
        if not segments:
            return []
        features, frames = self.whisper.features(segments)
        encoded = self.whisper.encode(features)
        judgements = self._judged(segments, encoded)
        words = self._words(segments, judgements, encoded, frames)
        return [
            self._transcript(segment, judgement, its_words)
            for segment, judgement, its_words in zip(segments, judgements, words, strict=True)
        ]

    def _judged(self, segments: Sequence[SpeechSegment], encoded: Any) -> list[Judgement]:
        first = self._generate(segments, encoded)
        rows = [row for row, hypothesis in enumerate(first) if needs_retry(hypothesis)]
        retries: dict[int, Hypothesis] = {}
        if rows:
            again = self._generate(
                [segments[row] for row in rows], rows_of(encoded, rows), _RETRY_TEMPERATURE
            )
            retries = dict(zip(rows, again, strict=True))
        return [
            judge(hypothesis, retries.get(row), _duration_ms(segments[row]), self._inventions)
            for row, hypothesis in enumerate(first)
        ]

    def _generate(
        self, segments: Sequence[SpeechSegment], encoded: Any, temperature: float = 0.0
    ) -> list[Hypothesis]:
        limit = self.whisper.token_limit(max(map(_duration_ms, segments)))
        languages = [segment.language for segment in segments]
        return self.whisper.generate(encoded, languages, limit, temperature)

    def _words(
        self,
        segments: Sequence[SpeechSegment],
        judgements: Sequence[Judgement],
        encoded: Any,
        frames: Sequence[int],
    ) -> list[tuple[Word, ...]]:
        if not self._word_times:
            return [() for _ in segments]
        aligned = self.whisper.align(
            encoded,
            [segment.language for segment in segments],
            [judgement.hypothesis.tokens if judgement.kept else () for judgement in judgements],
            frames,
        )
        return [
            timed_words(pieces, segment, judgement.kept)
            for pieces, segment, judgement in zip(aligned, segments, judgements, strict=True)
        ]

    def _transcript(
        self, segment: SpeechSegment, judgement: Judgement, words: tuple[Word, ...]
    ) -> Transcript:
        chosen = judgement.hypothesis
        return Transcript(
            segment.start_ms,
            segment.end_ms,
            "".join(word.text for word in words) or chosen.text[: judgement.kept],
            words,
            # A model's log probability can be minus infinity or none at all; records hold numbers.
            max(_LEAST_LOGPROB, chosen.avg_logprob),
            chosen.no_speech_prob,
            tuple(judgement.guards),
            judgement.dropped_text,
            self.name,
        )


def _duration_ms(segment: SpeechSegment) -> int:
    return segment.end_ms - segment.start_ms
