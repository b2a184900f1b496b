"""Rules on an utterance → findings with span, time, reason, basis and verdict. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.detect.normalize import NormalText, normalize
from pipeline.detect.pack import Rule, RulePack
from pipeline.detect.reading import MAX_WITHIN_S
from pipeline.detect.rules import Match, match_rules
from pipeline.records import Finding, Utterance, Verdict, Versions, Why, Word

#: Version of this engine, part of every finding.
ENGINE_VERSION = "1"

#: No rule looks back further than this.
CONTEXT_MS = MAX_WITHIN_S * 1000

#: From these scores on. A score is the author's prior for a rule, not calibrated on data: it
#: orders rules, and 0.9 does not mean that nine of ten findings hold.
BLOCK_SCORE = 0.85
REVIEW_SCORE = 0.4
#: Lighter offences are never blocked without a person.
BLOCK_SEVERITY = 3
#: Matches of one rule with at most this many characters between them are one pitch.
_SAME_BREATH = 4
#: Below this probability a recognised word that decided must be listened to.
UNSURE_WORD = 0.5


def detect(
    pack: RulePack, utterance: Utterance, context: Sequence[Utterance], on: dt.date
) -> tuple[Finding, ...]:
    """Findings whose span lies in `utterance`, by position; the basis is that of the day `on`.

    `context` has the earlier utterances of the broadcast, oldest first; a rule looks back as far as
    it says, CONTEXT_MS at most. Of overlapping findings of a category the one with the
    highest score stays.
    """
    text = normalize(utterance.text)
    if not text.text:
        return ()
    view = _View(utterance, text, context)
    found = [_finding(pack, view, match, on) for match in _matches(pack, view)]
    return tuple(_strongest(found))


def matches_of(
    pack: RulePack, utterance: Utterance, context: Sequence[Utterance]
) -> list[tuple[Rule, tuple[int, int]]]:
    """Every rule that holds with its span in the original text, overlapping ones included."""
    view = _View(utterance, normalize(utterance.text), context)
    return [
        (match.rule, view.text.original_span(match.start, match.end))
        for match in _matches(pack, view)
    ]


@dataclass(frozen=True, slots=True)
class _View:
    """An utterance with its normal form and the utterances before it."""

    utterance: Utterance
    text: NormalText
    context: Sequence[Utterance]

    def earlier(self) -> list[tuple[int, NormalText]]:
        """The context in normal form, each with how many ms before the utterance it began."""
        start = self.utterance.start_ms
        return [(start - item.start_ms, normalize(item.text)) for item in self.context]


def _matches(pack: RulePack, view: _View) -> list[Match]:
    """Matches of each rule by position, those that overlap or nearly touch joined into one."""
    kept: dict[str, list[Match]] = {}
    for match in sorted(match_rules(pack, view.text, view.earlier), key=_position):
        of_rule = kept.setdefault(match.rule.id, [])
        if of_rule and match.start <= of_rule[-1].end + _SAME_BREATH:
            of_rule[-1] = of_rule[-1].joined(match)
        else:
            of_rule.append(match)
    return [match for of_rule in kept.values() for match in of_rule]


def _position(match: Match) -> tuple[int, int]:
    return match.start, match.end


def _strongest(findings: list[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    for finding in sorted(findings, key=_strength, reverse=True):
        if not any(
            finding.category is other.category and _overlap(finding.span, other.span)
            for other in kept
        ):
            kept.append(finding)
    return sorted(kept, key=lambda finding: (finding.span, finding.rule))


def _strength(finding: Finding) -> tuple[float, int, str]:
    return finding.score, finding.span[1] - finding.span[0], finding.rule


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _finding(pack: RulePack, view: _View, match: Match, on: dt.date) -> Finding:
    rule, utterance = match.rule, view.utterance
    span = view.text.original_span(match.start, match.end)
    spoken = _words_in(utterance, span)
    evidence = utterance.text[span[0] : span[1]]
    unsure = [word.text for word in spoken if word.probability < UNSURE_WORD]
    return Finding(
        category=rule.category,
        subtype=rule.subtype,
        rule=rule.id,
        score=rule.score,
        verdict=_verdict(rule, unsure),
        span=span,
        evidence=evidence,
        start_ms=spoken[0].start_ms if spoken else utterance.start_ms,
        end_ms=spoken[-1].end_ms if spoken else utterance.end_ms,
        why=_why(view, match, evidence, unsure),
        versions=Versions(engine=ENGINE_VERSION, rule_pack=pack.label),
        target=rule.target,
        basis=tuple(provision.basis for provision in pack.basis.in_force(rule.basis, on)),
        facts_to_check=rule.facts_to_check,
        suggestion=rule.suggestion,
    )


def _verdict(rule: Rule, unsure: list[str]) -> Verdict:
    if rule.score < REVIEW_SCORE:
        return Verdict.PASS
    if rule.score >= BLOCK_SCORE and rule.severity >= BLOCK_SEVERITY and not unsure:
        return Verdict.BLOCK
    return Verdict.REVIEW


def _why(view: _View, match: Match, evidence: str, unsure: list[str]) -> Why:
    original = view.utterance.text
    inside = [word for word in match.words if not _is_within_another(word, match.words)]
    spans = [view.text.original_span(*word) for word in inside]
    words = tuple(dict.fromkeys(original[start:end] for start, end in spans))
    context = () if match.earlier is None else (view.context[match.earlier].text,)
    text = match.rule.why.format(evidence=evidence)
    if context:
        text += f"(结合前句:“{context[0]}”)"
    if unsure:
        text += f"“{'、'.join(unsure)}”识别把握不大,请听一下录音。"
    return Why(text, words, context)


def _is_within_another(word: tuple[int, int], words: Sequence[tuple[int, int]]) -> bool:
    return any(a <= word[0] and word[1] <= b and (a, b) != word for a, b in words)


def _words_in(utterance: Utterance, span: tuple[int, int]) -> list[Word]:
    """The timed words that the span touches; empty when words and text do not agree."""
    touched = []
    end = 0
    for word in utterance.words:
        begin = utterance.text.find(word.text, end)
        if begin < 0:
            return []
        end = begin + len(word.text)
        if begin < span[1] and span[0] < end and word.text.strip():
            touched.append(word)
    return touched
