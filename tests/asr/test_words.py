"""Words: simplified, in order, inside their segment, and together exactly the text."""

from __future__ import annotations

import numpy as np

from pipeline.asr.script import simplify, simplify_pieces
from pipeline.asr.words import Piece, timed_words
from pipeline.records import SpeechSegment, Word

SEGMENT = SpeechSegment(3, 10_000, 12_000, np.zeros(32_000, np.float32))


def pieces(*texts: str, step_ms: float = 200) -> list[Piece]:
    return [Piece(text, i * step_ms, (i + 1) * step_ms, 0.5) for i, text in enumerate(texts)]


def test_times_are_those_of_the_broadcast() -> None:
    """Times count from the broadcast's start, not the segment's."""
    words = timed_words(pieces("好", "用"), SEGMENT, 2)
    assert words == (Word(10_000, 10_200, "好", 0.5), Word(10_200, 10_400, "用", 0.5))


def test_times_stay_in_the_segment_and_in_order() -> None:
    """An alignment that runs back, or past the end, is clamped."""
    wild = [Piece("一", 500, 900, 1.0), Piece("二", 300, 700, 1.0), Piece("三", 1_900, 2_600, 1.0)]
    words = timed_words(wild, SEGMENT, 3)
    assert [(w.start_ms, w.end_ms) for w in words] == [
        (10_500, 10_900),
        (10_900, 10_900),
        (11_900, 12_000),
    ]


def test_a_pause_belongs_to_no_word() -> None:
    """The alignment leaves no gaps: silence is cut off the first word's start and others' ends."""
    slow = [
        Piece("大家", 0, 1_200, 1.0),
        Piece("好", 1_200, 1_900, 1.0),
        Piece("啊", 1_900, 2_000, 1.0),
    ]
    words = timed_words(slow, SEGMENT, 4)
    assert [(w.start_ms, w.end_ms) for w in words] == [
        (10_200, 11_200),
        (11_200, 11_700),
        (11_900, 12_000),
    ]


def test_traditional_words_and_text_agree() -> None:
    """Every word is simplified, and the pieces keep their lengths."""
    words = timed_words(pieces("這個", "產", "品", "乾淨"), SEGMENT, 6)
    assert [word.text for word in words] == ["这个", "产", "品", "干净"]


def test_a_character_is_read_in_the_context_of_its_neighbours() -> None:
    """A phrase that is split over pieces is converted as a phrase: 乾坤 is not 干坤."""
    assert simplify_pieces(["乾", "坤"]) == ["乾", "坤"]
    assert simplify_pieces(["乾", "淨"]) == ["干", "净"]
    assert simplify("ＡＢC 123，好！") == "ＡＢC 123，好！"


def test_punctuation_goes_with_the_word_before_it() -> None:
    """Signs and spaces are no words of their own, and none is lost."""
    words = timed_words(pieces(" “", "全网", "最低", "，", " ", "真的", "。”"), SEGMENT, 99)
    assert [word.text for word in words] == ["“全网", "最低， ", "真的。”"]


def test_broken_characters_leave_no_trace() -> None:
    """Bytes that make no character vanish from words as from the text."""
    words = timed_words(pieces("好", "\ufffd", "用\ufffd"), SEGMENT, 99)
    assert [word.text for word in words] == ["好", "用"]


def test_only_kept_characters_remain() -> None:
    """Words end where a guard cut the text, inside a word if need be."""
    words = timed_words(pieces("我们", "看看", "看看", "看看"), SEGMENT, 3)
    assert [word.text for word in words] == ["我们", "看"]
    assert timed_words(pieces("我们"), SEGMENT, 0) == ()
