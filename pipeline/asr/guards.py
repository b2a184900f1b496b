"""What Whisper says when it should not: silence that speaks, loops, credits of other films.

Pure functions over one segment's hypothesis. A guard never edits words: it drops a whole segment,
cuts a loop after its first round, or marks. What it takes out stays in `dropped_text`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Silence, by Whisper's own measure, when both hold.
NO_SPEECH_PROB = 0.6
LOW_LOGPROB = -1.0
#: Text that deflates better than this repeats itself.
COMPRESSION_RATIO = 2.4
#: Nobody speaks faster: tokens a second, and a few for the ends of a segment.
TOKENS_PER_SECOND = 12
SPARE_TOKENS = 8
#: A known hallucination is believed to be speech only when the model was surer than this.
SUSPECT_NO_SPEECH_PROB = 0.3
SUSPECT_LOGPROB = -0.5

# Hosts repeat themselves: 买它买它买它, 来来来来来. Only what no host says is a loop.
_LOOP = re.compile(r"(.)\1{11,}|(.{2,4}?)\2{6,}|(.{5,24}?)\3{3,}", re.DOTALL)


class Guard(StrEnum):
    """Names of the guards, as they stand in a transcript and in the metrics."""

    NO_SPEECH = "no_speech"
    """The model took the segment for silence; its text was dropped."""
    HALLUCINATION = "hallucination"
    """The whole segment is a phrase Whisper invents, and the model was unsure; dropped."""
    RETRIED = "retried"
    """The first attempt repeated itself and a hotter one replaced it."""
    LOOP_TRUNCATED = "loop_truncated"
    """It still looped; cut after the first round."""
    REPETITIVE = "repetitive"
    """It compresses like a loop, but none was found to cut."""
    LOW_LOGPROB = "low_logprob"
    """The model was unsure of the words."""
    TOO_FAST = "too_fast"
    """More words than a mouth can speak in that time."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model made of one segment."""

    text: str
    """Simplified, stripped."""
    tokens: tuple[int, ...]
    avg_logprob: float
    """Mean natural log probability of a token, the end included."""
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stays of a segment."""

    hypothesis: Hypothesis
    kept: int
    """Number of characters kept from the start of its text."""
    guards: tuple[Guard, ...]
    dropped_text: str


def compression_ratio(text: str) -> float:
    """UTF-8 bytes over deflated bytes; 0 for an empty text."""
    encoded = text.encode("utf-8")
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def loop(text: str) -> tuple[int, int] | None:
    """[a, b) of everything after the first round of the first loop, or None."""
    found = _LOOP.search(text)
    if found is None:
        return None
    unit = next(group for group in found.groups() if group)
    return found.start() + len(unit), found.end()


def needs_retry(hypothesis: Hypothesis) -> bool:
    """Whether a hotter attempt is worth its cost."""
    return not _is_silence(hypothesis) and _repeats_itself(hypothesis.text)


def judge(
    first: Hypothesis, retry: Hypothesis | None, duration_ms: int, inventions: frozenset[str]
) -> Judgement:
    """What stays of a segment of `duration_ms`, given the first attempt and perhaps a hotter one.

    `inventions` are known hallucinations as `read_inventions` gives them.
    """
    cured = retry is not None and not _repeats_itself(retry.text)
    chosen = retry if retry is not None and cured else first
    tried = (Guard.RETRIED,) if cured else ()
    dropped = _drop_reason(chosen, inventions)
    if dropped is not None:
        return Judgement(chosen, 0, (*tried, dropped), chosen.text)
    span = loop(chosen.text)
    marks = _marks(chosen, duration_ms)
    if span is not None:
        kept = span[0]
        return Judgement(chosen, kept, (Guard.LOOP_TRUNCATED, *marks), chosen.text[kept:])
    if _repeats_itself(chosen.text):
        marks = (Guard.REPETITIVE, *marks)
    return Judgement(chosen, len(chosen.text), (*tried, *marks), first.text if cured else "")


def read_inventions(lines: Iterable[str]) -> frozenset[str]:
    """The phrases of lexicons/hallucinations.txt: one a line, `#` starts a comment."""
    phrases = (_letters(line.partition("#")[0]) for line in lines)
    return frozenset(phrase for phrase in phrases if phrase)


def is_invention(text: str, inventions: frozenset[str]) -> bool:
    """Whether the whole text is one known phrase, said once or over and over."""
    letters = _letters(text)
    return any(
        len(letters) % len(phrase) == 0 and phrase * (len(letters) // len(phrase)) == letters
        for phrase in inventions
        if letters.startswith(phrase)
    )


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _is_silence(hypothesis: Hypothesis) -> bool:
    unsure = hypothesis.avg_logprob < LOW_LOGPROB
    return unsure and hypothesis.no_speech_prob > NO_SPEECH_PROB


def _repeats_itself(text: str) -> bool:
    return compression_ratio(text) > COMPRESSION_RATIO or loop(text) is not None


def _drop_reason(hypothesis: Hypothesis, inventions: frozenset[str]) -> Guard | None:
    if not hypothesis.text:
        return None
    if _is_silence(hypothesis):
        return Guard.NO_SPEECH
    unsure = (
        hypothesis.no_speech_prob > SUSPECT_NO_SPEECH_PROB
        or hypothesis.avg_logprob < SUSPECT_LOGPROB
    )
    if unsure and is_invention(hypothesis.text, inventions):
        return Guard.HALLUCINATION
    return None


def _marks(hypothesis: Hypothesis, duration_ms: int) -> tuple[Guard, ...]:
    marks = []
    if hypothesis.text and hypothesis.avg_logprob < LOW_LOGPROB:
        marks.append(Guard.LOW_LOGPROB)
    if len(hypothesis.tokens) > TOKENS_PER_SECOND * duration_ms / 1000 + SPARE_TOKENS:
        marks.append(Guard.TOO_FAST)
    return tuple(marks)
