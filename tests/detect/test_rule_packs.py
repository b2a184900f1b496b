"""The bundled rules: they do what their examples say and rest on law in force."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tomllib
from pathlib import Path

import pytest

from pipeline.detect import (
    RulePack,
    extra_packs,
    load_rule_pack,
    read_rules,
    self_test,
    warnings,
)
from pipeline.detect.pack import FlagExample, PassExample
from pipeline.records import CORE_CATEGORIES, SUBTYPE_LETTERS, Category, Utterance
from pipeline.resources import resource
from tests.detect.packs import ALLOW, MORPHS, rule, rules, write_pack

TODAY = dt.date(2026, 11, 22)


@pytest.fixture(scope="module")
def everything() -> RulePack:
    """The rules of lexicons/ with every extra pack."""
    return load_rule_pack(packs=extra_packs())


def test_every_rule_flags_and_passes_what_it_says(everything: RulePack) -> None:
    """All examples hold, with the span; the message says which one does not."""
    assert [failure.message for failure in self_test(everything)] == []


def test_nothing_in_the_bundled_packs_needs_a_warning(everything: RulePack) -> None:
    """Every rule rests on something in force, and every allowed wording is needed."""
    assert warnings(everything, TODAY) == []


def test_the_self_test_sees_every_kind_of_failure(tmp_path: Path) -> None:
    """The self-test itself can fail, also for allowed wordings, morphs and rules on trial."""
    pack = load_rule_pack(
        write_pack(
            tmp_path,
            solicit=rules(rule(more='status = "shadow"')),
            allow=ALLOW.replace("加微信支付的红包", "加微信支付,加微信"),
            morphs=MORPHS.replace('"加微信"]]', '"加电话"]]', 1).replace("吹泡泡", "绿泡泡"),
        )
    )
    (contact,) = pack.rules
    wrong = dataclasses.replace(
        contact,
        flag=(FlagExample("今天三十九", "三十九"), FlagExample("加我微信", "加我")),
        passes=(PassExample("快加微信"),),
    )
    failures = self_test(dataclasses.replace(pack, rules=(wrong,)))
    assert [(failure.rule, failure.kind, failure.text) for failure in failures] == [
        ("S01-contact", "false_negative", "今天三十九"),
        ("S01-contact", "wrong_span", "加我微信"),
        ("S01-contact", "false_positive", "快加微信"),
        ("allow", "false_positive", "加微信支付,加微信"),
        ("morphs", "false_negative", "加绿泡泡"),
        ("morphs", "false_positive", "绿泡泡"),
    ]


def test_a_warning_is_given_for_what_works_and_should_not_stay(tmp_path: Path) -> None:
    """A basis that is no longer in force, and an allowed wording that nothing would flag."""
    allow = ALLOW.replace("加微信支付的红包", "微信支付")
    pack = load_rule_pack(write_pack(tmp_path, solicit=rules(rule(basis="old")), allow=allow))
    assert self_test(pack) == []
    assert warnings(pack, dt.date(2025, 12, 31)) == [
        "allow: '微信支付' would pass without its entry (平台内的付款方式)."
    ]
    assert warnings(pack, dt.date(2026, 1, 1))[0] == (
        "S01-contact rests on nothing that is in force on 2026-01-01."
    )


def test_every_core_category_has_rules(pack: RulePack) -> None:
    """None is silently empty, and no further category is judged unless it is asked for."""
    assert {rule.category for rule in pack.rules} == set(CORE_CATEGORIES)


def test_a_subtype_is_of_its_category(everything: RulePack) -> None:
    """P01 is a price comparison wherever it stands."""
    wrong = [one.id for one in everything.rules if one.subtype[0] != SUBTYPE_LETTERS[one.category]]
    assert wrong == []


@pytest.mark.parametrize("on", [dt.date(2025, 6, 1), dt.date(2025, 12, 1), TODAY])
def test_every_rule_rests_on_something_in_force(pack: RulePack, on: dt.date) -> None:
    """Also for an utterance from before the latest changes there is a basis to show."""
    without = [rule.id for rule in pack.rules if not pack.basis.in_force(rule.basis, on)]
    assert without == []


def test_solicitation_rests_on_platform_rules_and_says_so(pack: RulePack) -> None:
    """Off-platform solicitation is no statute's matter, and no finding may suggest it is."""
    for one in pack.rules:
        if one.category is Category.OFF_PLATFORM_SOLICITATION:
            first = pack.basis.in_force(one.basis, TODAY)[0]
            assert first.kind == "platform_rule"
            assert "平台规则" in first.basis.title


@pytest.mark.parametrize(
    ("on", "article"),
    [(dt.date(2025, 10, 14), "第十一条"), (dt.date(2025, 10, 15), "第十二条")],
)
def test_the_article_is_that_of_the_day(pack: RulePack, on: dt.date, article: str) -> None:
    """反不正当竞争法 was renumbered on 2025-10-15."""
    (found,) = pack.basis.in_force(["unfair-competition-disparagement"], on)
    assert found.basis.article == article


def test_the_live_commerce_rules_apply_from_their_first_day(pack: RulePack) -> None:
    """直播电商监督管理办法 is not cited for what was said before 2026-02-01."""
    ids = ["live-commerce-32", "live-commerce-34", "live-commerce-36"]
    assert pack.basis.in_force(ids, dt.date(2026, 1, 31)) == ()
    assert len(pack.basis.in_force(ids, dt.date(2026, 2, 1))) == 3


def test_the_bundled_broadcast_is_judged_as_its_script_says(pack: RulePack) -> None:
    """All violations of the demo are found, in their category, and none of its look-alikes."""
    script = tomllib.loads(resource("models", "demo_broadcast", "script.toml").read_text("utf-8"))
    lines = [item for item in script["item"] if item["kind"] == "line"]
    said: list[Utterance] = []
    wrong = []
    for number, line in enumerate(lines):
        utterance = Utterance(number * 3000, number * 3000 + 2500, line["text"])
        reading = read_rules(pack, utterance, said, TODAY)
        found = {finding.category.value for finding in reading.findings}
        if found != ({line["category"]} if "category" in line else set()):
            wrong.append((line["text"], found))
        said.append(utterance)
    assert wrong == []
    assert sum("category" in line for line in lines) == 12
