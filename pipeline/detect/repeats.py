"""Words said twice or haltingly: 皮皮劳劳, 抗抗衰老, 加加加我. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.detect import words
from pipeline.detect.morphs import Found, Morphs
from pipeline.detect.pinyin import distance, signs

_DOUBLED = re.compile(r"([^\W\d_a-z])\1")
#: The same character three times and more; numbers and laughter are meant so.
_STUTTER = re.compile(r"([^\W\d_a-z零一二两三四五六七八九十百千万哈呵嘿嘻呜])\1{2,}")


def repeats(text: str, morphs: Morphs) -> Iterator[Found]:
    """Every word of the list that is said so, and every stutter."""
    for found in _DOUBLED.finditer(text):
        repeat = _doubled_word(text, found.start(), morphs)
        if repeat is not None:
            yield repeat
    for found in _STUTTER.finditer(text):
        # 对对对, 来来来 are said so; only a word that goes on is halting.
        end = found.end()
        if end < len(text) and words.frequency(text[end - 1 : end + 1]):
            yield Found(found.start(), found.end(), found[1])


def _doubled_word(text: str, at: int, morphs: Morphs) -> Found | None:
    """The word whose first, last or every character is doubled at `at`."""
    pair = text[at : at + 4]
    if len(pair) == 4 and pair[2] == pair[3] and not words.frequency(pair):
        word = _listed_as(pair[0] + pair[2], morphs)
        if word is not None:
            return Found(at, at + 4, word)
    if words.frequency(text[at : at + 2]):
        return None
    return _first_doubled(text, at, morphs) or _last_doubled(text, at, morphs)


def _first_doubled(text: str, at: int, morphs: Morphs) -> Found | None:
    if words.begins_before(text, at) or words.frequency(text[at : at + 3]):
        return None
    for end in range(min(len(text), at + 6), at + 2, -1):
        if text[at + 1 : end] in morphs.words:
            return Found(at, end, text[at + 1 : end])
    return None


def _last_doubled(text: str, at: int, morphs: Morphs) -> Found | None:
    if words.ends_after(text, at + 2):
        return None
    for start in range(max(0, at - 4), at):
        if text[start : at + 1] in morphs.words:
            return Found(start, at + 2, text[start : at + 1])
    return None


def _listed_as(said: str, morphs: Morphs) -> str | None:
    """The listed word that is said, or sounds like it."""
    if said in morphs.words:
        return said
    alike = morphs.words_by_sound.get(signs(said), ())
    return next((word for word in alike if distance(said, word) == 0), None)
