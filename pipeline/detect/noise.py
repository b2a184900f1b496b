"""Recognition errors made up, to see how findings stand them: homophones and lost characters."""

from __future__ import annotations

import random
from functools import cache

import jieba

from pipeline.detect.pinyin import syllables_of

#: Of the characters that go wrong, so many are lost; the others become a homophone.
LOST = 0.3
#: A homophone must be met so often in jieba's texts to be written by a recogniser.
_USUAL = 200


def misheard(text: str, rate: float, rng: random.Random) -> str:
    """`text` with about `rate` of its Chinese characters wrong; all else as it is."""
    kept: list[str] = []
    for character in text:
        readings = syllables_of(character)
        if not readings or rng.random() >= rate:
            kept.append(character)
        elif rng.random() >= LOST:
            others = [one for one in _homophones().get(readings[0], ()) if one != character]
            kept.append(rng.choice(others) if others else character)
    return "".join(kept)


@cache
def _homophones() -> dict[str, tuple[str, ...]]:
    """Toneless syllable → common characters that are read so, in the order of the dictionary."""
    jieba.initialize()
    found: dict[str, list[str]] = {}
    for word, frequency in jieba.dt.FREQ.items():
        if len(word) == 1 and frequency >= _USUAL and (readings := syllables_of(word)):
            found.setdefault(readings[0], []).append(word)
    return {syllable: tuple(characters) for syllable, characters in found.items()}
