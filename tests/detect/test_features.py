"""What the classifier sees: numbers masked by role, names and places that agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.features import masked, neighbour_of, sounds_of, word_names, words_of
from pipeline.detect.wordclasses import word_classes

CLASSES = word_classes({"venue": ("专柜", "商场专柜"), "contact": ("微信",)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("专柜九百八今天九十九", "专柜￥今天¥"),
        ("原价三千六现在两百", "原价€现在￥"),
        ("百分之九十的人七天见效", "%的人D见效"),
        ("四位数的包", "€的包"),
    ],
)
def test_numbers_are_masked_by_what_they_stand_for(text: str, expected: str) -> None:
    """A price is a price whatever it is; its size stays."""
    assert masked(text).text == expected


@settings(deadline=None)
@given(st.text(alphabet="专柜九百八今天元微信卖给你嗯12", max_size=30))
def test_names_with_places_are_those_without(text: str) -> None:
    """The explanation rests on the features that the score rests on."""
    mask = masked(text).text
    assert sorted(word_names(mask)) == sorted(feature.name for feature in words_of(mask))
    assert all(0 <= f.start < f.end <= len(mask) for f in words_of(mask))


def test_a_masked_character_tells_where_it_begins() -> None:
    """Spans of the masked text lead back to the normal form."""
    mask = masked("专柜九百八今天")
    assert [mask.offsets[mask.text.index(sign)] for sign in ("专", "今")] == [0, 5]
    assert mask.offsets[-1] == 7


def test_homophones_have_the_same_sounds() -> None:
    """What a recogniser mishears still counts."""
    assert (
        list(sounds_of("加微信"))
        == list(sounds_of("家威信"))
        == ["jia wei", "wei xin", "jia wei xin"]
    )
    assert list(sounds_of("加微信")) != list(sounds_of("加通风"))


def test_the_longest_word_of_a_class_is_found() -> None:
    """A word within a longer one does not count twice."""
    assert list(CLASSES.found("商场专柜加微信")) == ["venue", "contact"]


def test_a_neighbour_tells_words_and_classes() -> None:
    """Words of one character say too little; numbers and classes do say something."""
    assert neighbour_of("去专柜九百八", CLASSES) == ["专柜", "￥", "kvenue"]
