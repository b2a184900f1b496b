"""The classifier: features of an utterance → how likely each category is, and which words say so.

One linear model a category on top of `features.py`, trained by `training.py` with scikit-learn. The
weights are plain arrays (no pickle), so a worker needs neither scikit-learn nor SciPy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.engine import BLOCK_SCORE, REVIEW_SCORE, RuleReading
from pipeline.detect.features import (
    NEIGHBOURS,
    WEIGHTS,
    Group,
    masked,
    meaning_of,
    neighbour_of,
    sounds_of,
    word_names,
    words_of,
)
from pipeline.detect.rules import Match
from pipeline.detect.wordclasses import WordClasses
from pipeline.errors import BadInputError
from pipeline.records import CORE_CATEGORIES, SUBTYPE_LETTERS, Category

FILE, CARD = "weights.npz", "card.json"
#: Of the file; it grows when its content changes its meaning.
FORMAT = 1
#: Below this probability a rule that blocks is overruled: 有人问加不加微信,不加.
DOUBT = 0.04
#: Words named in an explanation.
_MOST_WORDS = 4
#: A neighbour that adds at least so much to the linear score is named in the explanation.
_TELLING = 0.3

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judged:
    """What rules and classifier together say of one utterance and one category."""

    probability: float
    """Calibrated on utterances of broadcasts that the weights were not trained on."""
    review: bool
    """At or above the category's threshold of review, a lower one where a rule holds."""
    block: bool
    """At or above its threshold of blocking."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """From the linear score and the rules to a probability, and its thresholds."""

    model: float
    rule: float
    excused: float
    offset: float
    review: float
    ruled: float
    """Threshold of review where a rule holds: short offences leave the classifier little."""
    block: float
    trusted: float
    """Share of violations where a rule that blocks holds and is not overruled."""

    def probability(self, score: float, rule: float, excused: float) -> float:
        """`rule` and `excused` are scores of the strongest rule of the kind, 0 for none."""
        logit = self.model * score + self.rule * rule + self.excused * excused + self.offset
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))

    def judge(self, score: float, rule: float, excused: float) -> Judged:
        """The probability and what follows from it."""
        probability = self.probability(score, rule, excused)
        review, block = probability >= self.threshold(rule), probability >= self.block
        if review and rule >= BLOCK_SCORE:
            probability = max(probability, self.trusted)
        return Judged(probability, review, block)

    def threshold(self, rule: float) -> float:
        """The probability from which on a person should look, with such a rule or without one."""
        if rule >= BLOCK_SCORE:
            return min(DOUBT, self.ruled)
        return self.ruled if rule >= REVIEW_SCORE else self.review


@dataclass(frozen=True, slots=True)
class Line:
    """What the classifier needs of one normal form, wherever it stands."""

    own: Vector
    """What its words and sounds add to the scores, [categories + subtypes]."""
    beside: Mapping[Group, Vector]
    """What it adds to those of its neighbours."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Linear scores of one utterance."""

    categories: Vector
    subtypes: Vector
    telling: Mapping[Category, tuple[int, ...]]
    """Per category, how far the neighbours stand that speak for it: −1 is the one before."""


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Weights in memory, read only; equal only to itself."""

    index: Mapping[Group, Mapping[str, int]]
    """Feature → row of the weights."""
    weights: NDArray[np.float32]
    """[features, categories + subtypes], the features' idf multiplied in."""
    squares: NDArray[np.float32]
    """[features] squared idf, for the length of a vector."""
    bias: Vector
    """[categories + subtypes]"""
    subtypes: tuple[str, ...]
    calibration: tuple[Calibration, ...]
    """In the order of CORE_CATEGORIES."""
    version: str

    def scores(
        self,
        around: Mapping[int, str],
        classes: WordClasses,
        reading: RuleReading,
    ) -> Scores:
        """Scores of the normal form `around[0]`, the ones before at −1, −2, the next at 1, 2."""
        total = self.bias + _line(self, around[0], classes).own
        total += self.part(Group.MEANING, meaning_of(around[0], classes, rule_names(reading)))
        telling: dict[Category, list[int]] = {category: [] for category in CORE_CATEGORIES}
        for group, distance in NEIGHBOURS.items():
            if distance in around:
                added = _line(self, around[distance], classes).beside[group]
                total += added
                for column, category in enumerate(CORE_CATEGORIES):
                    if added[column] >= _TELLING:
                        telling[category].append(distance)
        count = len(CORE_CATEGORIES)
        return Scores(
            total[:count], total[count:], {c: tuple(sorted(n)) for c, n in telling.items()}
        )

    def part(self, group: Group, names: Iterable[str]) -> Vector:
        """What one group of features adds to the scores."""
        index = self.index[group]
        rows = [index[name] for name in dict.fromkeys(names) if name in index]
        if not rows:
            return np.zeros_like(self.bias)
        length = math.sqrt(float(self.squares[rows].sum()))
        added: Vector = self.weights[rows].sum(axis=0) * (WEIGHTS[group] / length)
        return added

    def subtype(self, scores: Scores, category: Category) -> str:
        """The likeliest subtype of a category."""
        letter = SUBTYPE_LETTERS[category]
        own = [i for i, name in enumerate(self.subtypes) if name[0] == letter]
        return self.subtypes[max(own, key=lambda i: float(scores.subtypes[i]))]

    def words(self, text: str, category: Category) -> list[tuple[int, int]]:
        """[start, end) in the normal form `text` of what speaks most for the category, by place.

        Each character gets the weights of the features it is part of; runs of characters that get
        much are the words.
        """
        mask = masked(text)
        gains = np.zeros(len(mask.text))
        column, index = CORE_CATEGORIES.index(category), self.index[Group.WORDS]
        for feature in words_of(mask.text):
            row = index.get(feature.name)
            if row is not None:
                share = float(self.weights[row, column]) / (feature.end - feature.start)
                gains[feature.start : feature.end] += share
        best = sorted(_runs(gains), key=lambda run: -float(gains[run[0] : run[1]].sum()))
        return [(mask.offsets[a], mask.offsets[b]) for a, b in sorted(best[:_MOST_WORDS])]


def rule_names(reading: RuleReading) -> list[str]:
    """Features of rules: which hold, which are excused and by what."""
    held = dict.fromkeys(match.rule.id for match in reading.held)
    names = [f"r{rule}" for rule in held] + [f"r{rule[:3]}" for rule in held]
    for match, excuse in reading.excused:
        names += [f"x{match.rule.id}", f"x{match.rule.id[0]}{excuse}"]
    return names


def strongest(matches: Iterable[Match]) -> tuple[float, ...]:
    """Score of the strongest rule of each of CORE_CATEGORIES, 0 where there is none."""
    best: dict[Category, float] = {}
    for match in matches:
        category = match.rule.category
        best[category] = max(best.get(category, 0.0), match.rule.score)
    return tuple(best.get(category, 0.0) for category in CORE_CATEGORIES)


@lru_cache(maxsize=4096)
def _line(classifier: Classifier, text: str, classes: WordClasses) -> Line:
    mask = masked(text).text
    own = classifier.part(Group.WORDS, word_names(mask))
    own += classifier.part(Group.SOUND, sounds_of(mask))
    beside = neighbour_of(text, classes)
    return Line(own, {group: classifier.part(group, beside) for group in NEIGHBOURS})


def _runs(gains: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Stretches of characters whose gain is over a third of the largest; at least one."""
    high = np.flatnonzero(gains >= max(1e-9, float(gains.max(initial=0)) / 3))
    if not len(high):
        return [(0, len(gains))]
    parts = np.split(high, np.flatnonzero(np.diff(high) > 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def load_classifier(folder: Path) -> Classifier:
    """Read the weights of a folder; BadInputError where a file is missing or does not fit."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("names", "idf", "weights", "bias")}
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return _classifier(arrays, card)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as fault:
        raise BadInputError(
            f"The classifier in {folder} cannot be read ({fault}): "
            "make it again with `tingbo train`, or install tingbo anew."
        ) from fault


def _classifier(arrays: Mapping[str, NDArray[np.float32]], card: dict[str, object]) -> Classifier:
    if card["format"] != FORMAT:
        raise ValueError(f"its format is {card['format']}, this program reads {FORMAT}")
    index = _index(arrays["names"].tobytes().decode("utf-8").split("\n"))
    idf = arrays["idf"].astype(np.float32)
    weights = arrays["weights"].astype(np.float32) * idf[:, None]
    subtypes = tuple(str(name) for name in _listed(card["subtypes"]))
    columns = len(CORE_CATEGORIES) + len(subtypes)
    bias = arrays["bias"].astype(np.float32)
    if weights.shape != (sum(map(len, index.values())), columns) or bias.shape != (columns,):
        raise ValueError(f"{weights.shape} weights do not fit its names and subtypes")
    kinds = card["calibration"]
    if not isinstance(kinds, dict):
        raise TypeError("calibration is no table")
    calibration = tuple(Calibration(**kinds[name.value]) for name in CORE_CATEGORIES)
    return Classifier(index, weights, idf**2, bias, subtypes, calibration, str(card["version"]))


def _listed(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise TypeError("subtypes is no list")
    return value


def _index(names: Sequence[str]) -> dict[Group, dict[str, int]]:
    index: dict[Group, dict[str, int]] = {group: {} for group in Group}
    for row, name in enumerate(names):
        group, _, feature = name.partition("\t")
        index[Group(group)][feature] = row
    return index
