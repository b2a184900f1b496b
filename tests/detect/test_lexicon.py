"""Loading of rule packs: a broken one is refused with file, line, rule and reason; extra packs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.detect import RulePack, extra_packs, load_rule_pack
from pipeline.detect.pack import RuleStatus
from pipeline.errors import RulePackError
from pipeline.resources import resource
from tests.detect.packs import ALLOW, MORPHS, extra, rule, rules, write_extra, write_pack


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
        (
            "price.toml",
            'category = "false_price',
            'category = "price',
            r"price\.toml, line 2: category is",
        ),
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
        (
            "basis.toml",
            'link = "https://www.samr',
            'link = "http://www.samr',
            r"link is 'http:",
        ),
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


@pytest.mark.parametrize(
    "name",
    ["pack.toml", "classes.toml", "acts.toml", "basis.toml", "morphs.toml", "allow.toml"],
)
def test_a_missing_part_is_named(folder: Path, name: str) -> None:
    """A folder that is no rule pack is refused with what it lacks."""
    (folder / name).unlink()
    with pytest.raises(RulePackError, match=f"has no {name}"):
        load_rule_pack(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A wrong path is told as such."""
    with pytest.raises(RulePackError, match="nowhere"):
        load_rule_pack(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"morphs": MORPHS.replace('meant = "微信"', 'meaning = "微信"')},
            r"^morphs\.toml, line 2: code 1: meant is missing",
        ),
        (
            {"morphs": MORPHS.replace('["尿酸"]', '["。"]')},
            r"^morphs\.toml, line 33: .*'。' is never matched",
        ),
        (
            {"allow": ALLOW.replace("words", "word")},
            r"^allow\.toml, line 4, 平台内的付款方式: words is missing",
        ),
        (
            {"allow": ALLOW.replace('"微信支付"', '"微信支付", "啊"')},
            r"^allow\.toml, line 4, 平台内的付款方式: words has one of which nothing is left",
        ),
        (
            {"allow": ALLOW.replace('source = "付款页"', "")},
            r"^allow\.toml, line 4, 平台内的付款方式: source is missing",
        ),
        (
            {"allow": ALLOW.replace('["加微信支付的红包"]', "[]")},
            r"pass needs at least 1 entries and has 0",
        ),
        (
            {"solicit": rules(rule().replace('"S01-contact"', "7"))},
            r"^solicit\.toml, line \d+, 7: id must be a text",
        ),
        (
            {"solicit": rules(rule().replace('id = "S01-contact"', ""))},
            r"^solicit\.toml, line 4, rule 1: id is missing",
        ),
        (
            {"solicit": rules(rule("P01-price"))},
            r"P01-price: subtype is 'P01', not S and two digits",
        ),
        (
            {"solicit": rules(rule(more='status = "off"'))},
            r"S01-contact: status is 'off', not one of active, shadow",
        ),
        (
            {"solicit": rules(rule(), more='status = "off"')},
            r"^solicit\.toml, line 2: status is 'off', not one of active, shadow",
        ),
        (
            {"solicit": rules(rule(), more='pack = "absolute"')},
            r"^solicit\.toml, line 2: pack is unknown; known are category, status",
        ),
    ],
)
def test_the_line_of_a_slip_is_told(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    """Also where the table has no id, or the slip stands beside the tables."""
    with pytest.raises(RulePackError, match=reason):
        load_rule_pack(write_pack(tmp_path / "pack", **files))


def test_an_allow_list_may_be_empty(tmp_path: Path) -> None:
    """Without exceptions to make there is nothing to write into allow.toml."""
    assert load_rule_pack(write_pack(tmp_path / "pack", allow="")).allow.entries == ()


@pytest.fixture
def with_extra(tmp_path: Path) -> Path:
    """The small pack with two extra packs, one of two files."""
    return write_extra(
        write_pack(tmp_path / "pack"),
        absolute=extra(),
        more=extra(id_="A02-first"),
        privacy=rules(
            rule("V01-name", '"身份证"', flag=("她的身份证", "身份证")),
            category="privacy",
            more='pack = "privacy"\nstatus = "shadow"',
        ),
    )


@pytest.mark.parametrize(
    ("packs", "ids"),
    [
        ([], ["S01-contact"]),
        (["absolute"], ["S01-contact", "A01-best", "A02-first"]),
        (["privacy", "absolute"], ["S01-contact", "A01-best", "A02-first", "V01-name"]),
    ],
)
def test_an_extra_pack_is_off_unless_it_is_named(
    with_extra: Path, packs: list[str], ids: list[str]
) -> None:
    """Its rules come after the others, all files of the pack together."""
    assert [rule.id for rule in load_rule_pack(with_extra, packs).rules] == ids
    assert extra_packs(with_extra) == ("absolute", "privacy")


def test_the_hash_covers_the_packs_that_are_on(with_extra: Path) -> None:
    """A finding's version tells which rules were there; a pack that is off changes nothing."""
    bare, both = load_rule_pack(with_extra), load_rule_pack(with_extra, ["absolute", "privacy"])
    assert bare.content_hash != both.content_hash
    edit(with_extra / "extra" / "privacy.toml", "severity = 3", "severity = 2")
    assert load_rule_pack(with_extra).content_hash == bare.content_hash
    assert load_rule_pack(with_extra, ["privacy"]).rules[-1].status is RuleStatus.SHADOW


def test_an_unknown_pack_is_refused_with_those_there_are(with_extra: Path, tmp_path: Path) -> None:
    """A slip in the setting must not switch rules off in silence."""
    with pytest.raises(RulePackError, match=r"no extra rule pack privat: .* absolute, privacy"):
        load_rule_pack(with_extra, ["privacy", "privat"])
    with pytest.raises(RulePackError, match=r"no extra rule pack privacy: .* none"):
        load_rule_pack(write_pack(tmp_path / "bare"), ["privacy"])


def test_a_broken_extra_pack_is_refused_with_its_file(with_extra: Path) -> None:
    """The same as for the rules that are always there, and only when it is on."""
    edit(with_extra / "extra" / "absolute.toml", "severity = 3", "severity = 9")
    with pytest.raises(RulePackError, match=r"^extra/absolute\.toml, line \d+, A01-best: severity"):
        load_rule_pack(with_extra, ["absolute"])
    assert len(load_rule_pack(with_extra, ["privacy"]).rules) == 2
