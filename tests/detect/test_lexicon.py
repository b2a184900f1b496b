"""Loading of rule packs: a broken one is refused with file, line, rule and reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.detect import RulePack, load_rule_pack
from pipeline.errors import RulePackError
from pipeline.resources import resource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled pack, to be broken."""
    copy = tmp_path / "lexicons"
    shutil.copytree(resource("lexicons"), copy)
    return copy


def edit(file: Path, old: str, new: str) -> None:
    """Replace the first `old`, which must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_pack_has_a_version_and_a_hash_of_its_content(folder: Path, pack: RulePack) -> None:
    """The same content has the same hash anywhere; any change changes it."""
    again = load_rule_pack(folder)
    assert (again.version, again.content_hash) == (pack.version, pack.content_hash)
    assert pack.label == f"{pack.version}+{pack.content_hash[:12]}"
    edit(folder / "price.toml", "severity = 3", "severity = 2")
    assert load_rule_pack(folder).content_hash != pack.content_hash


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("price.toml", "[[rule]]", "[[rule]", r"price\.toml is not valid TOML .*line 4"),
        (
            "price.toml",
            "[channel]",
            "[chanel]",
            r"price\.toml, line 5, P01-channel-then-here: .*chanel",
        ),
        ("price.toml", "severity = 3", "severity = 9", r"P01-.*severity must be a whole number"),
        ("price.toml", "severity = 3", "severity = true", r"P01-.*severity must be a whole number"),
        ("price.toml", "score = 0.88", "score = 88", r"P01-.*score must be a number from 0 to 1"),
        ("price.toml", "score = 0.88", "scoer = 0.88", r"P01-.*score is missing"),
        ("price.toml", "score = 0.88", "score = 0.88\nweight = 1", r"P01-.*weight is unknown"),
        ("price.toml", '"high > low"', '"high < low"', r"compare 1: .*not of the form"),
        ("price.toml", '"high > low"', '"high > lwo"', r"compare names lwo"),
        ("price.toml", '"live-commerce-32"', '"live-commerce-99"', r"basis names live-commerce-99"),
        ("price.toml", 'subtype = "P01"', 'subtype = "P1"', r"P01-.*subtype is 'P1'"),
        ("price.toml", "“{evidence}”", "{0}", r"why may name \{evidence\} only"),
        ("price.toml", 'category = "false_price', 'category = "price', r"price\.toml: category is"),
        ("price.toml", "within_s = 30", "within_s = 500", r"within_s must be a whole number"),
        (
            "solicit.toml",
            'text = "想要批发价的加我微',
            'text = "想要批发价的',
            r"flag 1: span_text",
        ),
        ("solicit.toml", 'target = "audience"', 'target = "all"', r"target is 'all', not one of"),
        ("disparage.toml", '["warning"]', '["joke"]', r"not_excused_by names the unknown act joke"),
        ("acts.toml", "before =", "befor =", r"acts\.toml, line \d+, refusal: case 1: .*befor"),
        ("classes.toml", '"[venue]"', '"[channel]"', r"class channel includes itself"),
        ("classes.toml", '"[venue]"', '"[nowhere]"', r"channel includes the unknown class nowhere"),
        ("classes.toml", '"我家"', '"啊"', r"class own has '啊'"),
        (
            "basis.toml",
            "2026-02-01",
            '"2026-02-01"',
            r"live-commerce-32: effective_from must be a date",
        ),
        (
            "basis.toml",
            "effective_to = 2025-10-15",
            "",
            r"unfair-competition-dis.*hold on the same day",
        ),
        ("basis.toml", "effective_to = 2025-10-15", "effective_to = 2017-10-15", r"must be after"),
        ("pack.toml", "version =", "name =", r"pack\.toml: version is missing"),
    ],
)
def test_a_broken_pack_is_refused(folder: Path, file: str, old: str, new: str, reason: str) -> None:
    """One slip anywhere, and the error names the place and the reason."""
    edit(folder / file, old, new)
    with pytest.raises(RulePackError, match=reason):
        load_rule_pack(folder)


def test_fewer_than_three_examples_are_refused(folder: Path) -> None:
    """A rule without enough examples is not yet a rule."""
    edit(folder / "price.toml", '  "门店同价都是一百九十九今天下单多送一双袜子",\n', "")
    edit(folder / "price.toml", '  "超市两百克一袋咱们今天这个是五百克一袋的",\n', "")
    edit(folder / "price.toml", '  "咱店里五斤装七十九今天十斤装一百三十九",\n', "")
    with pytest.raises(RulePackError, match="pass needs at least 3 entries and has 2"):
        load_rule_pack(folder)


def test_an_id_is_used_once_in_all_files(folder: Path) -> None:
    """Findings name rules by id alone."""
    edit(folder / "price.toml", '"P03-vague-base"', '"S01-add-contact"')
    with pytest.raises(RulePackError, match=r"S01-add-contact: another rule has this id"):
        load_rule_pack(folder)


@pytest.mark.parametrize("name", ["pack.toml", "classes.toml", "acts.toml", "basis.toml"])
def test_a_missing_part_is_named(folder: Path, name: str) -> None:
    """A folder that is no rule pack is refused with what it lacks."""
    (folder / name).unlink()
    with pytest.raises(RulePackError, match=f"has no {name}"):
        load_rule_pack(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A wrong path is told as such."""
    with pytest.raises(RulePackError, match="nowhere"):
        load_rule_pack(tmp_path / "nowhere")
