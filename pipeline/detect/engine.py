"""Rules on an utterance → findings with span, time, reason, basis and verdict. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.detect.acts import ASSERTION, Effect, SpeechAct, act_of, target_of
from pipeline.detect.normalize import NormalText
from pipeline.detect.pack import Rule, RulePack, RuleStatus
from pipeline.detect.pitch import pitch_of
from pipeline.detect.reading import MAX_WITHIN_S
from pipeline.detect.restore import Change, changes_of, reading_of
from pipeline.detect.rules import Context, Match, match_rules
from pipeline.records import (
    SPEECH_ACT_NAMES,
    Earlier,
    Finding,
    Utterance,
    Verdict,
    Versions,
    Why,
    Word,
)

#: Version of this engine, part of every finding.
ENGINE_VERSION = "2"

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


@dataclass(frozen=True, slots=True)
class RuleReading:
    """What the rules make of one utterance."""

    text: NormalText
    """What it means, in normal form; matches count in it."""
    held: tuple[Match, ...] = ()
    """Every active rule that holds, overlapping ones included."""
    excused: tuple[tuple[Match, str], ...] = ()
    """Matches of active rules that are harmless, with what makes them so: the name of a speech act,
    "exception" or "allowed"."""
    findings: tuple[Finding, ...] = ()
    """By position; of overlapping ones of a category the one with the highest score."""
    shadow: tuple[Finding, ...] = ()
    """The same of rules on trial: to be recorded, not raised."""


def read_rules(
    pack: RulePack, utterance: Utterance, context: Sequence[Utterance], on: dt.date
) -> RuleReading:
    """What holds in `utterance`, what is excused, and the findings with the basis of the day `on`.

    `context` has the earlier utterances of the broadcast, oldest first; a rule looks back as far as
    it says, CONTEXT_MS at most.
    """
    text = reading_of(utterance.text, pack.morphs)
    if not text.text:
        return RuleReading(text)
    view = _View(pack, utterance, text, context, Context(utterance.start_ms, context, pack.morphs))
    matches = _joined(match_rules(pack, text, view.before))
    held = [match for match, excuse in matches if not excuse]
    active = [match for match in held if match.rule.status is RuleStatus.ACTIVE]
    shadow = [match for match in held if match.rule.status is RuleStatus.SHADOW]
    return RuleReading(
        text,
        tuple(active),
        tuple(
            (match, excuse)
            for match, excuse in matches
            if excuse and match.rule.status is RuleStatus.ACTIVE
        ),
        tuple(_strongest(_finding(view, match, on) for match in active)),
        tuple(_strongest(_finding(view, match, on) for match in shadow)),
    )


@dataclass(frozen=True, slots=True)
class _View:
    """An utterance with its normal form and the utterances before it."""

    pack: RulePack
    utterance: Utterance
    text: NormalText
    context: Sequence[Utterance]
    before: Context


def _joined(matches: Iterable[tuple[Match, str]]) -> list[tuple[Match, str]]:
    """By rule and position; those of one rule that overlap or nearly touch joined into one."""
    kept: dict[tuple[str, str], list[Match]] = {}
    for match, excuse in sorted(matches, key=_position):
        of_rule = kept.setdefault((match.rule.id, excuse), [])
        if of_rule and match.start <= of_rule[-1].end + _SAME_BREATH:
            of_rule[-1] = of_rule[-1].joined(match)
        else:
            of_rule.append(match)
    return [(match, excuse) for (_, excuse), of_rule in kept.items() for match in of_rule]


def _position(found: tuple[Match, str]) -> tuple[int, int]:
    return found[0].start, found[0].end


def _strongest(findings: Iterable[Finding]) -> list[Finding]:
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


def _finding(view: _View, match: Match, on: dt.date) -> Finding:
    rule, utterance, book = match.rule, view.utterance, view.pack.basis
    span = view.text.original_span(match.start, match.end)
    spoken = words_in(utterance, span)
    unsure = [word.text for word in spoken if word.probability < UNSURE_WORD]
    act = act_of(rule.noted, view.text, match.start, match.end)
    return Finding(
        category=rule.category,
        subtype=rule.subtype,
        rule=rule.id,
        score=rule.score,
        verdict=_verdict(rule, act, unsure),
        span=span,
        evidence=utterance.text[span[0] : span[1]],
        start_ms=spoken[0].start_ms if spoken else utterance.start_ms,
        end_ms=spoken[-1].end_ms if spoken else utterance.end_ms,
        why=_why(view, match, span, act, unsure),
        versions=Versions(engine=ENGINE_VERSION, rule_pack=view.pack.label),
        speech_act=act.name if act else ASSERTION,
        target=_target(view, match),
        basis=tuple(provision.basis for provision in book.in_force(rule.basis, on)),
        facts_to_check=rule.facts_to_check,
        suggestion=rule.suggestion,
        shadow=rule.status is RuleStatus.SHADOW,
        pitch=pitch_of(rule.category, rule.subtype, view.text.text[match.start : match.end]),
    )


def _verdict(rule: Rule, act: SpeechAct | None, unsure: list[str]) -> Verdict:
    if rule.score < REVIEW_SCORE:
        return Verdict.PASS
    doubtful = bool(unsure) or (act is not None and act.effect is Effect.REVIEW)
    if rule.score >= BLOCK_SCORE and rule.severity >= BLOCK_SEVERITY and not doubtful:
        return Verdict.BLOCK
    return Verdict.REVIEW


def _target(view: _View, match: Match) -> str:
    """As the words of the match tell, else its sentences, else the earlier half."""
    left, right = view.text.sentence(match.start, match.end)
    texts = [view.text.text[match.start : match.end], view.text.text[left:right]]
    if match.earlier is not None:
        texts.append(view.before.text(match.earlier.number).text)
    return target_of(view.pack.targets, match.rule.target, texts)


def told(act: SpeechAct) -> str:
    """What an act means for the reviewer of words that are raised nevertheless."""
    name = SPEECH_ACT_NAMES.get(act.name, act.name)
    if act.effect is Effect.NOTE:
        return f"(语气:{name})"
    return f"(像是{name},请结合前后文判断)"


def _why(
    view: _View, match: Match, span: tuple[int, int], act: SpeechAct | None, unsure: list[str]
) -> Why:
    original = view.utterance.text
    inside = [word for word in match.words if not _is_within_another(word, match.words)]
    spans = [view.text.original_span(*word) for word in inside]
    words = tuple(dict.fromkeys(original[start:end] for start, end in spans))
    earlier = _earlier(view, match)
    text = match.rule.why.format(evidence=original[span[0] : span[1]])
    restored = _restored(view, span)
    if restored:
        text += f"({restored})"
    if earlier is not None:
        text += f"(结合前句:“{earlier.text}”)"
    if act is not None:
        text += told(act)
    if unsure:
        text += f"。“{'、'.join(unsure)}”识别把握不大,请听一下录音"
    return Why(text, words, () if earlier is None else (earlier.text,), earlier)


def _restored(view: _View, span: tuple[int, int]) -> str:
    """What was read as something else within a span: “薇信”按“微信”理解."""
    original = view.utterance.text
    changes: dict[str, Change] = {
        original[change.start : change.end]: change
        for change in changes_of(original, view.pack.morphs)
        if _overlap((change.start, change.end), span)
    }
    return "、".join(f"“{said}”按“{change.meant}”理解" for said, change in changes.items())


def _earlier(view: _View, match: Match) -> Earlier | None:
    found = match.earlier
    if found is None:
        return None
    said = view.context[found.number]
    span = view.before.text(found.number).original_span(found.start, found.end)
    return Earlier(said.start_ms, said.text, span)


def _is_within_another(word: tuple[int, int], words: Sequence[tuple[int, int]]) -> bool:
    return any(a <= word[0] and word[1] <= b and (a, b) != word for a, b in words)


def words_in(utterance: Utterance, span: tuple[int, int]) -> list[Word]:
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
