"""The classifier that is shipped: what it was trained to do, it does in any process."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

from pipeline.detect import load_detector
from pipeline.detect.classifier import CARD
from pipeline.detect.corpus import read_corpus
from pipeline.detect.training import split
from pipeline.detect.trial import trial
from pipeline.resources import resource
from pipeline.settings import Settings

WEIGHTS = Settings().effective_classifier_dir
TODAY = dt.date(2026, 11, 25)


def test_the_card_has_the_figures_of_the_weights() -> None:
    """The test part gives what training said, in a process that never trained."""
    said = json.loads((WEIGHTS / CARD).read_text(encoding="utf-8"))["test"]["macro_f1"]
    test = split(read_corpus(resource("models", "corpus", "broadcasts")))[1]
    measured = trial(load_detector((), WEIGHTS), test, TODAY).macro_f1
    # A rule that changed since may move a line or two; then train anew.
    assert abs(measured - said) < 0.003


def test_features_have_the_same_names_in_every_process() -> None:
    """What a process has read before must not change what a feature is called."""
    program = (
        "from pipeline.detect.features import sounds_of\n"
        "first = {}\n"
        "print(list(sounds_of('加微信领方子')))"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", program.format(warmed)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for warmed in ("list(sounds_of('你好'))", "list(sounds_of('血压高的喝三天'))")
    }
    assert len(names) == 1
    assert "jia wei" in names.pop()
