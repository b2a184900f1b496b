"""The normal form: what it makes equal, and that every offset leads back to the right character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.normalize import NormalText, normal_form, normalize

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=())) | st.text(
    alphabet="专柜微信。,!9.9 微信啊嗯ＡＢ發臉\u202e\u200b😀\ud800\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("專櫃賣９９．９元，加我微信！", "专柜卖99.9元加我微信"),
        ("加 我 啊 微 嗯 信", "加我微信"),
        ("加。微\u200b信😀ＶＸ", "加微信vx"),
        ("便宜20%哦", "便宜20%"),
        ("９．９包邮,１９９", "9.9包邮199"),
        ("v1.2版本,9.", "v1.2版本9"),
        ("裡面發財頭髮", "里面发财头发"),
        ("", ""),
        ("。。。😀", ""),
        ("\ud800加\udfff微", "加微"),
    ],
)
def test_the_normal_form_drops_noise_and_unites_scripts(text: str, expected: str) -> None:
    """Widths, script, case, punctuation and fillers do not keep a rule from matching."""
    assert normal_form(text) == expected


@given(ANY_TEXT)
def test_every_offset_leads_back_to_its_own_character(text: str) -> None:
    """Offsets rise strictly, and each original character alone has the same normal form."""
    normal = normalize(text)
    offsets = list(normal.offsets)
    assert len(offsets) == len(normal.text)
    assert offsets == sorted(set(offsets))
    for character, offset in zip(normal.text, offsets, strict=True):
        assert 0 <= offset < len(text)
        # A decimal point alone has no digits around it and is dropped.
        assert character == "." or normal_form(text[offset]) == character


@given(ANY_TEXT)
def test_the_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    """Words of a rule pack and utterances meet in one form, however often it is taken."""
    once = normal_form(text)
    assert normal_form(once) == once


@given(ANY_TEXT)
def test_sentences_lie_within_the_text(text: str) -> None:
    """Whatever the punctuation, the sentence of a span contains the span."""
    normal = normalize(text)
    for start in range(len(normal.text)):
        left, right = normal.sentence(start, start + 1)
        assert 0 <= left <= start < right <= len(normal.text)


def test_a_span_in_the_normal_form_maps_to_the_original_characters() -> None:
    """The evidence is cut from what was really said, noise inside included."""
    text = "大家,加 我 微。信!"
    normal = normalize(text)
    start = normal.text.index("加我微信")
    a, b = normal.original_span(start, start + 4)
    assert text[a:b] == "加 我 微。信"


def test_one_character_may_stand_for_several() -> None:
    """A restored word leads back to the first and past the last character said for it."""
    text = NormalText("加微信", (0, 2, 2), ends=(1, 6, 6))
    assert text.original_span(0, 1) == (0, 1)
    assert text.original_span(1, 2) == (2, 6)
    assert text.original_span(0, 3) == (0, 6)


def test_strong_punctuation_begins_a_new_sentence() -> None:
    """What stands in another sentence does not excuse a span."""
    normal = normalize("别信。加微信!好")
    assert normal.text == "别信加微信好"
    assert normal.breaks == (2, 5)
    assert normal.sentence(2, 5) == (2, 5)
    assert normal.sentence(1, 3) == (0, 5)
