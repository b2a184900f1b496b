"""Labelled broadcasts judged by rules alone, by the classifier alone, or by both."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum

from pipeline.detect.corpus import Broadcast
from pipeline.detect.detector import Detector
from pipeline.detect.engine import read_rules
from pipeline.detect.evaluation import Evaluation, Judgement, evaluate
from pipeline.detect.noise import misheard
from pipeline.detect.pack import index_of
from pipeline.detect.talk import Talk
from pipeline.detect.training import utterances
from pipeline.records import Utterance

#: Seed of the recognition errors that are made up.
_SEED = 11

Progress = Callable[[int, int], None]


class Part(StrEnum):
    """What judges."""

    RULES = "rules"
    MODEL = "model"
    BOTH = "both"


def trial(
    detector: Detector,
    broadcasts: Sequence[Broadcast],
    on: dt.date,
    *,
    part: Part = Part.BOTH,
    error_rate: float = 0.0,
    progress: Progress = lambda _done, _all: None,
) -> Evaluation:
    """Judge every line and compare with its labels, by the law of the day `on`.

    With an `error_rate` so many characters are misheard first, the same ones in every call.
    """
    rng = random.Random(_SEED)
    judged = []
    for number, broadcast in enumerate(broadcasts, 1):
        said = utterances(broadcast)
        if error_rate:
            said = [replace(one, text=misheard(one.text, error_rate, rng)) for one in said]
        judged.append(_JUDGES[part](detector, said, on))
        progress(number, len(broadcasts))
    return evaluate(broadcasts, judged)


def _both(detector: Detector, said: Sequence[Utterance], on: dt.date) -> list[Judgement]:
    talk = Talk(detector, on)
    results = [result for one in said for result in talk.add(one)] + list(talk.rest())
    return [detected.findings for _, detected in results]


def _rules(detector: Detector, said: Sequence[Utterance], on: dt.date) -> list[Judgement]:
    return [
        read_rules(detector.pack, one, said[:number], on).findings
        for number, one in enumerate(said)
    ]


def _model(detector: Detector, said: Sequence[Utterance], on: dt.date) -> list[Judgement]:
    """With the rules still there to borrow a basis from, and none of them ever tried."""
    pack = replace(detector.pack, index=index_of(()), earlier_index=index_of(()))
    return _both(replace(detector, pack=pack), said, on)


_JUDGES = {Part.RULES: _rules, Part.MODEL: _model, Part.BOTH: _both}
