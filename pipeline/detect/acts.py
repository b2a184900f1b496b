"""How and of whom something is said: speech acts and targets.

What counts as which is data (lexicons/acts.toml); this is the reading of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.detect.normalize import NormalText

#: An act is looked for this many characters around the span, within its sentence.
REACH = 60

#: What is said straight out, in no act that the pack knows.
ASSERTION = "assertion"

_Regex = re.Pattern[str] | None


class Effect(StrEnum):
    """What an act does to words that a rule flags."""

    EXCUSES = "excuses"
    """They are no claim of the host's own."""
    REVIEW = "review"
    """They stay a suspicion, and a person decides: a question, a quotation."""
    NOTE = "note"
    """They are said with more weight: a promise."""


@dataclass(frozen=True, slots=True)
class ActExample:
    """Words within a text that are said in an act, or are not."""

    text: str
    words: str
    is_said: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One form of an act: every pattern that is given must be found, `unless` must not."""

    before: _Regex = None
    """Ends where the span begins."""
    inside: _Regex = None
    after: _Regex = None
    """Begins where the span ends."""
    around: _Regex = None
    """Anywhere in the sentence of the span."""
    unless: _Regex = None
    """Nowhere in the sentence of the span."""

    def holds(self, text: NormalText, start: int, end: int) -> bool:
        """Whether [start, end) of the normal form is said in this way."""
        left, right = text.sentence(start, end)
        left, right = max(left, start - REACH), min(right, end + REACH)
        found = (
            self.before is None or self.before.search(text.text, left, start),
            self.inside is None or self.inside.search(text.text, start, end),
            self.after is None or self.after.match(text.text, end, right),
            self.around is None or self.around.search(text.text, left, right),
            self.unless is None or not self.unless.search(text.text, left, right),
        )
        return all(found)


@dataclass(frozen=True, slots=True)
class SpeechAct:
    """A way of saying something."""

    name: str
    cases: tuple[Case, ...]
    effect: Effect = Effect.EXCUSES
    examples: tuple[ActExample, ...] = ()

    def covers(self, text: NormalText, start: int, end: int) -> bool:
        """Whether [start, end) of the normal form is said in this act."""
        return any(case.holds(text, start, end) for case in self.cases)


def act_of(acts: Iterable[SpeechAct], text: NormalText, start: int, end: int) -> SpeechAct | None:
    """The first of `acts` in which [start, end) of the normal form is said."""
    return next((act for act in acts if act.covers(text, start, end)), None)


@dataclass(frozen=True, slots=True)
class TargetWords:
    """Words that tell whom something is said of, more exactly than the rule does."""

    name: str
    of: frozenset[str]
    """Only where the rule's target is one of these."""
    words: re.Pattern[str]
    examples: tuple[tuple[str, str], ...] = ()
    """A target of a rule, and a text in which it is this one."""


def target_of(known: Sequence[TargetWords], target: str, texts: Iterable[str]) -> str:
    """Whom something is said of: as the first of `texts` with such words tells, else `target`.

    Within a text the first of `known` counts.
    """
    asked = [one for one in known if target in one.of]
    for text in texts if asked else ():
        for one in asked:
            if one.words.search(text):
                return one.name
    return target
