"""Spoken and written numbers: what is recognised as one, its value, unit and role."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.normalize import normal_form
from pipeline.detect.numbers import SLOTS, Role, quantities, value_of

PRICE = re.compile(SLOTS["price"])


@pytest.mark.parametrize(
    ("spoken", "yuan"),
    [
        ("九块九", 9.9),
        ("一百九十九", 199),
        ("两百五", 250),
        ("千八", 1800),
        ("三九九", 399),
        ("八十九米", 89),
        ("一千零五十", 1050),
        ("一千零五", 1005),
        ("一万二", 12_000),
        ("十块", 10),
        ("四十五块钱", 45),
        ("三十块半", 30.5),
        ("99.9元", 99.9),
        ("3万", 30_000),
        ("几百", 300),
        ("好几千块", 3000),
        ("三百多", 300),
        ("四位数", 1000),
        ("九点九块", 9.9),
        ("十九点九元", 19.9),
        ("9块9", 9.9),
        ("199", 199),
    ],
)
def test_a_spoken_price_has_its_value(spoken: str, yuan: float) -> None:
    """The whole wording is one price, and it is worth what a listener understands."""
    found = PRICE.match(spoken)
    assert found is not None
    assert found[0] == spoken
    assert value_of(spoken) == pytest.approx(yuan)


@pytest.mark.parametrize("text", ["一字头", "", "块", "不是数"])
def test_what_has_no_value_is_none(text: str) -> None:
    """An unclear number is told from a small one."""
    assert value_of(text) is None


@pytest.mark.parametrize(
    "text",
    ["五十克", "三天", "七八个", "一百二十八张", "两斤", "二号链接", "一米二", "九十度", "一二三"],
)
def test_measures_and_counts_are_no_prices(text: str) -> None:
    """A weight, a size or a link number never takes part in a price comparison."""
    found = PRICE.search(text)
    assert found is None or "米" in found[0]


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("一百九十九三套", "一百九十九"),
        ("十块三颗", "十块"),
        ("一百二包邮", "一百二"),
        ("九块九三盒", "九块九"),
        ("九块九两盒", "九块九"),
        ("两千八一斤", "两千八"),
    ],
)
def test_a_count_after_a_price_is_not_part_of_it(text: str, price: str) -> None:
    """ "一百九十九三套" is 199 for three sets, not 1,993."""
    found = PRICE.match(text)
    assert found is not None
    assert found[0] == price


@pytest.mark.parametrize(
    ("said", "value", "unit", "role"),
    [
        ("九块九", 9.9, "元", Role.PRICE),
        ("9块9", 9.9, "元", Role.PRICE),
        ("9.9", 9.9, "元", Role.PRICE),
        ("９．９元", 9.9, "元", Role.PRICE),
        ("一百九十九", 199, "元", Role.PRICE),
        ("199", 199, "元", Role.PRICE),
        ("１９９", 199, "元", Role.PRICE),
        ("两百五", 250, "元", Role.PRICE),
        ("千八", 1800, "元", Role.PRICE),
        ("三九九", 399, "元", Role.PRICE),
        ("八十九米", 89, "元", Role.PRICE),
        ("二十五元三毛", 25.3, "元", Role.PRICE),
        ("三千三百八十元五角八分", 3380.58, "元", Role.PRICE),
        ("五毛钱", 0.5, "元", Role.PRICE),
        ("四位数", 1000, "元", Role.PRICE),
        ("一字头", None, "元", Role.PRICE),
        ("几块", None, "元", Role.PRICE),
        ("八欧元", 8, "欧元", Role.PRICE),
        ("五折", 5, "折", Role.DISCOUNT),
        ("八五折", 8.5, "折", Role.DISCOUNT),
        ("85折", 8.5, "折", Role.DISCOUNT),
        ("半价", 5, "折", Role.DISCOUNT),
        ("百分之九十", 90, "%", Role.PERCENTAGE),
        ("百分之二点五", 2.5, "%", Role.PERCENTAGE),
        ("20%", 20, "%", Role.PERCENTAGE),
        ("九成七", 97, "%", Role.PERCENTAGE),
        ("七天", 7, "天", Role.DURATION),
        ("两个半月", 2.5, "月", Role.DURATION),
        ("半个小时", 0.5, "小时", Role.DURATION),
        ("三个疗程", 3, "疗程", Role.DURATION),
        ("六斤", 6, "斤", Role.WEIGHT),
        ("一斤半", 1.5, "斤", Role.WEIGHT),
        ("两千克", 2, "公斤", Role.WEIGHT),
        ("二两", 2, "两", Role.WEIGHT),
        ("两盒", 2, "盒", Role.QUANTITY),
        ("七八个", 7, "个", Role.QUANTITY),
        ("一百零一个", 101, "个", Role.QUANTITY),
        ("三十毫升", 30, "毫升", Role.NUMBER),
        ("一米六五", 1.65, "米", Role.NUMBER),
        ("五十米", 50, "米", Role.NUMBER),
        ("十八岁", 18, "岁", Role.NUMBER),
        ("二零二六年", 2026, "年", Role.NUMBER),
        ("八点三十", 8.5, "点", Role.NUMBER),
        ("三分之一", 1 / 3, "", Role.NUMBER),
        ("六点四二万", 64_200, "", Role.NUMBER),
        ("三五万", 30_000, "", Role.NUMBER),
        ("一亿两千万", 120_000_000, "", Role.NUMBER),
    ],
)
def test_a_number_has_its_value_unit_and_role(
    said: str, value: float | None, unit: str, role: Role
) -> None:
    """The whole wording is one quantity, whether it was said or a recogniser wrote digits."""
    text = normal_form(said)
    (found,) = quantities(text)
    assert (found.start, found.end) == (0, len(text))
    assert found.value == pytest.approx(value)
    assert (found.unit, found.role) == (unit, role)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("专柜九百八今天一百九十九三套", ["九百八 price", "一百九十九 price", "三套 quantity"]),
        ("九点九包邮两瓶", ["九点九 price", "两瓶 quantity"]),
        ("一百一个", ["一百 price", "一个 quantity"]),
        ("打五折到手四十九块九", ["五折 discount", "四十九块九 price"]),
        ("七天瘦六斤", ["七天 duration", "六斤 weight"]),
        ("八月八日", ["八月 number", "八日 number"]),
        ("百分之三十到四十", ["百分之三十 percentage", "四十 percentage"]),
        ("三百到五百块", ["三百 price", "五百块 price"]),
        ("九点开播", ["九点 number"]),
    ],
)
def test_numbers_in_a_row_are_told_apart(text: str, expected: list[str]) -> None:
    """Each number ends where the next one or its own unit says so."""
    found = [f"{text[item.start : item.end]} {item.role}" for item in quantities(text)]
    assert found == expected


@pytest.mark.parametrize(
    "text", ["第一次", "一起来", "有一点甜", "万一呢", "三角形", "没有数", "千万别买", "百搭的"]
)
def test_words_with_a_digit_are_no_amounts(text: str) -> None:
    """A digit inside a word is no price, weight, time or share."""
    roles = {item.role for item in quantities(text)}
    assert roles <= {Role.QUANTITY, Role.NUMBER}


@given(
    st.text(alphabet=st.characters(exclude_categories=()))
    | st.text(
        alphabet="零一二两三五九十百千万亿几半点块元米毛角分之成折个斤两天年月3.9%wk٣到对价位数字头"
    )
)
def test_quantities_of_any_text_lie_in_it_and_do_not_overlap(text: str) -> None:
    """Nothing raises, values are finite, and spans rise within the text."""
    normal = normal_form(text)
    end = 0
    for item in quantities(normal):
        assert end <= item.start < item.end <= len(normal)
        assert item.value is None or abs(item.value) != float("inf")
        end = item.end


@given(st.integers(min_value=10, max_value=99_999))
def test_a_number_is_worth_the_same_said_and_written(number: int) -> None:
    """A recogniser may write 199 or 一百九十九."""
    (said,) = quantities(spoken(number))
    (written,) = quantities(str(number))
    assert said.value == written.value == number


def spoken(number: int) -> str:
    """A number from 10 to 99,999 as it is read out in full."""
    digits = "零一二三四五六七八九"
    text, waiting = "", False
    for power, sign in ((10_000, "万"), (1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // power % 10
        if digit:
            text += ("零" if waiting and text else "") + digits[digit] + sign
        waiting = not digit
    return text


def test_free_postage_is_no_packs() -> None:
    """九块九包邮 is 9.9 with free postage; 九块九六包 is six packs for 9.9."""
    (price,) = quantities("九块九包邮")
    assert (price.value, price.unit, price.role) == (9.9, "元", Role.PRICE)
    assert [(one.value, one.unit) for one in quantities("九块九六包")] == [(9.9, "元"), (6, "包")]
