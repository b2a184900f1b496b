"""The pattern language: what it matches, what it anchors on, and what it refuses."""

from __future__ import annotations

import pytest

from pipeline.detect.patterns import PatternError, compile_pattern

CLASSES = {"channel": ("专柜", "实体店"), "add": ("加",), "me": ("我", "我们")}


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("[add][me]?微信", "快加微信吧", "加微信"),
        ("[add][me]?微信", "快加我们微信", "加我们微信"),
        (
            "[channel]…<price:high>…今天<price:low>",
            "专柜卖九百八今天九十九",
            "专柜卖九百八今天九十九",
        ),
        ("加微!(弹|信)", "加微弹加微我", "加微"),
        ("(转|打)(给)?我", "直接打给我", "打给我"),
        ("加~微", "加一二三微", "加一二三微"),
        ("加 微、信", "加微信", "加微信"),
        ("那会儿?卖", "那会卖", "那会卖"),
        ("那会儿?卖", "那会儿卖", "那会儿卖"),
        ("(那会儿?|当时)卖", "现在卖那会卖", "那会卖"),
        ("加v?信", "加信", "加信"),
    ],
)
def test_a_pattern_matches_its_construction(pattern: str, text: str, matched: str) -> None:
    """Words, classes, slots, gaps, options and lookaheads do what the language says."""
    found = compile_pattern(pattern, CLASSES).regex.search(text)
    assert found is not None
    assert found[0] == matched


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("加~微", "加一二三四微"),
        ("加…微", "加" + "一" * 13 + "微"),
        ("加……微", "加" + "一" * 41 + "微"),
        ("加微!(弹|信)", "加微弹加微信"),
    ],
)
def test_a_gap_has_an_end(pattern: str, text: str) -> None:
    """Words that stand too far apart are no construction."""
    assert compile_pattern(pattern, CLASSES).regex.search(text) is None


def test_anchors_are_the_rarest_words_of_a_pattern() -> None:
    """A pattern is tried only on texts that have one of its anchors."""
    assert compile_pattern("[add]…[channel]<price>", CLASSES).anchors == {"专柜", "实体店"}
    assert compile_pattern("(微信|绿泡泡)…加", CLASSES).anchors == {"微信", "绿泡泡"}
    assert compile_pattern("加(微信)?", CLASSES).anchors == {"加"}
    assert compile_pattern("那会儿?…<price>", CLASSES).anchors == {"那会"}


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("<price>", "no word that is always there"),
        ("(加|<price>)", "no word that is always there"),
        ("[nobody]加", "unknown class"),
        ("加<size>", "unknown slot"),
        ("加(微|信", "closing parenthesis"),
        ("加)微", "extra"),
        ("加||微", "empty part"),
        ("?加", "stray"),
        ("加[", "not understood"),
        ("加(啊)", "never matched"),
        ("加<price:a><price:a>", "gives one name to two slots"),
        ("", "empty part"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    """Whoever writes rules learns what is wrong, at load time and not on air."""
    with pytest.raises(PatternError, match=reason):
        compile_pattern(pattern, CLASSES)
