"""The bundled rules: they do what their examples say and rest on law in force."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tomllib

import pytest

from pipeline.detect import RulePack, detect, self_test
from pipeline.detect.pack import FlagExample, PassExample
from pipeline.records import Category, Utterance
from pipeline.resources import resource

TODAY = dt.date(2026, 11, 22)


def test_every_rule_flags_and_passes_what_it_says(pack: RulePack) -> None:
    """Each rule's examples hold, with the span; the message says which one does not."""
    assert [failure.message for failure in self_test(pack)] == []


def test_the_self_test_sees_every_kind_of_failure(pack: RulePack) -> None:
    """The self-test itself can fail."""
    rule = next(rule for rule in pack.rules if rule.id == "S01-add-contact")
    wrong = dataclasses.replace(
        rule,
        flag=(FlagExample("今天三十九", "三十九"), FlagExample("加我微信", "加我")),
        passes=(PassExample("快加我微信"),),
    )
    rules = tuple(wrong if item is rule else item for item in pack.rules)
    failures = self_test(dataclasses.replace(pack, rules=rules))
    assert [(failure.rule, failure.kind) for failure in failures] == [
        ("S01-add-contact", "false_negative"),
        ("S01-add-contact", "wrong_span"),
        ("S01-add-contact", "false_positive"),
    ]


def test_every_category_has_rules(pack: RulePack) -> None:
    """No category is silently empty, and a subtype stands in the file of its category."""
    letters = {rule.category: set[str]() for rule in pack.rules}
    for rule in pack.rules:
        letters[rule.category].add(rule.subtype[0])
    assert letters == {
        Category.FALSE_PRICE_COMPARISON: {"P"},
        Category.COMPETITOR_DISPARAGEMENT: {"D"},
        Category.OFF_PLATFORM_SOLICITATION: {"S"},
        Category.EFFICACY_CLAIM: {"E"},
    }


@pytest.mark.parametrize("on", [dt.date(2025, 6, 1), dt.date(2025, 12, 1), TODAY])
def test_every_rule_rests_on_something_in_force(pack: RulePack, on: dt.date) -> None:
    """Also for an utterance from before the latest changes there is a basis to show."""
    without = [rule.id for rule in pack.rules if not pack.basis.in_force(rule.basis, on)]
    assert without == []


def test_solicitation_rests_on_platform_rules_and_says_so(pack: RulePack) -> None:
    """Off-platform solicitation is no statute's matter, and no finding may suggest it is."""
    for rule in pack.rules:
        if rule.category is Category.OFF_PLATFORM_SOLICITATION:
            first = pack.basis.in_force(rule.basis, TODAY)[0]
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
        found = {finding.category.value for finding in detect(pack, utterance, said, TODAY)}
        if found != ({line["category"]} if "category" in line else set()):
            wrong.append((line["text"], found))
        said.append(utterance)
    assert wrong == []
    assert sum("category" in line for line in lines) == 12
