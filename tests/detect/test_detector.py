"""Rules and the shipped classifier together: how, of whom, and why not."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline.detect import Detected, load_detector
from pipeline.records import SPEECH_ACT_NAMES, Utterance, Verdict
from pipeline.reports.wording import TARGETS
from pipeline.settings import Settings

TODAY = dt.date(2026, 11, 22)
DETECTOR = load_detector((), Settings().effective_classifier_dir)


def detected(text: str, *after: str) -> Detected:
    """What is found in `text`, said before `after`."""
    said = [Utterance(n * 4000, n * 4000 + 3500, item) for n, item in enumerate((text, *after))]
    return DETECTOR.detect(said[0], (), said[1:], TODAY)


@pytest.mark.parametrize(
    ("text", "rule", "act"),
    [
        ("厂家跟我说这个能治湿疹", "E01-disease-cured", "quoting"),
        ("你们觉得这个真能治湿疹吗", "E01-disease-cured", "question"),
        ("买贵了我十倍赔给你全网最低", "P04-lowest-anywhere", "promise"),
        ("这个草本膏三天湿疹就好了", "E01-disease-cured", "assertion"),
    ],
)
def test_a_finding_tells_how_it_is_said(text: str, rule: str, act: str) -> None:
    """In the record and, but for a plain claim, in the reason."""
    findings = {finding.rule: finding for finding in detected(text).findings}
    finding = findings[rule]
    assert finding.speech_act == act
    assert (SPEECH_ACT_NAMES[act] in finding.why.text) is (act != "assertion")
    if act in ("quoting", "question"):
        assert finding.verdict is Verdict.REVIEW


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("隔壁卖的猫粮都是过期肉打的粉", "peer"),
        ("外面百分之八十的猫砂都是工业废料压的", "peers"),
        ("某宝上那家卖的都是假货翻新的", "other_channel"),
        ("加我微信给你发货", "audience"),
        ("他家卖一万二我今天三千八", "peer"),
        ("专柜卖一万二我今天三千八", "other_channel"),
    ],
)
def test_a_finding_tells_of_whom_it_is_said(text: str, target: str) -> None:
    """The same rule for all of a kind, and the words decide."""
    assert {finding.target for finding in detected(text).findings} == {target}


def test_an_overruled_rule_is_explained() -> None:
    """The classifier sees the context; whoever asks learns of the rule and of its doubt."""
    result = detected("有人问加不加微信拿货,不加,一件两件都在小车里拍")
    assert result.findings == ()
    assert [(one.rule, one.by) for one in result.excused] == [
        ("S01-add-contact", "overruled"),
        ("S01-add-contact", "refusal"),
    ]
    assert "把握" in result.excused[0].why


def test_every_act_and_target_has_a_name() -> None:
    """What people see is Chinese, in the reason and in the report."""
    assert set(DETECTOR.pack.acts) <= set(SPEECH_ACT_NAMES)
    assert {target.name for target in DETECTOR.pack.targets} <= set(TARGETS)
