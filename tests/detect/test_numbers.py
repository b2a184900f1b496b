"""Spoken prices: what is recognised as one, and what it is worth."""

from __future__ import annotations

import re

import pytest

from pipeline.detect.numbers import SLOTS, value_of

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
        ("两千八一斤", "两千八"),
    ],
)
def test_a_count_after_a_price_is_not_part_of_it(text: str, price: str) -> None:
    """ "一百九十九三套" is 199 for three sets, not 1,993."""
    found = PRICE.match(text)
    assert found is not None
    assert found[0] == price
