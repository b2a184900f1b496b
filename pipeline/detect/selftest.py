"""The self-test of a rule pack: every rule flags what it says it flags, and nothing it says passes.

The texts stand beside each rule, so that whoever changes a pattern sees what it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.detect.engine import matches_of
from pipeline.detect.pack import FlagExample, Rule, RulePack
from pipeline.records import Utterance

_PAUSE_MS = 4000


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that a rule does not live up to."""

    rule: str
    kind: str
    """`false_negative`, `wrong_span` or `false_positive`."""
    text: str
    message: str


def self_test(pack: RulePack) -> list[Failure]:
    """Every example that fails; an empty list is a good pack."""
    return [failure for rule in pack.rules for failure in _failures(pack, rule)]


def _failures(pack: RulePack, rule: Rule) -> Iterator[Failure]:
    for flag in rule.flag:
        found = _evidence(pack, rule, flag.text, flag.earlier)
        if not found:
            message = f"{rule.id} must flag {flag.text!r} and does not."
            yield Failure(rule.id, "false_negative", flag.text, message)
        elif flag.span_text not in found:
            yield _wrong_span(rule, flag, found)
    for example in rule.passes:
        for evidence in _evidence(pack, rule, example.text, example.earlier):
            message = f"{rule.id} must let {example.text!r} pass and flags {evidence!r}."
            yield Failure(rule.id, "false_positive", example.text, message)


def _wrong_span(rule: Rule, flag: FlagExample, found: list[str]) -> Failure:
    message = f"{rule.id} must point at {flag.span_text!r} in {flag.text!r} and points at {found}."
    return Failure(rule.id, "wrong_span", flag.text, message)


def _evidence(pack: RulePack, rule: Rule, text: str, earlier: Sequence[str]) -> list[str]:
    context = [
        Utterance(number * _PAUSE_MS, (number + 1) * _PAUSE_MS, item)
        for number, item in enumerate(earlier)
    ]
    start = len(context) * _PAUSE_MS
    matches = matches_of(pack, Utterance(start, start + _PAUSE_MS, text), context)
    return [text[span[0] : span[1]] for found, span in matches if found.id == rule.id]
