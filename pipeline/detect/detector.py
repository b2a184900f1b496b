"""Rules and classifier together: one calibrated score a category, and findings that say why."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.detect.acts import ASSERTION, SpeechAct, act_of, target_of
from pipeline.detect.classifier import Classifier, Judged, Scores, load_classifier, strongest
from pipeline.detect.engine import (
    BLOCK_SCORE,
    CONTEXT_MS,
    ENGINE_VERSION,
    UNSURE_WORD,
    RuleReading,
    read_rules,
    told,
    words_in,
)
from pipeline.detect.excused import Excused, excused_in
from pipeline.detect.features import NEIGHBOURS
from pipeline.detect.lexicon import load_rule_pack
from pipeline.detect.normalize import NormalText
from pipeline.detect.pack import Rule, RulePack
from pipeline.detect.pitch import pitch_of
from pipeline.detect.restore import reading_of
from pipeline.records import (
    CATEGORY_NAMES,
    CORE_CATEGORIES,
    SPEECH_ACT_NAMES,
    Category,
    Earlier,
    Finding,
    Utterance,
    Verdict,
    Versions,
    Why,
)

#: What a finding of the classifier alone names as its rule.
MODEL = "model"
#: Later utterances that are looked at: the second half of a claim, what makes it harmless.
LOOK_AHEAD = max(NEIGHBOURS.values())
#: Neighbours are quoted up to this many characters.
_QUOTED = 40
#: In fewer different characters nobody claims anything that a rule would not know.
_FEWEST = 4
_HAN = re.compile("[\u3400-\u9fff]")
#: So many characters before and after a rule's words say whether they are meant.
_CLOSE = 7


@dataclass(frozen=True, slots=True)
class Detected:
    """What is found in one utterance."""

    findings: tuple[Finding, ...]
    """To be raised, by position."""
    shadow: tuple[Finding, ...] = ()
    """Of rules on trial: to be recorded, not raised."""
    excused: tuple[Excused, ...] = ()
    """What rules know and nobody is told of, with the reason."""


@dataclass(frozen=True, slots=True)
class _Said:
    """An utterance with what is around it and what rules and classifier make of it."""

    utterance: Utterance
    before: Sequence[Utterance]
    after: Sequence[Utterance]
    reading: RuleReading
    scores: Scores

    @property
    def text(self) -> NormalText:
        """The normal form."""
        return self.reading.text

    def neighbour(self, distance: int) -> Utterance:
        """The utterance so far away, −1 the one before."""
        return self.before[distance] if distance < 0 else self.after[distance - 1]


@dataclass(frozen=True, slots=True)
class Detector:
    """Judges utterances; read only, and the same answer for the same words."""

    pack: RulePack
    classifier: Classifier

    def detect(
        self,
        utterance: Utterance,
        before: Sequence[Utterance],
        after: Sequence[Utterance],
        on: dt.date,
    ) -> Detected:
        """What is said in `utterance`, with the basis of the day `on`.

        `before` has the earlier utterances of the broadcast and `after` the next ones (LOOK_AHEAD
        count, none while they are not said yet), oldest first. A category is raised where rules and
        classifier together reach its threshold; a rule's finding is kept where one holds, because
        it knows the reason best. Categories of extra packs rest on their rules alone.
        """
        reading = read_rules(self.pack, utterance, before, on)
        if not reading.text.text:
            return Detected(())
        around = self._around(utterance, reading.text, before, after)
        scores = self.classifier.scores(around, self.pack.classes, reading)
        said = _Said(utterance, before, after, reading, scores)
        result = [f for f in reading.findings if f.category not in CORE_CATEGORIES]
        held = strongest(reading.held)
        excused = strongest(match for match, _ in reading.excused)
        silent: dict[Category, Judged] = {}
        for column, category in enumerate(CORE_CATEGORIES):
            judged = self.classifier.calibration[column].judge(
                float(scores.categories[column]), held[column], excused[column]
            )
            if held[column] >= BLOCK_SCORE and not judged.review:
                judged = self._close_up(reading, column, held[column], excused[column])
            if judged.review:
                result += self._raised(said, category, judged, on)
            else:
                silent[category] = judged
        ordered = sorted(result, key=lambda finding: (finding.span, finding.rule))
        passed = excused_in(utterance.text, reading, silent)
        return Detected(tuple(ordered), reading.shadow, passed)

    def _around(
        self,
        utterance: Utterance,
        text: NormalText,
        before: Sequence[Utterance],
        after: Sequence[Utterance],
    ) -> Mapping[int, str]:
        """Normal forms by distance, of what is said within CONTEXT_MS."""
        texts = {0: text.text}
        for distance in NEIGHBOURS.values():
            near = before if distance < 0 else after
            if abs(distance) > len(near):
                continue
            one = near[distance] if distance < 0 else near[distance - 1]
            if abs(one.start_ms - utterance.start_ms) <= CONTEXT_MS:
                texts[distance] = reading_of(one.text, self.pack.morphs).text
        return texts

    def _close_up(self, reading: RuleReading, column: int, rule: float, excused: float) -> Judged:
        """What the words around a rule's match alone say: much plain talk hides a short offence."""
        calibration, text = self.classifier.calibration[column], reading.text.text
        result = Judged(0.0, review=False, block=False)
        for match in reading.held:
            if match.rule.category is CORE_CATEGORIES[column] and match.rule.score >= BLOCK_SCORE:
                near = text[max(0, match.start - _CLOSE) : match.end + _CLOSE]
                scores = self.classifier.scores({0: near}, self.pack.classes, reading)
                judged = calibration.judge(float(scores.categories[column]), rule, excused)
                result = max(result, judged, key=lambda one: one.probability)
        return result

    def _raised(
        self, said: _Said, category: Category, judged: Judged, on: dt.date
    ) -> list[Finding]:
        own = [finding for finding in said.reading.findings if finding.category is category]
        if own:
            return [self._weighed(finding, judged) for finding in own]
        rules = [rule for rule in self.pack.rules if rule.category is category]
        if len(set(_HAN.findall(said.text.text))) < _FEWEST or not rules:
            return []  # a pack without rules of a category does not ask for it
        return [self._alone(said, category, judged, rules, on)]

    def _weighed(self, finding: Finding, judged: Judged) -> Finding:
        """A rule's finding with the score of both; it blocks only where both would."""
        blocks = judged.block and finding.verdict is Verdict.BLOCK
        return replace(
            finding,
            score=round(judged.probability, 3),
            verdict=Verdict.BLOCK if blocks else Verdict.REVIEW,
            versions=self._versions(),
        )

    def _alone(
        self, said: _Said, category: Category, judged: Judged, rules: Sequence[Rule], on: dt.date
    ) -> Finding:
        """A finding that no rule gives: basis and questions are those of a rule of its subtype,
        else of its category."""
        utterance, text = said.utterance, said.text
        subtype = self.classifier.subtype(said.scores, category)
        places = self.classifier.words(text.text, category)
        spans = [text.original_span(start, end) for start, end in places]
        span = (spans[0][0], max(end for _, end in spans))
        spoken = words_in(utterance, span)
        unsure = [word.text for word in spoken if word.probability < UNSURE_WORD]
        example = next((rule for rule in rules if rule.subtype == subtype), rules[0])
        first, last = places[0][0], max(end for _, end in places)
        act = self._act(said, category, (first, last), example)
        return Finding(
            category=category,
            subtype=subtype,
            rule=MODEL,
            score=round(judged.probability, 3),
            verdict=Verdict.REVIEW,
            span=span,
            evidence=utterance.text[span[0] : span[1]],
            start_ms=spoken[0].start_ms if spoken else utterance.start_ms,
            end_ms=spoken[-1].end_ms if spoken else utterance.end_ms,
            why=replace(
                _why(said, category, spans, judged, act, unsure),
                earlier=self._half(said, category),
            ),
            versions=self._versions(),
            speech_act=act.name if act else ASSERTION,
            target=target_of(self.pack.targets, example.target, [text.text]),
            basis=tuple(p.basis for p in self.pack.basis.in_force(example.basis, on)),
            facts_to_check=example.facts_to_check,
            suggestion=example.suggestion,
            pitch=pitch_of(category, subtype, text.text[first:last]),
        )

    def _half(self, said: _Said, category: Category) -> Earlier | None:
        """The nearest utterance before that speaks for the category, with the words that do."""
        before = [distance for distance in said.scores.telling[category] if distance < 0]
        if not before:
            return None
        one = said.neighbour(before[-1])
        text = reading_of(one.text, self.pack.morphs)
        places = self.classifier.words(text.text, category)
        spans = [text.original_span(start, end) for start, end in places]
        return Earlier(one.start_ms, one.text, (spans[0][0], max(end for _, end in spans)))

    def _act(
        self, said: _Said, category: Category, span: tuple[int, int], rule: Rule
    ) -> SpeechAct | None:
        """The act that excused a rule of the category, else one that excuses nothing.

        The words that speak for a category are spread too far to be excused by what is around.
        """
        for match, excuse in said.reading.excused:
            if match.rule.category is category and excuse in self.pack.acts:
                return self.pack.acts[excuse]
        return act_of(rule.noted, said.text, *span)

    def _versions(self) -> Versions:
        return Versions(
            engine=ENGINE_VERSION, rule_pack=self.pack.label, model=self.classifier.version
        )


def load_detector(packs: Sequence[str], weights: Path, lexicons: Path | None = None) -> Detector:
    """The rules in `lexicons`, by default the bundled ones, with extra `packs`, and the classifier
    whose `weights` are in a folder.

    Raises RulePackError or BadInputError where one is broken.
    """
    return Detector(load_rule_pack(lexicons, packs), load_classifier(weights))


def _why(
    said: _Said,
    category: Category,
    spans: Sequence[tuple[int, int]],
    judged: Judged,
    act: SpeechAct | None,
    unsure: Sequence[str],
) -> Why:
    words = tuple(dict.fromkeys(said.utterance.text[start:end] for start, end in spans))
    text = (
        f"没有规则命中;分类模型认为像{CATEGORY_NAMES[category]}"
        f"(把握{judged.probability:.0%}),主要因为“{'”“'.join(words)}”"
    )
    telling = [said.neighbour(distance) for distance in said.scores.telling[category]]
    quoted = tuple(one.text[:_QUOTED] for one in telling)
    if quoted:
        text += f",并结合前后句“{'”“'.join(quoted)}”"
    if act is not None:
        text += _although(said, category, act)
    if unsure:
        text += f"。“{'、'.join(unsure)}”识别把握不大,请听一下录音"
    return Why(text + "。", words, quoted)


def _although(said: _Said, category: Category, act: SpeechAct) -> str:
    """What the act is that the classifier does not believe, or that it leaves to a person."""
    excused = [match for match, by in said.reading.excused if by == act.name]
    rules = [match.rule.id for match in excused if match.rule.category is category]
    if not rules:
        return told(act)
    name = SPEECH_ACT_NAMES.get(act.name, act.name)
    return f"(规则{rules[0]}当作{name}放过,请核对)"
