"""The training text: spoken numbers, what sentences look like, and what is kept for scoring."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.resources import resource

TEXT = resource("models", "asr_demo", "text")
HANZI = re.compile(r"[\u4e00-\u9fff]{2,30}")


def held_out() -> list[str]:
    """The lines that only scoring speaks."""
    return (TEXT / "heldout" / "host.txt").read_text(encoding="utf-8").split()


def written(sentences: ModuleType) -> list[str]:
    """Every product, feature, claim and line of the training areas."""
    areas: list[dict[str, list[str]]] = sentences.read_areas(TEXT / "areas")
    return [text for area in areas for texts in area.values() for text in texts]


@pytest.mark.parametrize(
    ("value", "spoken"),
    [
        (0, "零"),
        (10, "十"),
        (19, "十九"),
        (20, "二十"),
        (99, "九十九"),
        (101, "一百零一"),
        (110, "一百一十"),
        (115, "一百一十五"),
        (1000, "一千"),
        (1010, "一千零一十"),
        (2305, "二千三百零五"),
        (10_005, "一万零五"),
        (10_010, "一万零一十"),
        (12_345, "一万二千三百四十五"),
        (100_000, "十万"),
        (110_011, "十一万零一十一"),
        (20_305_070, "二千零三十万五千零七十"),
        (99_999_999, "九千九百九十九万九千九百九十九"),
    ],
)
def test_a_number_is_spelled_as_it_is_read_out(
    sentences: ModuleType, value: int, spoken: str
) -> None:
    """Zeros inside are said once, zeros at the end not at all, and ten is not one ten."""
    assert sentences.number(value) == spoken


def test_different_numbers_are_spelled_differently(sentences: ModuleType) -> None:
    """No two numbers up to 20,000 sound the same."""
    assert len({sentences.number(n) for n in range(20_000)}) == 20_000


def test_a_seed_gives_the_same_text_again(sentences: ModuleType) -> None:
    """A shard can be made anew; another seed says something else."""

    def draw(seed: int) -> list[str]:
        source = sentences.Text(seed)
        return [source.sentence() for _ in range(50)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_every_slot_of_a_frame_is_filled(sentences: ModuleType) -> None:
    """Frames become Chinese characters alone: no slot is unknown, no brace is left."""
    source = sentences.Text(5)
    frames = (TEXT / "frames.txt").read_text(encoding="utf-8")
    slots = {"p", "f", "q", "q2", "n", "k", "d", "t", "w", "v", "a", "who", "x"}
    assert set(re.findall(r"\{(\w+)\}", frames)) == slots
    assert [text for text in (source.frame() for _ in range(2000)) if not text.isalpha()] == []


@pytest.mark.slow
def test_the_text_is_wide_short_and_apart_from_the_held_out_lines(sentences: ModuleType) -> None:
    """60,000 draws: over 40,000 distinct, 2 to 30 Chinese characters each, none held out."""
    source = sentences.Text(1)
    drawn = {source.sentence() for _ in range(60_000)}
    assert len(drawn) >= 40_000
    assert [text for text in drawn if not HANZI.fullmatch(text)] == []
    assert drawn.isdisjoint(held_out())


@pytest.mark.parametrize(
    ("area", "words"),
    [
        ("pets", ("猫砂", "猫粮", "牵引绳")),
        ("fishing tackle", ("鱼钩", "路亚竿", "开好饵")),
        ("musical instruments", ("古筝", "吉他", "竹笛")),
        ("stationery", ("钢笔", "便利贴", "文件夹")),
        ("car accessories", ("机油", "后备箱垫", "座垫")),
        ("plants", ("君子兰", "缓释肥", "带土带盆")),
        ("spectacles", ("渐进片", "鼻托", "验光单")),
        ("lamps and hardware", ("筒灯", "膨胀螺栓", "双控")),
    ],
)
def test_goods_of_the_held_out_areas_are_in_no_training_line(
    sentences: ModuleType, area: str, words: tuple[str, ...]
) -> None:
    """What such a host sells is scored and was not trained on; the model card names what was."""
    scored, trained = " ".join(held_out()), " ".join(written(sentences))
    assert [word for word in words if word not in scored] == [], area
    assert [word for word in words if word in trained] == [], area


def test_no_held_out_line_is_a_training_line(sentences: ModuleType) -> None:
    """Not even as a part: scoring speaks 400 lines that training never spoke."""
    trained = "\n".join(written(sentences))
    assert len(held_out()) >= 400
    assert [line for line in held_out() if line in trained] == []


def test_every_area_has_text_of_every_kind(sentences: ModuleType) -> None:
    """24 product areas and everyday life, each with products, features, claims and lines."""
    files: list[Path] = sorted((TEXT / "areas").glob("*.toml"))
    areas = sentences.read_areas(TEXT / "areas")
    assert len(files) == len(areas) == 25
    for file, area in zip(files, areas, strict=True):
        assert min(len(texts) for texts in area.values()) >= 10, file.name
