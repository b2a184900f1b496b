"""Characters put into a word, or in place of one of its characters: 尿什么酸, 关某炎, 修母腹. Pure.

A filler is believed only where the characters around it make a known word without it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.detect import words
from pipeline.detect.morphs import MASK, Found, Morphs
from pipeline.detect.pinyin import distance, signs

#: Longest word that is looked for.
_LONGEST = 6


@dataclass(frozen=True, slots=True)
class _Gap:
    """A place in a text without fillers where one stood."""

    bare: str
    at: int
    is_rare: bool
    """The filler is rare in plain speech."""
    is_long: bool
    """It has more than one character."""

    def is_between_words(self) -> bool:
        """血糖和血脂: what stands on either side is whole."""
        before = words.begins_before(self.bare, self.at - 1)
        return before and words.ends_after(self.bare, self.at + 1)

    def windows(self) -> Iterator[tuple[int, int]]:
        """[start, end) around the gap, longest first."""
        for size in range(_LONGEST, 1, -1):
            for start in range(max(0, self.at - size + 1), self.at):
                if self.at < start + size <= len(self.bare):
                    yield start, start + size


def inserted(text: str, morphs: Morphs) -> Iterator[Found]:
    """Every broken word of `text` with its fillers, by position."""
    fillers = [
        found.span()
        for found in morphs.filler_words.finditer(text)
        if _may_break(text, *found.span(), morphs)
    ]
    if not fillers:
        return
    left_out = {index for span in fillers for index in range(*span)}
    # 抗母摔摔蒙老: what follows a filler is often said twice.
    left_out.update(end + 1 for _, end in fillers if text[end : end + 1] == text[end + 1 : end + 2])
    kept = [index for index in range(len(text)) if index not in left_out]
    bare = "".join(text[index] for index in kept)
    done = 0
    for start, end in fillers:
        is_rare = not morphs.fillers[text[start:end]].is_common
        gap = _Gap(bare, bisect_left(kept, start), is_rare, end - start > 1)
        word = _broken(gap, morphs)
        if word is None:
            continue
        left, right = kept[word.start], kept[word.end - 1] + 1
        # 某调某理: one before the word belongs to it.
        while left - 1 in left_out and text[left - 1] == text[start]:
            left -= 1
        if left >= done:
            done = right
            yield Found(left, right, word.meant)


def _may_break(text: str, start: int, end: int, morphs: Morphs) -> bool:
    """Cheap signs first: most fillers in plain speech are what they say."""
    filler = morphs.fillers[text[start:end]]
    if filler.is_common and end - start == 1:
        pair = text[max(0, start - 1) : start] + text[end : end + 1]
        if pair not in morphs.pairs:
            return False
    if words.is_within_word(text, start, end):
        return False
    return not filler.around.is_literal(text, start, end)


def _broken(gap: _Gap, morphs: Morphs) -> Found | None:
    """The word that is broken at the gap, as it stands in the bare text."""
    if not gap.is_rare and gap.is_between_words():
        return None
    found = _listed(gap, morphs) or _masked(gap, morphs)
    if found is None and (gap.is_rare or gap.is_long):
        found = _sounding(gap, morphs)
    return found


def _listed(gap: _Gap, morphs: Morphs) -> Found | None:
    for start, end in gap.windows():
        if gap.bare[start:end] in morphs.words:
            return Found(start, end, gap.bare[start:end])
    return None


def _masked(gap: _Gap, morphs: Morphs) -> Found | None:
    """A word of the list with the filler in place of a character."""
    for start, end in gap.windows():
        word = morphs.masked.get(gap.bare[start : gap.at] + MASK + gap.bare[gap.at : end])
        if word is not None:
            return Found(start, end, word)
    return None


def _sounding(gap: _Gap, morphs: Morphs) -> Found | None:
    """A word of the list that sounds like what is said; but for rare fillers it shares some."""
    for start, end in gap.windows():
        said = gap.bare[start:end]
        for word in morphs.words_by_sound.get(signs(said), ()):
            if distance(said, word) == 0 and (gap.is_rare or set(said) & set(word)):
                return Found(start, end, word)
    return None
