"""Training: the same data gives the same weights, and what is learned comes back from disk."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.detect import Detector, RulePack, load_classifier
from pipeline.detect.classifier import CARD, FILE, Classifier
from pipeline.detect.corpus import Broadcast, LabelledLine, read_corpus
from pipeline.detect.learning import Material, keep, learn
from pipeline.detect.training import data_hash, examples, save, split, train
from pipeline.detect.trial import Part, trial
from pipeline.errors import BadInputError, MissingError
from pipeline.records import CORE_CATEGORIES, Category

TODAY = dt.date(2026, 11, 22)
BAD = ("隔壁那家全是翻新货别上当", "他们家用的料都是垃圾", "隔壁老王家坑了多少人")
PRICE = ("外头商城里挂着两千多呢", "你去门店看看人家标多少")
OFFS = ("加个好友咱们单独聊", "转账到我爱人卡上就行")
EFFI = ("吃了它老寒腿三天就利索", "血糖降得稳稳当当")
FINE = (
    "这件是宽松的版型",
    "今天发货用顺丰",
    "隔壁有停车场可以停",
    "门店地址在页面上",
    "谢谢大家点赞",
)


def lines(number: int) -> str:
    """One small broadcast, a little different from the others."""
    rows = [f"{text}{'啊' * (number % 3)}\tDISP\tD03\t-" for text in BAD]
    rows += [f"{text}{number}号\tPRICE\tP01\t-" for text in PRICE]
    rows += [f"{text}{number}号\tOFFS\tS01\t-" for text in OFFS]
    rows += [f"{text}{number}号\tEFFI\tE01\t-" for text in EFFI]
    rows += [f"{text}第{number}次\tnone\t-\t-" for text in FINE]
    rows.append("隔壁那家也挺好各有各的优点\tnone\thn:DISP:refusal\t-")
    return "# area: 试验\n" + "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty broadcasts."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(20):
        (folder / f"b{number:03}.tsv").write_text(lines(number), encoding="utf-8")
    return folder


def silent(_step: str, _done: int, _all: int) -> None:
    """No progress is shown."""


@pytest.fixture(scope="module")
def broadcasts(corpus: Path) -> list[Broadcast]:
    """The same, read."""
    return read_corpus(corpus)


@pytest.fixture(scope="module")
def classifier(broadcasts: list[Broadcast], pack: RulePack) -> Classifier:
    """Trained on all of them."""
    return train(examples(broadcasts, pack, silent), "test", silent)


def test_the_same_data_gives_the_same_weights(
    classifier: Classifier, broadcasts: list[Broadcast], pack: RulePack
) -> None:
    """`tingbo train` reproduces what is shipped."""
    again = train(examples(broadcasts, pack, silent), "test", silent)
    assert np.array_equal(again.weights, classifier.weights)
    assert again.calibration == classifier.calibration


def test_what_was_learned_is_found_and_its_look_alike_is_not(
    classifier: Classifier, broadcasts: list[Broadcast], pack: RulePack
) -> None:
    """On lines as simple as these everything is right, with rules or without."""
    for part in (Part.BOTH, Part.MODEL):
        result = trial(Detector(pack, classifier), broadcasts, TODAY, part=part)
        disparaged = result.categories[Category.COMPETITOR_DISPARAGEMENT]
        assert (disparaged.precision, disparaged.recall) == (1.0, 1.0)
        assert (result.plain.some, result.look_alikes.some) == (0, 0)


def test_weights_come_back_from_disk_as_they_were(
    classifier: Classifier, broadcasts: list[Broadcast], pack: RulePack, tmp_path: Path
) -> None:
    """Every score of a loaded classifier is that of the one that was saved."""
    save(classifier, tmp_path, {"note": "试"})
    loaded = load_classifier(tmp_path)
    assert loaded.calibration == classifier.calibration
    assert loaded.subtypes == classifier.subtypes == ("D03", "E01", "P01", "S01")
    before = trial(Detector(pack, classifier), broadcasts, TODAY)
    after = trial(Detector(pack, loaded), broadcasts, TODAY)
    assert after.categories == before.categories
    assert json.loads((tmp_path / CARD).read_text(encoding="utf-8"))["note"] == "试"


@pytest.mark.parametrize("name", [FILE, CARD])
def test_a_broken_folder_is_named_with_the_way_out(
    classifier: Classifier, tmp_path: Path, name: str
) -> None:
    """Never a classifier that silently finds nothing."""
    save(classifier, tmp_path, {})
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(BadInputError, match=r"cannot be read .* `tingbo train`"):
        load_classifier(tmp_path)


def test_weights_of_another_format_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    """An older program says so instead of guessing."""
    save(classifier, tmp_path, {})
    card = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))
    (tmp_path / CARD).write_text(json.dumps(card | {"format": 99}), encoding="utf-8")
    with pytest.raises(BadInputError, match="its format is 99"):
        load_classifier(tmp_path)


def test_a_tenth_of_the_broadcasts_is_never_learned_from(broadcasts: list[Broadcast]) -> None:
    """The split is by broadcast and does not depend on the order of reading."""
    learned, test = split(broadcasts[::-1])
    assert [broadcast.name for broadcast in test] == ["b009", "b019"]
    assert {b.name for b in learned} | {b.name for b in test} == {b.name for b in broadcasts}
    assert len(learned) == 18


def test_a_changed_label_changes_the_hash(broadcasts: list[Broadcast], corpus: Path) -> None:
    """A card tells exactly what was learned from."""
    assert data_hash(read_corpus(corpus)) == data_hash(broadcasts)
    assert data_hash(broadcasts[1:]) != data_hash(broadcasts)


def test_worse_weights_are_recognised(corpus: Path, pack: RulePack, tmp_path: Path) -> None:
    """Labels turned upside down make a model that must not replace the good one."""
    good = learn(pack, Material(corpus, tmp_path), tmp_path / "w", TODAY, silent)
    assert good.old is None
    assert not good.is_worse
    keep(good, tmp_path / "w", {})
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for number in range(80):
        swapped = {"DISP\tD03\t-": "none\t-\t-", "none\t-\t-": "DISP\tD03\t-"}
        rows = [row.split("\t", 1) for row in lines(number).splitlines()[1:]]
        text = "\n".join(f"{said}\t{swapped.get(rest, rest)}" for said, rest in rows)
        (wrong / f"x{number:03}.tsv").write_text(text, encoding="utf-8")
    bad = learn(pack, Material(corpus, tmp_path, (wrong,)), tmp_path / "w", TODAY, silent)
    assert bad.old is not None
    assert bad.is_worse
    assert bad.new.macro_f1 < bad.old.macro_f1


def test_a_category_without_examples_is_refused(pack: RulePack) -> None:
    """With its name, instead of a model that never finds it."""
    line = LabelledLine("他家全是假货", frozenset({Category.COMPETITOR_DISPARAGEMENT}))
    data = examples([Broadcast("b", (line,) * 20)], pack, silent)
    with pytest.raises(BadInputError, match="category false_price_comparison"):
        train(data, "test", silent)


def test_no_corpus_is_said_to_be_missing(pack: RulePack, tmp_path: Path) -> None:
    """With the way out."""
    with pytest.raises(MissingError, match="train from a checkout"):
        learn(pack, Material(tmp_path / "none", tmp_path), tmp_path, TODAY, silent)


def test_calibrated_scores_grow_with_the_evidence(classifier: Classifier) -> None:
    """More for a category never means less probable."""
    for calibration in classifier.calibration:
        low, high = (calibration.judge(score, 0, 0).probability for score in (-5.0, 5.0))
        assert low < 0.5 < high
    assert len(classifier.calibration) == len(CORE_CATEGORIES)
