"""Whether a second model heard the offending words as well."""

from __future__ import annotations

import pytest

from pipeline.review.opinion import HeardAgain, heard_again


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        ("全网最低价", "今天就是全网最低价", HeardAgain.SAME),
        ("加 V信", "你们加，v信就行", HeardAgain.SAME),
        ("全网最低价", "今天就是全往最低加", HeardAgain.ALIKE),
        ("全网最低价", "今天就是全网最贵价", HeardAgain.ABSENT),
        ("全网最低价", "低价", HeardAgain.ABSENT),
        ("全网最低价", "", HeardAgain.ABSENT),
        ("……", "什么都没有", HeardAgain.ABSENT),
    ],
)
def test_words_are_compared_by_letters_then_by_sound(
    words: str, text: str, expected: HeardAgain
) -> None:
    """Spaces, case and punctuation do not count; the same syllables are told as such."""
    assert heard_again(words, text) is expected
