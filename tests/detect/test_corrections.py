"""Corrections: kept as mitigation, linked to what they take back, and no more than that."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline.detect import Detected, Talk, load_detector
from pipeline.detect.corrections import WITHIN, is_correction
from pipeline.records import Correction, Utterance, Verdict
from pipeline.settings import Settings

TODAY = dt.date(2026, 11, 22)
DETECTOR = load_detector((), Settings().effective_classifier_dir)
CLAIM = "这个草本膏抹上三天湿疹就好了"
OTHER = "想要的加我微信我给你发货"
PLAIN = ["大家看一下质地", "罐子里面是满的", "今天天气不错啊", "打包的师傅辛苦了"] * 5


def said(*texts: str, every_ms: int = 4000) -> list[Detected]:
    """What is found in the utterances of one broadcast."""
    talk = Talk(DETECTOR, TODAY)
    told = []
    for number, text in enumerate(texts):
        start = number * every_ms
        told += list(talk.add(Utterance(start, start + 3500, text)))
    told += list(talk.rest())
    assert [utterance.text for utterance, _ in told] == list(texts)
    return [detected for _, detected in told]


def corrections(detected: Detected) -> list[str]:
    """What takes the findings back."""
    return [f.why.correction.text for f in detected.findings if f.why.correction is not None]


@pytest.mark.parametrize("between", [0, 1, 5, WITHIN - 1])
def test_a_correction_is_linked_to_its_claim(between: int) -> None:
    """Also when it comes later: the suspicion stays, a person decides, and the reason tells it."""
    back = "刚才说湿疹那句说错了我收回没有依据"
    first, *_ = said(CLAIM, *PLAIN[:between], back)
    (finding,) = first.findings
    assert finding.why.correction == Correction((between + 1) * 4000, back)
    assert finding.verdict is Verdict.REVIEW
    assert finding.why.text.endswith(f"(减轻情节:主播随后更正“{back}”)")


def test_a_correction_too_late_is_none() -> None:
    """After so many utterances, or so long, another topic has begun."""
    back = "刚才说湿疹那句说错了我收回没有依据"
    assert corrections(said(CLAIM, *PLAIN[:WITHIN], back)[0]) == []
    assert corrections(said(CLAIM, PLAIN[0], back, every_ms=46_000)[0]) == []


@pytest.mark.parametrize(
    ("back", "taken"),
    [
        ("刚才湿疹那句说错了没有依据", [True, False]),
        ("刚才让加微信说错了平台不允许收回", [False, True]),
        ("刚才那句我收回说错了", [False, True]),
        ("刚才那个价格说错了收回", [False, False]),
        ("效果因人而异啊不代表疗效", [False, False]),
        ("我没说错就是这样", [False, False]),
    ],
)
def test_a_correction_takes_back_what_it_names(back: str, taken: list[bool]) -> None:
    """By shared words, else by its category, else the last claim; a disclaimer takes nothing."""
    claim, other, *_ = said(CLAIM, PLAIN[0], PLAIN[1], OTHER, PLAIN[2], back)[0::3]
    assert [bool(corrections(one)) for one in (claim, other)] == taken


def test_both_halves_of_a_claim_are_taken_back() -> None:
    """The comparator in one breath, the price in the next: one claim."""
    result = said(
        "这件大衣商场专柜卖两千六一件",
        "今天在咱们直播间三百九十九",
        PLAIN[0],
        "刚才那个价我说错了收回",
    )
    assert [len(corrections(one)) for one in result[:2]] == [1, 1]


def test_a_claim_taken_back_in_one_breath_stays_with_a_person() -> None:
    """当我没说 is a way of hinting as well: it excuses nothing."""
    (detected,) = said("想要的加我微信哈当我没说")
    (finding,) = detected.findings
    assert (finding.speech_act, finding.verdict) == ("taking_back", Verdict.REVIEW)


def test_plain_talk_is_no_correction() -> None:
    """What was taken back from customers, or what others said wrong."""
    for text in ("上周起雾的那台收回来退了全款", "谁说我秃了别胡说", "你说错了是六十九", *PLAIN):
        assert not is_correction(DETECTOR.pack, Utterance(0, 900, text)), text


def test_clean_lines_are_told_at_once() -> None:
    """Only a finding waits for a correction, with what is after it."""
    talk = Talk(DETECTOR, TODAY)
    told = [
        len(list(talk.add(Utterance(n * 4000, n * 4000 + 3500, text))))
        for n, text in enumerate([*PLAIN[:4], CLAIM, *PLAIN[:14]])
    ]
    assert told[:4] == [0, 0, 1, 1]
    assert told[4:] == [1, 1, *[0] * 12, 13]
