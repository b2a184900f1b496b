"""What rules know and nobody is told of, with the reason: for whoever asks why a line is clean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline.detect.classifier import Judged
from pipeline.detect.engine import RuleReading
from pipeline.detect.rules import ALLOWED, EXCEPTION, Match
from pipeline.records import SPEECH_ACT_NAMES, Category

#: What excuses a match besides the speech acts of the pack and rules.EXCEPTION and ALLOWED.
OVERRULED = "overruled"

_REASONS = {
    EXCEPTION: "旁边有这条规则写明的例外词",
    ALLOWED: "是放行词表里的说法",
}


@dataclass(frozen=True, slots=True)
class Excused:
    """Words that a rule knows and that were let pass."""

    category: Category
    subtype: str
    rule: str
    span: tuple[int, int]
    """[a, b) in the characters of the utterance's original text."""
    evidence: str
    """The characters of the span."""
    by: str
    """Name of a speech act, "exception", "allowed", or "overruled" by the classifier."""
    why: str
    """One sentence, Simplified Chinese."""

    def moved(self, by: int) -> Excused:
        """The same where the text begins so many characters earlier."""
        return replace(self, span=(self.span[0] + by, self.span[1] + by))


def excused_in(
    original: str, reading: RuleReading, judged: Mapping[Category, Judged]
) -> tuple[Excused, ...]:
    """By position, what a reading of `original` excuses and what the classifier overrules.

    `judged` has the categories in which nothing is raised.
    """
    found = [
        _excused(original, reading, match, by, _reason(by)) for match, by in reading.excused
    ] + list(_overruled(original, reading, judged))
    return tuple(sorted(found, key=lambda one: (one.span, one.rule)))


def _overruled(
    original: str, reading: RuleReading, judged: Mapping[Category, Judged]
) -> Iterator[Excused]:
    for match in reading.held:
        verdict = judged.get(match.rule.category)
        if verdict is not None:
            reason = f"规则命中,但分类模型结合前后文认为不像(把握{verdict.probability:.0%})"
            yield _excused(original, reading, match, OVERRULED, reason)


def _excused(original: str, reading: RuleReading, match: Match, by: str, reason: str) -> Excused:
    span = reading.text.original_span(match.start, match.end)
    evidence = original[span[0] : span[1]]
    rule = match.rule
    why = f"“{evidence}”:{reason},没有提示。"
    return Excused(rule.category, rule.subtype, rule.id, span, evidence, by, why)


def _reason(by: str) -> str:
    name = SPEECH_ACT_NAMES.get(by, by)
    return _REASONS.get(by, f"这是{name},不算主播自己的断言")
