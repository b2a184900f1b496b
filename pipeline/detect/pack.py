"""A rule pack as it is in memory: frozen, compiled, with version and content hash."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.detect.acts import SpeechAct, TargetWords
from pipeline.detect.allow import AllowList
from pipeline.detect.basis import BasisBook
from pipeline.detect.morphs import Morphs
from pipeline.detect.patterns import Pattern
from pipeline.detect.wordclasses import WordClasses
from pipeline.records import Category


@dataclass(frozen=True, slots=True)
class FlagExample:
    """A text that a rule must flag, and the characters it must point at."""

    text: str
    span_text: str
    earlier: tuple[str, ...] = ()
    """Utterances said before it, oldest first."""


@dataclass(frozen=True, slots=True)
class PassExample:
    """A text that a rule must let pass."""

    text: str
    earlier: tuple[str, ...] = ()


class RuleStatus(StrEnum):
    """What becomes of what a rule finds."""

    ACTIVE = "active"
    SHADOW = "shadow"
    """On trial: recorded, not raised."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One construction that is suspicious, why, and what it rests on."""

    id: str
    category: Category
    subtype: str
    status: RuleStatus
    severity: int
    """1 to 4: light, serious, very serious, extremely serious."""
    score: float
    """Uncalibrated prior of the author, 0 to 1: how often a match is a violation."""
    patterns: tuple[Pattern, ...]
    earlier: tuple[Pattern, ...]
    """Where given, one of these must stand in an earlier utterance."""
    within_ms: int
    """How long before this one that utterance may begin."""
    compare: tuple[tuple[str, str], ...]
    """Named numbers of which the first must be greater; an unclear number satisfies it."""
    exceptions: re.Pattern[str] | None
    """Words around the match that make it harmless."""
    excused_by: tuple[SpeechAct, ...]
    noted: tuple[SpeechAct, ...]
    """Acts that excuse nothing and are told with the finding."""
    target: str
    """Whom it speaks of, where the words do not tell it more exactly."""
    why: str
    basis: tuple[str, ...]
    facts_to_check: tuple[str, ...]
    suggestion: str
    flag: tuple[FlagExample, ...]
    passes: tuple[PassExample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AnchorIndex:
    """Words → the patterns that can match only where one of them stands; equal only to itself."""

    rules: Mapping[str, tuple[tuple[int, int], ...]]
    """Anchor → (rule, pattern) numbers."""
    lengths: Mapping[str, tuple[int, ...]]
    """First character of an anchor → lengths of the anchors that begin with it."""

    def candidates(self, text: str) -> list[tuple[int, int]]:
        """(rule, pattern) numbers whose anchor stands in `text`, in the order of the pack."""
        found: set[tuple[int, int]] = set()
        rules, lengths = self.rules, self.lengths
        for start, character in enumerate(text):
            for length in lengths.get(character, ()):
                hit = rules.get(text[start : start + length])
                if hit is not None:
                    found.update(hit)
        return sorted(found)


@dataclass(frozen=True, slots=True)
class RulePack:
    """Every rule, ready to match."""

    version: str
    content_hash: str
    """SHA-256 over the names and contents of its files, hexadecimal."""
    rules: tuple[Rule, ...]
    acts: Mapping[str, SpeechAct]
    targets: tuple[TargetWords, ...]
    topics: Mapping[Category, re.Pattern[str]]
    """Words by which a correction names what it takes back."""
    basis: BasisBook
    classes: WordClasses
    morphs: Morphs
    allow: AllowList
    index: AnchorIndex
    """Over the patterns of the rules."""
    earlier_index: AnchorIndex
    """Over what they ask for in earlier utterances."""

    @property
    def label(self) -> str:
        """Version and the beginning of the hash, as findings carry them."""
        return f"{self.version}+{self.content_hash[:12]}"


def index_of(patterns: Iterable[Iterable[Pattern]]) -> AnchorIndex:
    """The index over the patterns of each rule, in the order of the rules."""
    by_word: dict[str, set[tuple[int, int]]] = {}
    for rule_number, of_rule in enumerate(patterns):
        for pattern_number, pattern in enumerate(of_rule):
            for word in pattern.anchors:
                by_word.setdefault(word, set()).add((rule_number, pattern_number))
    lengths: dict[str, set[int]] = {}
    for word in by_word:
        lengths.setdefault(word[0], set()).add(len(word))
    return AnchorIndex(
        {word: tuple(sorted(numbers)) for word, numbers in by_word.items()},
        {character: tuple(sorted(found)) for character, found in lengths.items()},
    )
