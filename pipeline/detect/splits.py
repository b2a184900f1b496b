"""Words with a character taken apart: 月中瘤, 米唐尿病, 二维石马. Pure.

The parts are ordinary characters as well, so what is said is believed only where no word of the
dictionary goes over the border of the parts: 私人言论 is no 私信, 减肥月半 is no 肥胖.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.detect import words
from pipeline.detect.morphs import Found, Morphs

#: Longest word that is looked for: 镜花水月.
_LONGEST = 4


def splits(text: str, morphs: Morphs) -> Iterator[Found]:
    """Every word of the list that is said so."""
    for found in morphs.split_words.finditer(text):
        start, end = found.span()
        split = morphs.splits[found[0]]
        borders = (start, start + split.start, start + split.end, end)
        if not any(_goes_over(text, border) for border in borders):
            yield Found(start, end, split.meant)


def _goes_over(text: str, border: int) -> bool:
    """Whether a word of the dictionary has characters on both sides."""
    return any(
        words.frequency(text[start : start + size])
        for size in range(2, _LONGEST + 1)
        for start in range(max(0, border - size + 1), min(border, len(text) - size + 1))
    )
