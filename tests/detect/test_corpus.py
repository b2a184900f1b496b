"""Labelled broadcasts: what is read, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.detect.corpus import alone, claims, read_corpus
from pipeline.errors import BadInputError
from pipeline.records import Category
from pipeline.resources import resource


def written(folder: Path, text: str) -> Path:
    """A file with that text."""
    path = folder / "b.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_has_labels_subtypes_look_alike_and_claim(tmp_path: Path) -> None:
    """All columns, of which the last two may be missing."""
    path = written(
        tmp_path,
        "# area: 茶\n专柜九百八\tPRICE\tP01\tc1\n\n今天九十九\tPRICE\tP01\tc1\n"
        "他家假货我这便宜\tDISP,PRICE\tD01+P01\t-\n别加微信\tnone\thn:OFFS:refusal\n你好\tnone\n",
    )
    (broadcast,) = read_corpus(path)
    first, second, both, alike, plain = broadcast.lines
    assert broadcast.area == "茶"
    assert (first.subtypes, first.claim, second.claim) == (("P01",), "c1", "c1")
    assert both.categories == {
        Category.COMPETITOR_DISPARAGEMENT,
        Category.FALSE_PRICE_COMPARISON,
    }
    assert both.subtypes == ("D01", "P01")
    assert (alike.look_alike, alike.categories) == ("OFFS:refusal", frozenset())
    assert (plain.look_alike, plain.claim) == ("", "")
    assert list(claims(broadcast)) == [(Category.FALSE_PRICE_COMPARISON, [0, 1])]
    assert [one.name for one in alone([broadcast])] == [f"b:{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("你好\n", r"b\.tsv, line 1 has no label"),
        ("你好\tnone\n加我\tSPAM\n", r"line 2 has the label 'SPAM': use PRICE, DISP"),
        ("加我\tOFFS\tP01\n", "subtype P01 does not go with the label OFFS"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """With what is wrong and what would be right."""
    with pytest.raises(BadInputError, match=reason):
        read_corpus(written(tmp_path, text))


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    """One sentence each."""
    with pytest.raises(BadInputError, match="There is no file"):
        read_corpus(tmp_path / "none.tsv")
    with pytest.raises(BadInputError, match=r"has no \*\.tsv file"):
        read_corpus(tmp_path)
    (tmp_path / "b.tsv").write_bytes("你好\tnone".encode("gb18030"))
    with pytest.raises(BadInputError, match="is not UTF-8 at byte 0"):
        read_corpus(tmp_path / "b.tsv")


def test_the_bundled_corpus_is_what_its_page_says() -> None:
    """Broadcasts, lines, violations, look-alikes and claims over several utterances."""
    broadcasts = read_corpus(resource("models", "corpus", "broadcasts"))
    rows = [line for broadcast in broadcasts for line in broadcast.lines]
    violating = sum(bool(line.categories) for line in rows)
    assert len(broadcasts) >= 120
    assert len({broadcast.area for broadcast in broadcasts}) >= 25
    assert len(rows) >= 6000
    assert violating >= 0.18 * len(rows)
    assert sum(bool(line.look_alike) for line in rows) >= violating
    assert sum(len(list(claims(broadcast))) for broadcast in broadcasts) >= 300
    assert len({name for line in rows for name in line.subtypes}) == 42


def test_no_example_of_a_rule_is_a_line_of_the_corpus() -> None:
    """Rules and corpus are written apart, so that one measures the other."""
    folder = resource("lexicons")
    packs = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.toml"))
    rows = read_corpus(resource("models", "corpus", "broadcasts"))
    shared = [
        line.text
        for broadcast in rows
        for line in broadcast.lines
        if len(line.text) >= 8 and f'"{line.text}"' in packs
    ]
    assert shared == []
