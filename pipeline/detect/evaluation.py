"""How well findings agree with labelled broadcasts: counts, rates, calibration and the errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.detect.corpus import Broadcast, LabelledLine, claims
from pipeline.records import CORE_CATEGORIES, SUBTYPE_LETTERS, Category, Finding

#: Findings of the categories and subtypes of one utterance.
Judgement = Sequence[Finding]
_BINS = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one category or subtype, in utterances."""

    hits: int
    raised: int
    true: int

    @property
    def precision(self) -> float:
        """Share of what is raised that is true; 1 where nothing is raised."""
        return self.hits / self.raised if self.raised else 1.0

    @property
    def recall(self) -> float:
        """Share of what is true that is raised; 1 where nothing is true."""
        return self.hits / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.hits / (self.raised + self.true) if self.raised + self.true else 1.0


@dataclass(frozen=True, slots=True)
class Mistake:
    """An utterance whose categories are not what a person says."""

    broadcast: str
    number: int
    """Of the line, from 1."""
    line: LabelledLine
    raised: frozenset[Category]
    before: str


@dataclass(frozen=True, slots=True)
class Rate:
    """Some of many."""

    some: int
    all: int

    @property
    def share(self) -> float:
        """0 where there are none at all."""
        return self.some / self.all if self.all else 0.0


@dataclass(frozen=True, slots=True)
class Bin:
    """Findings of similar score: a calibrated score says how many of them hold."""

    mean_score: float
    hits: int
    count: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything `tingbo eval` prints."""

    lines: int
    broadcasts: int
    categories: Mapping[Category, Counts]
    subtypes: Mapping[str, Rate]
    """Utterances of each subtype of which the category was raised."""
    look_alikes: Rate
    """Look-alikes that something was raised of."""
    plain: Rate
    claims: Rate
    """Claims spread over utterances that were raised in at least one of them."""
    calibration: Sequence[Bin]
    mistakes: Sequence[Mistake]

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the four categories."""
        return sum(counts.f1 for counts in self.categories.values()) / len(self.categories)


@dataclass(slots=True)
class _Tally:
    hits: Counter[Category] = field(default_factory=Counter)
    raised: Counter[Category] = field(default_factory=Counter)
    true: Counter[Category] = field(default_factory=Counter)
    subtypes: Counter[str] = field(default_factory=Counter)
    subtype_hits: Counter[str] = field(default_factory=Counter)
    scores: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, line: LabelledLine, found: Judgement) -> frozenset[Category]:
        """Count one utterance; the categories that were raised."""
        raised = frozenset(f.category for f in found if f.category in CORE_CATEGORIES)
        self.true.update(line.categories)
        self.raised.update(raised)
        self.hits.update(raised & line.categories)
        letters = {SUBTYPE_LETTERS[category] for category in raised}
        self.subtypes.update(line.subtypes)
        self.subtype_hits.update(name for name in line.subtypes if name[0] in letters)
        for category in raised:
            score = max(f.score for f in found if f.category is category)
            self.scores.append((score, category in line.categories))
        return raised


def evaluate(broadcasts: Sequence[Broadcast], judged: Sequence[Sequence[Judgement]]) -> Evaluation:
    """Compare labels with `judged`, the findings of every line of every broadcast."""
    tally = _Tally()
    raised: list[list[frozenset[Category]]] = []
    for broadcast, findings in zip(broadcasts, judged, strict=True):
        pairs = zip(broadcast.lines, findings, strict=True)
        raised.append([tally.add(line, found) for line, found in pairs])
    rows = [
        (line, found)
        for broadcast, of_broadcast in zip(broadcasts, raised, strict=True)
        for line, found in zip(broadcast.lines, of_broadcast, strict=True)
    ]
    alike = [bool(found) for line, found in rows if line.look_alike]
    plain = [bool(found) for line, found in rows if not line.categories and not line.look_alike]
    whole = [
        any(category in of_broadcast[number] for number in numbers)
        for broadcast, of_broadcast in zip(broadcasts, raised, strict=True)
        for category, numbers in claims(broadcast)
    ]
    return Evaluation(
        lines=len(rows),
        broadcasts=len(broadcasts),
        categories={
            c: Counts(tally.hits[c], tally.raised[c], tally.true[c]) for c in CORE_CATEGORIES
        },
        subtypes={
            name: Rate(tally.subtype_hits[name], count)
            for name, count in sorted(tally.subtypes.items())
        },
        look_alikes=Rate(sum(alike), len(alike)),
        plain=Rate(sum(plain), len(plain)),
        claims=Rate(sum(whole), len(whole)),
        calibration=tuple(_bins(tally.scores)),
        mistakes=tuple(_mistakes(broadcasts, raised)),
    )


def _bins(scores: Sequence[tuple[float, bool]]) -> Iterator[Bin]:
    ordered = sorted(scores)
    for number in range(_BINS):
        part = ordered[len(ordered) * number // _BINS : len(ordered) * (number + 1) // _BINS]
        if part:
            mean = sum(score for score, _ in part) / len(part)
            yield Bin(mean, sum(hit for _, hit in part), len(part))


def _mistakes(
    broadcasts: Sequence[Broadcast], raised: Sequence[Sequence[frozenset[Category]]]
) -> Iterator[Mistake]:
    for broadcast, of_broadcast in zip(broadcasts, raised, strict=True):
        before = ""
        for number, (line, found) in enumerate(zip(broadcast.lines, of_broadcast, strict=True), 1):
            if found != line.categories:
                yield Mistake(broadcast.name, number, line, found, before)
            before = line.text
