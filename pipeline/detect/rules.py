"""Matching of rules on one utterance: which rule, where, on which words, and what excuses it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pipeline.detect.allow import AllowList, hidden
from pipeline.detect.morphs import Morphs
from pipeline.detect.normalize import NormalText
from pipeline.detect.numbers import value_of
from pipeline.detect.pack import AnchorIndex, Rule, RulePack
from pipeline.detect.restore import reading_of
from pipeline.records import Utterance

#: What excuses a match besides the speech acts of the pack.
EXCEPTION, ALLOWED = "exception", "allowed"
#: Exceptions are looked for this many characters around a match, within its sentences.
_EXCEPTION_REACH = 16

_Numbers = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class EarlierMatch:
    """What an earlier utterance adds to a match."""

    number: int
    """Of the utterance in the context."""
    start: int
    end: int
    """[start, end) of its normal form."""


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that holds on [start, end) of the normal form."""

    rule: Rule
    start: int
    end: int
    words: tuple[tuple[int, int], ...]
    """[start, end) of every word and number that decided."""
    earlier: EarlierMatch | None = None
    """In the earlier utterance that was needed, if one was."""

    def joined(self, other: Match) -> Match:
        """Both as one, for matches of one rule that overlap."""
        return replace(
            self,
            start=min(self.start, other.start),
            end=max(self.end, other.end),
            words=tuple(sorted({*self.words, *other.words})),
        )


class Context:
    """The utterances before one, oldest first; each is read when a rule first asks for it."""

    def __init__(self, start_ms: int, said: Sequence[Utterance], morphs: Morphs) -> None:
        self._start_ms = start_ms
        self._said = said
        self._morphs = morphs
        self._texts: dict[int, NormalText] = {}

    def within(self, ms: int) -> Iterator[tuple[int, NormalText]]:
        """Those that began at most `ms` before, latest first, each with its number."""
        for number in range(len(self._said) - 1, -1, -1):
            if 0 <= self._start_ms - self._said[number].start_ms <= ms:
                yield number, self.text(number)

    def text(self, number: int) -> NormalText:
        """The normal form of one of them."""
        if number not in self._texts:
            self._texts[number] = reading_of(self._said[number].text, self._morphs)
        return self._texts[number]


def match_rules(pack: RulePack, text: NormalText, context: Context) -> Iterator[tuple[Match, str]]:
    """Every rule that holds somewhere in `text`, in the order of the pack, with its excuse.

    The excuse is the name of a speech act, EXCEPTION, ALLOWED, or empty: then the match stands.
    """
    for rule_number, pattern_number in pack.index.candidates(text.text):
        rule = pack.rules[rule_number]
        pattern = rule.patterns[pattern_number]
        for found, is_allowed in _occurrences(pattern.regex, text.text, pack.allow):
            match = _match(pack, rule_number, found, context)
            if match is not None:
                yield match, ALLOWED if is_allowed else _excuse(rule, text, *found.span())


def _occurrences(
    regex: re.Pattern[str], text: str, allow: AllowList
) -> Iterator[tuple[re.Match[str], bool]]:
    """Matches from left to right, and whether an allowed wording covers one of their words.

    Such a match is searched for again without that wording: behind it another may hide.
    """
    visible, at = text, 0
    while (found := regex.search(visible, at)) is not None:
        covering = allow.covering(text, _words(found))
        yield found, bool(covering)
        if covering:
            visible, at = hidden(visible, covering), found.start()
        else:
            at = found.end()


def _match(
    pack: RulePack, rule_number: int, found: re.Match[str], context: Context
) -> Match | None:
    """The match, where its numbers compare as the rule asks and what it needs was said before."""
    rule, numbers = pack.rules[rule_number], _numbers(found)
    earlier = None
    if rule.earlier:
        earlier = _earlier(pack, rule_number, numbers, context)
        if earlier is None:
            return None
    elif not _compares(rule, numbers):
        return None
    return Match(rule, *found.span(), _words(found), earlier)


def _earlier(
    pack: RulePack, rule_number: int, numbers: _Numbers, context: Context
) -> EarlierMatch | None:
    """The latest place before with which the rule holds."""
    rule = pack.rules[rule_number]
    for number, text in context.within(rule.within_ms):
        for found in _earlier_finds(pack, rule_number, text.text):
            holds = _compares(rule, numbers | _numbers(found))
            if holds and not _act(rule, text, *found.span()):
                return EarlierMatch(number, *found.span())
    return None


def _earlier_finds(pack: RulePack, rule_number: int, text: str) -> Iterator[re.Match[str]]:
    rule = pack.rules[rule_number]
    for pattern_number in _candidates(pack.earlier_index, text).get(rule_number, ()):
        regex = rule.earlier[pattern_number].regex
        for found, is_allowed in _occurrences(regex, text, pack.allow):
            if not is_allowed:
                yield found


@lru_cache(maxsize=4096)
def _candidates(index: AnchorIndex, text: str) -> dict[int, list[int]]:
    """Numbers of the patterns that may match in an earlier text, by rule: looked up once a text."""
    by_rule: dict[int, list[int]] = {}
    for rule_number, pattern_number in index.candidates(text):
        by_rule.setdefault(rule_number, []).append(pattern_number)
    return by_rule


def _numbers(found: re.Match[str]) -> _Numbers:
    return {name: value_of(text) if text else None for name, text in found.groupdict().items()}


def _compares(rule: Rule, numbers: _Numbers) -> bool:
    for high_name, low_name in rule.compare:
        high, low = numbers.get(high_name), numbers.get(low_name)
        if high is not None and low is not None and high <= low:
            return False
    return True


def _excuse(rule: Rule, text: NormalText, start: int, end: int) -> str:
    return EXCEPTION if _is_excepted(rule, text, start, end) else _act(rule, text, start, end)


def _is_excepted(rule: Rule, text: NormalText, start: int, end: int) -> bool:
    if rule.exceptions is None:
        return False
    left, right = text.sentence(start, end)
    left, right = max(left, start - _EXCEPTION_REACH), min(right, end + _EXCEPTION_REACH)
    return rule.exceptions.search(text.text, left, right) is not None


def _act(rule: Rule, text: NormalText, start: int, end: int) -> str:
    """Name of the speech act that excuses [start, end), empty where none does."""
    return next((act.name for act in rule.excused_by if act.covers(text, start, end)), "")


def _words(found: re.Match[str]) -> tuple[tuple[int, int], ...]:
    spans = (found.span(group) for group in range(1, len(found.groups()) + 1))
    return tuple(sorted({span for span in spans if span[0] >= 0 and span[0] < span[1]}))
