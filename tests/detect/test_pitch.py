"""The key of a pitch: equal for the same claim said again, in any process and any broadcast."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect import load_rule_pack
from pipeline.detect.pitch import pitch_of
from pipeline.detect.restore import reading_of
from pipeline.records import Category

MORPHS = load_rule_pack().morphs


def key(text: str, subtype: str = "E01") -> str:
    """The key of all of a text."""
    return pitch_of(Category.EFFICACY_CLAIM, subtype, reading_of(text, MORPHS).text)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("全网最低价", "全网 最低家!"),
        ("原价九百九十九", "原价999"),
        ("最后五套了", "最后三套"),
        ("加我微信", "加咱绿泡泡了"),
        ("百分之九十有效", "九成有效"),
        ("专柜九百八今天九十九", "专柜九百八十今天99块"),
    ],
)
def test_the_same_claim_has_the_same_key(a: str, b: str) -> None:
    """However the recogniser writes it, and however many are left."""
    assert key(a) == key(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("原价九百九十九", "原价八百九十九"),
        ("卖9.9", "卖19.9"),
        ("七天祛斑", "三天祛斑"),
        ("百分之九十有效", "百分之八十有效"),
        ("能治糖尿病", "能治高血压"),
        ("能治湿疹", "不能治湿疹"),
        ("隔壁是假货", "对面是假货"),
    ],
)
def test_another_claim_has_another_key(a: str, b: str) -> None:
    """Other facts must be checked."""
    assert key(a) != key(b)


def test_another_subtype_is_another_pitch() -> None:
    """It is judged under another rule."""
    assert key("全网最低价", "P04") != key("全网最低价", "P01")


def test_a_key_is_the_same_in_every_process() -> None:
    """It is stored, and compared with those of other workers."""
    program = (
        "from pipeline.detect.pinyin import signs\n"
        "from pipeline.detect.pitch import pitch_of\n"
        "from pipeline.records import Category\n"
        "signs({warmed!r})\n"
        "print(pitch_of(Category.EFFICACY_CLAIM, 'E01', '三天湿疹就好'))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", program.format(warmed=warmed)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for warmed in ("你好", "血压高的喝三天")
    }
    assert keys == {key("三天湿疹就好")}


@given(st.text())
def test_any_text_has_a_key(text: str) -> None:
    """Of one form, so that a column of them can be searched."""
    assert len(key(text)) == 16
