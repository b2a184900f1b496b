"""Figures of an evaluation, on labels and findings that can be counted by hand."""

from __future__ import annotations

import random

import pytest

from pipeline.detect.corpus import Broadcast, LabelledLine
from pipeline.detect.evaluation import evaluate
from pipeline.detect.noise import misheard
from pipeline.records import Category, Finding, Verdict, Versions, Why

PRICE, DISP = Category.FALSE_PRICE_COMPARISON, Category.COMPETITOR_DISPARAGEMENT


def finding(category: Category, score: float) -> Finding:
    """A finding of which only category and score count."""
    return Finding(
        category,
        "P01",
        "model",
        score,
        Verdict.REVIEW,
        (0, 1),
        "x",
        0,
        1,
        Why("x"),
        Versions("1", "1"),
    )


LINES = (
    LabelledLine("专柜九百八", frozenset({PRICE}), ("P01",), claim="c1"),
    LabelledLine("今天九十九", frozenset({PRICE}), ("P01",), claim="c1"),
    LabelledLine("他家假货", frozenset({DISP}), ("D01",)),
    LabelledLine("各有各的好", frozenset(), look_alike="DISP:lawful"),
    LabelledLine("大家好", frozenset()),
)
FOUND: tuple[list[Finding], ...] = (
    [],
    [finding(PRICE, 0.9)],
    [finding(PRICE, 0.6)],
    [finding(DISP, 0.7)],
    [],
)


def test_every_figure_is_what_can_be_counted() -> None:
    """Precision, recall, F1, alarm rates, claims, calibration and the mistakes."""
    result = evaluate([Broadcast("b", LINES)], [FOUND])
    price, disp = result.categories[PRICE], result.categories[DISP]
    assert (price.precision, price.recall, price.f1) == (0.5, 0.5, 0.5)
    assert (disp.precision, disp.recall, disp.f1) == (0.0, 0.0, 0.0)
    assert result.macro_f1 == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert (result.look_alikes.share, result.plain.share) == (1.0, 0.0)
    assert (result.claims.some, result.claims.all) == (1, 1)
    assert (result.subtypes["P01"].some, result.subtypes["P01"].all) == (1, 2)
    assert [(one.mean_score, one.hits) for one in result.calibration] == [
        (0.6, 0),
        (0.7, 0),
        (0.9, 1),
    ]
    assert [(m.number, m.raised) for m in result.mistakes] == [
        (1, frozenset()),
        (3, frozenset({PRICE})),
        (4, frozenset({DISP})),
    ]
    assert [m.before for m in result.mistakes] == ["", "今天九十九", "他家假货"]


def test_made_up_recognition_errors_have_the_rate_that_is_asked_for() -> None:
    """The same seed gives the same errors; what is no Chinese character stays."""
    text = "专柜卖九百八的羊毛衫今天到我直播间只要九十九元 ok 2026 " * 40
    heard = misheard(text, 0.2, random.Random(1))
    assert misheard(text, 0.2, random.Random(1)) == heard
    lost = len(text) - len(heard)
    characters = sum("\u4e00" <= c <= "\u9fff" for c in text)
    assert 0.03 * characters < lost < 0.09 * characters
    assert heard.count("ok 2026") == 40
    assert misheard(text, 0.0, random.Random(1)) == text
