"""From Whisper's alignment to words with times on the media clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.asr.script import simplify_pieces
from pipeline.records import SpeechSegment, Word

#: Nobody draws a syllable out for longer; what is longer holds a pause.
_MS_PER_LETTER = 500


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
    for text, piece in zip(texts, pieces, strict=True):
        letters = sum(character.isalnum() for character in text)
        if letters:
            said = _without_pause(piece, letters * _MS_PER_LETTER, after=bool(words))
            at_ms = words[-1].end_ms if words else segment.start_ms
            start_ms = min(max(at_ms, segment.start_ms + round(said.start_ms)), segment.end_ms)
            end_ms = min(max(start_ms, segment.start_ms + round(said.end_ms)), segment.end_ms)
            words.append(Word(start_ms, end_ms, leading + text, piece.probability))
            leading = ""
        elif words:
            words[-1] = replace(words[-1], text=words[-1].text + text)
        else:
            leading += text
    return _cut(stripped(words), kept)


def _without_pause(piece: Piece, longest_ms: float, *, after: bool) -> Piece:
    """The piece without the silence that the alignment leaves at its end.

    Silence before the first piece (not `after` another) lies at its start instead.
    """
    if after:
        return replace(piece, end_ms=min(piece.end_ms, piece.start_ms + longest_ms))
    return replace(piece, start_ms=max(piece.start_ms, piece.end_ms - longest_ms))


def stripped(words: list[Word]) -> list[Word]:
    """The same list without spaces before its first and after its last word."""
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
