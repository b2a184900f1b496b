"""Matching of rules on one utterance: which rule, where, on which words, and what excuses it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.detect.normalize import NormalText
from pipeline.detect.numbers import value_of
from pipeline.detect.pack import Rule, RulePack
from pipeline.detect.patterns import Pattern

#: Exceptions are looked for this many characters around a match, within its sentences.
_EXCEPTION_REACH = 16


#: Gives the utterances before, oldest first, each with how many ms before it began.
Earlier = Callable[[], Sequence[tuple[int, NormalText]]]


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that holds on [start, end) of the normal form."""

    rule: Rule
    start: int
    end: int
    words: tuple[tuple[int, int], ...]
    """[start, end) of every word and number that decided."""
    earlier: int | None = None
    """Number of the earlier utterance that was needed, if one was."""

    def joined(self, other: Match) -> Match:
        """Both as one, for matches of one rule that overlap."""
        return replace(
            self,
            start=min(self.start, other.start),
            end=max(self.end, other.end),
            words=tuple(sorted({*self.words, *other.words})),
        )


def match_rules(pack: RulePack, text: NormalText, earlier: Earlier) -> Iterator[Match]:
    """Every rule that holds somewhere in `text`, in the order of the pack.

    `earlier` is called only when a rule asks for what was said before.
    """
    for rule_number, pattern_number in pack.index.candidates(text.text):
        rule = pack.rules[rule_number]
        for found in rule.patterns[pattern_number].regex.finditer(text.text):
            match = _match(rule, text, found, earlier)
            if match is not None:
                yield match


def _match(rule: Rule, text: NormalText, found: re.Match[str], earlier: Earlier) -> Match | None:
    numbers = _numbers(found)
    position = None
    if rule.earlier:
        position = _earlier_position(rule, numbers, earlier())
        if position is None:
            return None
    elif not _compares(rule, numbers):
        return None
    start, end = found.span()
    if _is_excepted(rule, text, start, end) or _is_excused(rule, text, start, end):
        return None
    return Match(rule, start, end, _words(found), position)


def _earlier_position(
    rule: Rule, numbers: dict[str, float | None], earlier: Sequence[tuple[int, NormalText]]
) -> int | None:
    """Number of the latest earlier utterance with which the rule holds."""
    for position in range(len(earlier) - 1, -1, -1):
        before_ms, text = earlier[position]
        if not 0 <= before_ms <= rule.within_ms:
            continue
        for found in _finds(rule.earlier, text.text):
            start, end = found.span()
            holds = _compares(rule, numbers | _numbers(found))
            if holds and not _is_excused(rule, text, start, end):
                return position
    return None


def _finds(patterns: Sequence[Pattern], text: str) -> Iterator[re.Match[str]]:
    for pattern in patterns:
        if any(anchor in text for anchor in pattern.anchors):
            yield from pattern.regex.finditer(text)


def _numbers(found: re.Match[str]) -> dict[str, float | None]:
    return {name: value_of(text) if text else None for name, text in found.groupdict().items()}


def _compares(rule: Rule, numbers: dict[str, float | None]) -> bool:
    for high_name, low_name in rule.compare:
        high, low = numbers.get(high_name), numbers.get(low_name)
        if high is not None and low is not None and high <= low:
            return False
    return True


def _is_excepted(rule: Rule, text: NormalText, start: int, end: int) -> bool:
    if rule.exceptions is None:
        return False
    left, right = text.sentence(start, end)
    left, right = max(left, start - _EXCEPTION_REACH), min(right, end + _EXCEPTION_REACH)
    return rule.exceptions.search(text.text, left, right) is not None


def _is_excused(rule: Rule, text: NormalText, start: int, end: int) -> bool:
    return any(act.covers(text, start, end) for act in rule.excused_by)


def _words(found: re.Match[str]) -> tuple[tuple[int, int], ...]:
    spans = (found.span(group) for group in range(1, len(found.groups()) + 1))
    return tuple(sorted({span for span in spans if span[0] >= 0 and span[0] < span[1]}))
