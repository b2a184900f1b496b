"""From labelled broadcasts to the classifier's weights, with scikit-learn.

Thresholds and calibration come from utterances of broadcasts that the weights in question did not
see (five folds by broadcast); the test part is touched by evaluation alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.classifier import (
    CARD,
    DOUBT,
    FILE,
    FORMAT,
    Calibration,
    Classifier,
    rule_names,
    strongest,
)
from pipeline.detect.corpus import Broadcast, LabelledLine
from pipeline.detect.engine import (
    BLOCK_SCORE,
    CONTEXT_MS,
    REVIEW_SCORE,
    RuleReading,
    read_rules,
)
from pipeline.detect.features import (
    NEIGHBOURS,
    WEIGHTS,
    Group,
    masked,
    meaning_of,
    neighbour_of,
    sounds_of,
    word_names,
)
from pipeline.detect.pack import RulePack
from pipeline.errors import BadInputError
from pipeline.records import CORE_CATEGORIES, SUBTYPE_LETTERS, Utterance

#: A feature must stand in so many utterances.
MIN_COUNT = 2
#: Inverse strengths of regularisation, for categories and for subtypes.
STRENGTH, SUBTYPE_STRENGTH = 50.0, 20.0
FOLDS = 5
#: Of plain utterances a category may raise at most this share; the rest of a threshold is F1.
MOST_PLAIN = 0.003
#: Precision from which on a category blocks.
BLOCK_PRECISION = 0.95
#: Broadcasts whose place in the sorted corpus divides by this are the test part.
TEST_EVERY = 10
#: A line without a time lasts so long per character.
MS_PER_CHARACTER = 220

Matrix = Any  # a SciPy sparse matrix; SciPy has no types
Progress = Callable[[str, int, int], None]
Features = Mapping[Group, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance as the classifier sees it."""

    line: LabelledLine
    group: int
    """Number of its broadcast."""
    number: int
    """Its place in the broadcast."""
    features: Features
    rules: tuple[float, ...]
    """Score of the strongest rule that holds, for each of CORE_CATEGORIES; 0 for none."""
    excused: tuple[float, ...]
    """The same of rules that are excused."""

    @property
    def truth(self) -> list[bool]:
        """Which of CORE_CATEGORIES it has."""
        return [category in self.line.categories for category in CORE_CATEGORIES]

    @property
    def is_plain(self) -> bool:
        """Neither a violation nor like one."""
        return not self.line.categories and not self.line.look_alike


def split(broadcasts: Sequence[Broadcast]) -> tuple[list[Broadcast], list[Broadcast]]:
    """(to learn from, to test on)."""
    ordered = sorted(broadcasts, key=lambda broadcast: broadcast.name)
    test = ordered[TEST_EVERY - 1 :: TEST_EVERY]
    return [b for b in ordered if b not in test], test


def utterances(broadcast: Broadcast) -> list[Utterance]:
    """The lines of a broadcast, one after the other at a host's pace."""
    result: list[Utterance] = []
    at = 0
    for line in broadcast.lines:
        end = at + MS_PER_CHARACTER * max(4, len(line.text))
        result.append(Utterance(at, end, line.text))
        at = end
    return result


def examples(broadcasts: Sequence[Broadcast], pack: RulePack, progress: Progress) -> list[Example]:
    """Read every utterance with those around it, as a running worker does."""
    result: list[Example] = []
    for group, broadcast in enumerate(broadcasts):
        said = utterances(broadcast)
        readings = [_reading(pack, said, number) for number in range(len(said))]
        texts = [reading.text.text for reading in readings]
        for number, (line, reading) in enumerate(zip(broadcast.lines, readings, strict=True)):
            result.append(
                Example(
                    line,
                    group,
                    number,
                    _features(pack, texts, number, reading),
                    strongest(reading.held),
                    strongest(match for match, _ in reading.excused),
                )
            )
        progress("read", group + 1, len(broadcasts))
    return result


def _reading(pack: RulePack, said: Sequence[Utterance], number: int) -> RuleReading:
    one = said[number]
    near = [item for item in said[:number] if one.start_ms - item.start_ms <= CONTEXT_MS]
    return read_rules(pack, one, near, dt.date.max)


def _features(pack: RulePack, texts: Sequence[str], number: int, reading: RuleReading) -> Features:
    mask = masked(texts[number]).text
    found: dict[Group, Sequence[str]] = {
        Group.WORDS: word_names(mask),
        Group.SOUND: list(sounds_of(mask)),
        Group.MEANING: list(meaning_of(texts[number], pack.classes, rule_names(reading))),
    }
    for group, distance in NEIGHBOURS.items():
        at = number + distance
        found[group] = neighbour_of(texts[at], pack.classes) if 0 <= at < len(texts) else ()
    return found


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Features that are common enough, and how telling each is."""

    index: Mapping[Group, Mapping[str, int]]
    idf: NDArray[np.float32]

    def matrix(self, data: Sequence[Example], groups: Sequence[Group]) -> Matrix:
        """[examples, features] as Classifier.part weighs them, of these groups alone."""
        from scipy.sparse import csr_matrix

        rows: list[int] = []
        values: list[float] = []
        ends = [0]
        for example in data:
            for group in groups:
                index = self.index[group]
                found = [index[n] for n in dict.fromkeys(example.features[group]) if n in index]
                idf = self.idf[found]
                length = math.sqrt(float((idf**2).sum())) or 1.0
                rows += found
                values += (idf * (WEIGHTS[group] / length)).tolist()
            ends.append(len(rows))
        return csr_matrix((values, rows, ends), shape=(len(data), len(self.idf)))


def vocabulary(data: Sequence[Example]) -> Vocabulary:
    """Every feature of MIN_COUNT utterances; idf as scikit-learn's TfidfTransformer has it."""
    index: dict[Group, dict[str, int]] = {}
    idf: list[float] = []
    for group in Group:
        counts = Counter(n for example in data for n in dict.fromkeys(example.features[group]))
        index[group] = {}
        for name, count in sorted(counts.items()):
            if count >= MIN_COUNT:
                index[group][name] = len(idf)
                idf.append(math.log((1 + len(data)) / (1 + count)) + 1)
    return Vocabulary(index, np.array(idf, np.float32))


def train(data: Sequence[Example], version: str, progress: Progress) -> Classifier:
    """Weights, calibration and thresholds from `data`; the same data gives the same weights.

    Raises BadInputError where a category has no examples to learn from.
    """
    for column, category in enumerate(CORE_CATEGORIES):
        if len({example.truth[column] for example in data}) < 2:
            raise BadInputError(
                f"No line of the data has the category {category}, or each has: label some of both."
            )
    held_out = np.zeros((len(data), len(CORE_CATEGORIES)))
    for number, (learn, test) in enumerate(_folds(data)):
        known = vocabulary([data[i] for i in learn])
        weights, bias = _categories(known, [data[i] for i in learn])
        held_out[test] = known.matrix([data[i] for i in test], list(Group)) @ weights + bias
        progress("fold", number + 1, FOLDS)
    calibration = [_calibration(data, held_out[:, i], i) for i in range(len(CORE_CATEGORIES))]
    known = vocabulary(data)
    weights, bias = _categories(known, data)
    names, of_subtypes, their_bias = _subtypes(known, data)
    whole = np.concatenate([weights, of_subtypes], axis=1).astype(np.float16)
    return Classifier(
        known.index,
        whole.astype(np.float32) * known.idf[:, None].astype(np.float16).astype(np.float32),
        known.idf.astype(np.float16).astype(np.float32) ** 2,
        np.concatenate([bias, their_bias]).astype(np.float32),
        names,
        tuple(calibration),
        version,
    )


def _folds(data: Sequence[Example]) -> Iterator[tuple[list[int], list[int]]]:
    """Broadcasts dealt to the folds in turn."""
    for fold in range(FOLDS):
        yield (
            [i for i, example in enumerate(data) if example.group % FOLDS != fold],
            [i for i, example in enumerate(data) if example.group % FOLDS == fold],
        )


_ALONE = (Group.WORDS, Group.MEANING, Group.SOUND)


def _categories(
    known: Vocabulary, data: Sequence[Example]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """([features, categories], [categories]); every utterance is seen with its neighbours and
    without, because the last one of a live room has no next one yet."""
    from scipy.sparse import vstack

    matrix = vstack([known.matrix(data, list(Group)), known.matrix(data, _ALONE)]).tocsr()
    truth = np.array([example.truth for example in data] * 2)
    fits = [_fit(matrix, truth[:, i], STRENGTH) for i in range(len(CORE_CATEGORIES))]
    return np.stack([w for w, _ in fits], axis=1), np.array([b for _, b in fits])


def _subtypes(
    known: Vocabulary, data: Sequence[Example]
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """(names, [features, subtypes], [subtypes]), each told from the others of its category."""
    names = sorted({name for example in data for name in example.line.subtypes})
    columns = []
    for name in names:
        of_category = {c for c in CORE_CATEGORIES if SUBTYPE_LETTERS[c] == name[0]}
        own = [e for e in data if e.line.categories & of_category]
        has = np.array([name in example.line.subtypes for example in own])
        columns.append(_fit(known.matrix(own, _ALONE), has, SUBTYPE_STRENGTH))
    weights = np.stack([w for w, _ in columns], axis=1)
    return tuple(names), weights, np.array([b for _, b in columns])


def _fit(matrix: Matrix, truth: NDArray[np.bool_], strength: float) -> tuple[Any, float]:
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any():
        return np.zeros(matrix.shape[1]), 0.0 if truth.all() else -9.0
    model = LogisticRegression(C=strength, solver="liblinear", random_state=0)
    model.fit(matrix, truth)
    return model.coef_[0], float(model.intercept_[0])


def _calibration(data: Sequence[Example], scores: NDArray[np.float64], column: int) -> Calibration:
    """Platt's sigmoid on the held-out score and the rules, and thresholds on what it gives."""
    from sklearn.linear_model import LogisticRegression

    seen = np.stack(
        [scores, [e.rules[column] for e in data], [e.excused[column] for e in data]], axis=1
    )
    truth = np.array([example.truth[column] for example in data])
    plain = np.array([example.is_plain for example in data])
    model = LogisticRegression(C=100.0).fit(seen, truth)
    of_model, of_rule, of_excused = map(float, model.coef_[0])
    unset = Calibration(of_model, of_rule, of_excused, float(model.intercept_[0]), 1, 1, 1, 0)
    probability = np.array([unset.probability(*map(float, row)) for row in seen])
    ruled = seen[:, 1] >= REVIEW_SCORE
    review, with_rule = _thresholds(probability, ruled, truth, plain)
    raised = probability >= np.where(ruled, with_rule, review)
    block = _block(probability[raised], truth[raised])
    sure = (seen[:, 1] >= BLOCK_SCORE) & (probability >= DOUBT)
    # One more that is none: few examples do not make a rule infallible.
    trusted = float((truth & sure).sum() / (sure.sum() + 1))
    return replace(unset, review=review, ruled=with_rule, block=block, trusted=trusted)


def _thresholds(
    probability: NDArray[np.float64],
    ruled: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    plain: NDArray[np.bool_],
) -> tuple[float, float]:
    """(without a rule, with one): best F1 among those that leave plain talk alone."""
    tried = np.unique(np.floor(probability * 100) / 100)  # never above what it stands for
    most = MOST_PLAIN * plain.sum()
    best, found = -1.0, (1.0, 1.0)
    for review, with_rule in itertools.product(tried, tried):
        if with_rule > review:
            continue
        raised = probability >= np.where(ruled, with_rule, review)
        f1 = 2 * (raised & truth).sum() / (raised.sum() + truth.sum())
        if f1 > best and (raised & plain).sum() <= most:
            best, found = float(f1), (float(review), float(with_rule))
    return found


def _block(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The lowest threshold from which on nearly all is true; 1 where there is none."""
    block = 1.0
    for threshold in np.unique(np.floor(probability * 1000) / 1000)[::-1]:
        raised = probability >= threshold
        if (raised & truth).sum() < BLOCK_PRECISION * raised.sum():
            break
        block = float(threshold)
    return block


def save(classifier: Classifier, folder: Path, card: Mapping[str, object]) -> None:
    """Write weights and card; `card` adds what is to be known of how they came about."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{group.value}\t{name}" for group in Group for name in classifier.index[group]]
    idf = np.sqrt(classifier.squares)
    np.savez_compressed(
        folder / FILE,
        names=np.frombuffer("\n".join(lines).encode("utf-8"), np.uint8),
        idf=idf.astype(np.float16),
        weights=(classifier.weights / idf[:, None]).astype(np.float16),
        bias=classifier.bias,
    )
    calibration = zip(CORE_CATEGORIES, classifier.calibration, strict=True)
    whole = {
        "format": FORMAT,
        "version": classifier.version,
        "subtypes": list(classifier.subtypes),
        "calibration": {name.value: asdict(its) for name, its in calibration},
        **card,
    }
    content = json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
    (folder / CARD).write_text(content, encoding="utf-8")


def data_hash(broadcasts: Sequence[Broadcast]) -> str:
    """SHA-256 over every line with its labels, hexadecimal."""
    digest = hashlib.sha256()
    for broadcast in broadcasts:
        for line in broadcast.lines:
            labels = ",".join(sorted(line.categories)) + "|" + ",".join(line.subtypes)
            digest.update(f"{line.text}\t{labels}\t{line.look_alike}\t{line.claim}\n".encode())
    return digest.hexdigest()


def version_of(broadcasts: Sequence[Broadcast], pack: RulePack) -> str:
    """The data and the rules that weights rest on."""
    return f"{FORMAT}+{data_hash(broadcasts)[:8]}.{pack.content_hash[:8]}"
