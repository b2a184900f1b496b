"""What a host takes back, and which earlier claim that concerns. Pure.

A correction is no erasure: the claim was made. It is kept as mitigation, linked to that claim. A
disclaimer (效果因人而异) takes nothing back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.detect.detector import Detected
from pipeline.detect.features import cut
from pipeline.detect.numbers import Role, quantities
from pipeline.detect.pack import RulePack
from pipeline.detect.restore import reading_of
from pipeline.detect.words import frequency
from pipeline.records import Category, Correction, Finding, Utterance

#: A correction concerns what was said at most so long before it …
WITHIN_MS = 90_000
#: … and so many utterances.
WITHIN = 12

#: The speech acts of who takes something back: clearly, or in passing.
ACTS = ("correction", "taking_back")
#: Words that the dictionary has met more often say nothing of the topic.
_COMMON = 5_000
#: Nor do these, which every correction and every broadcast has.
_EMPTY = frozenset(
    (
        *("刚才", "刚刚", "方才", "前面", "上一句", "那句", "这句", "这话", "说错", "讲错", "口误"),
        *("嘴瓢", "嘴快", "收回", "撤回", "更正", "纠正", "准确", "严谨", "算数", "作数", "抱歉"),
        *("道歉", "对不起", "不好意思", "直播间", "家人", "家人们", "姐妹", "姐妹们", "老铁"),
        *("宝宝", "宝贝", "大家", "主播"),
    )
)
_WORD = re.compile("[\u3400-\u9fff]{2,}")
#: Numbers that a claim is known by.
_TELLING = (Role.PRICE, Role.DISCOUNT, Role.PERCENTAGE, Role.DURATION)


@dataclass(frozen=True, slots=True)
class Raised:
    """An utterance and what was found in it."""

    utterance: Utterance
    findings: tuple[Finding, ...]


def is_correction(pack: RulePack, utterance: Utterance) -> bool:
    """Whether the host takes something back in it."""
    text = reading_of(utterance.text, pack.morphs)
    acts = (pack.acts[name] for name in ACTS if name in pack.acts)
    return bool(text.text) and any(act.covers(text, 0, len(text.text)) for act in acts)


def correction_of(utterance: Utterance) -> Correction:
    """The record of a correction."""
    return Correction(utterance.start_ms, utterance.text)


def taken_back(
    pack: RulePack, said: Utterance, detected: Detected, before: Sequence[Raised]
) -> list[tuple[Raised, Finding]]:
    """Which findings of the utterances `before` it, oldest first, the correction `said` concerns.

    Those that it shares words or amounts with; else the last ones of a category that it names;
    else, where it names none, the last ones of all. Both halves of a claim go together.
    `before` counts utterances without findings too.
    """
    near = [
        (one, finding)
        for one in before[-WITHIN:]
        if 0 < said.start_ms - one.utterance.start_ms <= WITHIN_MS
        for finding in one.findings
    ]
    own = _Topic.of(pack, said)
    shared = [(one, f) for one, f in near if own.shares(_Topic.of(pack, one.utterance))]
    named = own.categories | {e.category for e in detected.excused if e.by in ACTS}
    about = [(one, f) for one, f in near if f.category in named] if named else near
    last = about[-1][0] if about else None
    meant = shared or [(one, f) for one, f in about if one is last]
    return [pair for pair in near if pair in meant or any(_is_half(pair, m) for m in meant)]


def _is_half(pair: tuple[Raised, Finding], meant: tuple[Raised, Finding]) -> bool:
    """Whether a finding is the earlier half of a claim that is meant."""
    (one, finding), (_, whole) = pair, meant
    earlier = whole.why.earlier
    return (
        earlier is not None
        and finding.category is whole.category
        and one.utterance.start_ms == earlier.start_ms
    )


@dataclass(frozen=True, slots=True)
class _Topic:
    """What an utterance speaks of."""

    words: frozenset[str]
    amounts: frozenset[tuple[Role, float]]
    categories: frozenset[Category]

    @classmethod
    def of(cls, pack: RulePack, utterance: Utterance) -> _Topic:
        text = reading_of(utterance.text, pack.morphs).text
        words = (word for word in cut(text) if _WORD.fullmatch(word) and word not in _EMPTY)
        return cls(
            frozenset(word for word in words if frequency(word) < _COMMON),
            frozenset(
                (one.role, one.value)
                for one in quantities(text)
                if one.role in _TELLING and one.value is not None
            ),
            frozenset(name for name, found in pack.topics.items() if found.search(text)),
        )

    def shares(self, other: _Topic) -> bool:
        return bool(self.words & other.words or self.amounts & other.amounts)
