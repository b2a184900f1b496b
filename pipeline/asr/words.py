"""From Whisper's alignment to words with times on the media clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.asr.script import simplify_pieces
from pipeline.records import SpeechSegment, Word


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens that makes whole characters, and when it was said."""

    text: str
    start_ms: float
    """From the start of the segment."""
    end_ms: float
    probability: float


def timed_words(pieces: Sequence[Piece], segment: SpeechSegment, kept: int) -> tuple[Word, ...]:
    """Words of the first `kept` characters: simplified, in order, inside the segment.

    The joined texts are the transcript's text. Punctuation and spaces go with the word before
    them, or with the first word.
    """
    texts = simplify_pieces([piece.text.replace("\ufffd", "") for piece in pieces])
    words: list[Word] = []
    leading = ""
    at_ms = segment.start_ms
    for text, piece in zip(texts, pieces, strict=True):
        if not any(character.isalnum() for character in text):
            if words:
                words[-1] = replace(words[-1], text=words[-1].text + text)
            else:
                leading += text
            continue
        start_ms = min(max(at_ms, segment.start_ms + round(piece.start_ms)), segment.end_ms)
        at_ms = min(max(start_ms, segment.start_ms + round(piece.end_ms)), segment.end_ms)
        words.append(Word(start_ms, at_ms, leading + text, piece.probability))
        leading = ""
    return _cut(_stripped(words), kept)


def _stripped(words: list[Word]) -> list[Word]:
    if words:
        words[0] = replace(words[0], text=words[0].text.lstrip())
        words[-1] = replace(words[-1], text=words[-1].text.rstrip())
    return words


def _cut(words: Sequence[Word], kept: int) -> tuple[Word, ...]:
    """The words of the first `kept` characters; one that is cut through keeps its first part."""
    result = []
    for word in words:
        if kept <= 0:
            break
        result.append(word if len(word.text) <= kept else replace(word, text=word.text[:kept]))
        kept -= len(word.text)
    return tuple(result)
