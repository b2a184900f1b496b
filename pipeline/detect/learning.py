"""`tingbo train`: new weights beside those in use, on the same test part; the better ones stay."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.detect.classifier import CARD, load_classifier
from pipeline.detect.corpus import Broadcast, read_corpus, read_plain
from pipeline.detect.detector import Detector
from pipeline.detect.evaluation import Evaluation
from pipeline.detect.pack import RulePack
from pipeline.detect.training import (
    Progress,
    data_hash,
    examples,
    save,
    split,
    train,
    version_of,
)
from pipeline.detect.trial import trial
from pipeline.errors import MissingError


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training run gave."""

    detector: Detector
    learned_from: Sequence[Broadcast]
    test: Sequence[Broadcast]
    new: Evaluation
    old: Evaluation | None
    """Of the weights that are there, on the same test part; None where there are none."""
    seconds: float

    @property
    def is_worse(self) -> bool:
        """Whether the weights that are there do better."""
        return self.old is not None and self.new.macro_f1 < self.old.macro_f1


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from."""

    corpus: Path
    """Folder of labelled broadcasts; a part of them is kept for the test."""
    plain: Path
    """Folder of plain talk (corpus.read_plain)."""
    more: Sequence[Path] = ()
    """Labelled files and folders of a team's own."""


def learn(
    pack: RulePack, material: Material, present: Path, on: dt.date, progress: Progress
) -> Learned:
    """Train on the material but for its test part; compare.

    `present` is the folder of the weights that would be replaced. Raises MissingError without a
    corpus and BadInputError where a file is wrong.
    """
    if not material.corpus.is_dir():
        raise MissingError(
            f"There is no corpus in {material.corpus}: train from a checkout of tingbo."
        )
    begin = time.monotonic()
    learned_from, test = split(read_corpus(material.corpus))
    learned_from += read_plain(material.plain)
    for path in material.more:
        learned_from += read_corpus(path)
    data = examples(learned_from, pack, progress)
    classifier = train(data, version_of(learned_from, pack), progress)
    detector = Detector(pack, classifier)
    seconds = time.monotonic() - begin
    old = None
    if (present / CARD).exists():
        old = trial(Detector(pack, load_classifier(present)), test, on)
    return Learned(detector, learned_from, test, trial(detector, test, on), old, seconds)


def keep(learned: Learned, folder: Path, figures: dict[str, object]) -> None:
    """Write the new weights with their card; `figures` are those of the test part."""
    save(
        learned.detector.classifier,
        folder,
        {
            "trained_on": {
                "broadcasts": len(learned.learned_from),
                "lines": sum(len(broadcast.lines) for broadcast in learned.learned_from),
                "sha256": data_hash(learned.learned_from),
            },
            "rule_pack": learned.detector.pack.label,
            "test": figures,
        },
    )
