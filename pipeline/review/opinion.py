"""What a second model says of a finding: whether it heard the offending words as well.

It is told beside the finding and changes nothing of it: a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pypinyin import lazy_pinyin

from pipeline.records import Finding, Transcript


class HeardAgain(StrEnum):
    """Whether the words are in what the second model understood."""

    SAME = "same"
    ALIKE = "alike"
    """In other characters that sound the same."""
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Opinion:
    """One finding and what the second model understood of its segment."""

    start_ms: int
    """Of the finding."""
    words: str
    """Its evidence."""
    model: str
    text: str
    heard: HeardAgain

    @classmethod
    def of(cls, finding: Finding, transcript: Transcript) -> Opinion:
        """The opinion on `finding` that `transcript` holds."""
        heard = heard_again(finding.evidence, transcript.text)
        return cls(finding.start_ms, finding.evidence, transcript.model, transcript.text, heard)


def heard_again(words: str, text: str) -> HeardAgain:
    """Whether `words` are in `text`, letter by letter or syllable by syllable."""
    wanted, heard = _letters(words), _letters(text)
    if wanted and wanted in heard:
        return HeardAgain.SAME
    syllables = lazy_pinyin(wanted)
    spoken = lazy_pinyin(heard)
    size = len(syllables)
    starts = range(len(spoken) - size + 1)
    if size and any(spoken[at : at + size] == syllables for at in starts):
        return HeardAgain.ALIKE
    return HeardAgain.ABSENT


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
