"""The self-test of a rule pack: every rule flags what it says it flags, and nothing it says passes.

The texts stand beside each rule, allowed wording and morph, so that whoever changes one sees what
it breaks.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.detect.acts import SpeechAct, TargetWords, target_of
from pipeline.detect.allow import Allowed, allow_list
from pipeline.detect.engine import read_rules
from pipeline.detect.pack import FlagExample, Rule, RulePack, RuleStatus
from pipeline.detect.restore import reading_of
from pipeline.records import Utterance

_PAUSE_MS = 4000
#: Examples say nothing of dates, and a basis does not decide whether a rule holds.
_ANY_DAY = dt.date(2026, 2, 1)


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that a pack does not live up to."""

    rule: str
    """Id of the rule, "allow", "morphs", or the name of a speech act or target."""
    kind: str
    """`false_negative`, `wrong_span` or `false_positive`."""
    text: str
    message: str


def self_test(pack: RulePack) -> list[Failure]:
    """Every example that fails; an empty list is a good pack. Rules on trial count like others."""
    tried = all_active(pack)
    return [
        *(failure for rule in tried.rules for failure in _failures(tried, rule)),
        *(failure for entry in pack.allow.entries for failure in _flagged(tried, entry)),
        *(failure for act in pack.acts.values() for failure in _misheard(pack, act)),
        *(failure for target in pack.targets for failure in _mistaken(pack, target)),
        *_misread(pack),
    ]


def examples_in(pack: RulePack) -> int:
    """Number of examples that `self_test` tries."""
    of_rules = sum(len(rule.flag) + len(rule.passes) for rule in pack.rules)
    allowed = sum(len(entry.passes) for entry in pack.allow.entries)
    acts = sum(len(act.examples) for act in pack.acts.values())
    targets = sum(len(target.examples) for target in pack.targets)
    return of_rules + allowed + acts + targets + len(pack.morphs.examples)


def warnings(pack: RulePack, on: dt.date) -> list[str]:
    """What a pack can work with and its author should know, one sentence each."""
    bare = replace(all_active(pack), allow=allow_list(()))
    return [
        *(
            f"{rule.id} rests on nothing that is in force on {on}."
            for rule in pack.rules
            if not pack.basis.in_force(rule.basis, on)
        ),
        *(
            f"allow: {text!r} would pass without its entry ({entry.reason})."
            for entry in pack.allow.entries
            for text in entry.passes
            if not _evidence(bare, text)
        ),
    ]


def all_active(pack: RulePack) -> RulePack:
    """The pack as it is when every rule on trial is raised."""
    rules = tuple(replace(rule, status=RuleStatus.ACTIVE) for rule in pack.rules)
    return replace(pack, rules=rules)


def _failures(pack: RulePack, rule: Rule) -> Iterator[Failure]:
    for flag in rule.flag:
        found = _of_rule(pack, rule, flag.text, flag.earlier)
        if not found:
            message = f"{rule.id} must flag {flag.text!r} and does not."
            yield Failure(rule.id, "false_negative", flag.text, message)
        elif flag.span_text not in found:
            yield _wrong_span(rule, flag, found)
    for example in rule.passes:
        for evidence in _of_rule(pack, rule, example.text, example.earlier):
            message = f"{rule.id} must let {example.text!r} pass and flags {evidence!r}."
            yield Failure(rule.id, "false_positive", example.text, message)


def _wrong_span(rule: Rule, flag: FlagExample, found: list[str]) -> Failure:
    message = f"{rule.id} must point at {flag.span_text!r} in {flag.text!r} and points at {found}."
    return Failure(rule.id, "wrong_span", flag.text, message)


def _flagged(pack: RulePack, entry: Allowed) -> Iterator[Failure]:
    for text in entry.passes:
        for rule, evidence in _evidence(pack, text):
            message = f"allow: {text!r} must pass ({entry.reason}) and {rule} flags {evidence!r}."
            yield Failure("allow", "false_positive", text, message)


def _misheard(pack: RulePack, act: SpeechAct) -> Iterator[Failure]:
    for example in act.examples:
        text = reading_of(example.text, pack.morphs)
        words = reading_of(example.words, pack.morphs).text
        start = text.text.find(words)
        if start < 0 or act.covers(text, start, start + len(words)) is not example.is_said:
            kind = "false_negative" if example.is_said else "false_positive"
            must = "must" if example.is_said else "must not"
            message = f"{act.name} {must} cover {example.words!r} in {example.text!r}."
            yield Failure(act.name, kind, example.text, message)


def _mistaken(pack: RulePack, target: TargetWords) -> Iterator[Failure]:
    for default, text in target.examples:
        read = target_of(pack.targets, default, [reading_of(text, pack.morphs).text])
        if read != target.name:
            message = f"{text!r} speaks of {target.name} and is taken to speak of {read}."
            yield Failure(target.name, "false_negative", text, message)


def _misread(pack: RulePack) -> Iterator[Failure]:
    for example in pack.morphs.examples:
        read = reading_of(example.text, pack.morphs).text
        if read != example.restored:
            kind = "false_positive" if example.restored == example.text else "false_negative"
            message = (
                f"morphs: {example.text!r} means {example.restored!r} and is read as {read!r}."
            )
            yield Failure("morphs", kind, example.text, message)


def _of_rule(pack: RulePack, rule: Rule, text: str, earlier: Sequence[str]) -> list[str]:
    return [evidence for id_, evidence in _evidence(pack, text, earlier) if id_ == rule.id]


def _evidence(pack: RulePack, text: str, earlier: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Id of every rule that holds, with what it points at."""
    context = [
        Utterance(number * _PAUSE_MS, (number + 1) * _PAUSE_MS, item)
        for number, item in enumerate(earlier)
    ]
    start = len(context) * _PAUSE_MS
    reading = read_rules(pack, Utterance(start, start + _PAUSE_MS, text), context, _ANY_DAY)
    spans = [(match, reading.text.original_span(match.start, match.end)) for match in reading.held]
    return [(match.rule.id, text[span[0] : span[1]]) for match, span in spans]
