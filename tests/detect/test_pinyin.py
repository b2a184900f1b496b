"""How far apart two words sound, and the signs that find them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.pinyin import FAR, distance, signs, syllables_of


@pytest.mark.parametrize(
    ("said", "meant"),
    [("威信", "微信"), ("薇信", "微信"), ("佳薇", "加微"), ("四信", "私信"), ("通风", "痛风")],
)
def test_tones_do_not_count(said: str, meant: str) -> None:
    """Homophones are no distance apart, whatever their tones."""
    assert distance(said, meant) == 0
    assert signs(said) == signs(meant)


@pytest.mark.parametrize(
    ("said", "meant", "expected"),
    [
        ("微星", "微信", 0.4),
        ("是信", "私信", 0.4),
        ("拿群", "拉群", 0.6),
        ("山", "三", 0.4),
        ("上", "三", 0.8),
    ],
)
def test_what_dialects_mix_up_costs_something(said: str, meant: str, expected: float) -> None:
    """n and l, front and back nasals, flat and retroflex are near, and not equal."""
    assert distance(said, meant) == pytest.approx(expected)
    assert signs(said) == signs(meant)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("信号", "微信"), ("通风", "微信"), ("发货", "花货"), ("微", "微信"), ("vx", "微信")],
)
def test_what_sounds_different_is_far(said: str, meant: str) -> None:
    """Another initial or final, another length, or no Han character: no near-homophone."""
    assert distance(said, meant) == FAR
    assert signs(said) != signs(meant)


def test_a_character_is_read_as_it_is_read_most() -> None:
    """The usual reading comes first, without its tone; ü keeps its dots."""
    assert syllables_of("微") == ("wei",)
    assert syllables_of("绿")[0] == "lü"
    assert syllables_of("重")[0] == "zhong"
    assert syllables_of("a") == ()


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_signs_of_any_text_stand_for_its_characters(text: str) -> None:
    """One sign a character, and what is no Han character is its own sign."""
    heard = signs(text)
    assert len(heard) == len(text)
    for character, sign in zip(text, heard, strict=True):
        if not syllables_of(character):
            assert sign == character


@given(st.text(alphabet="微威信星四是私拿拉三山上发a1", max_size=4), st.text(max_size=4))
def test_distance_is_symmetric_and_zero_to_itself(said: str, meant: str) -> None:
    """The order of the two words does not matter."""
    assert distance(said, said) == 0
    assert distance(said, meant) == distance(meant, said)


def test_importing_loads_no_dictionary_of_readings() -> None:
    """Commands that read no rule pack do not wait for pypinyin or the words of jieba."""
    script = (
        "import sys, pipeline.detect.restore, jieba;"
        "print('pypinyin' in sys.modules, bool(jieba.dt.initialized))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
