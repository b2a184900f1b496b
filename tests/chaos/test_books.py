"""The books' checker on made-up books: what balances passes, every imbalance is told."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pipeline.records import (
    Category,
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    Verdict,
    Versions,
    Why,
)
from pipeline.store.cases import finding_id
from tests.chaos.books import Books, Entry, FiledCase, Wrong, imbalances

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)
KEYS = tuple(SegmentKey("b", 0, seq) for seq in range(3))


def segment(key: SegmentKey, start_ms: int, end_ms: int) -> SegmentMessage:
    return SegmentMessage(key, "r", start_ms, end_ms, AT, f"file:///clips/{key.seq}", "00")


def finding(rule: str, evidence: str, span: tuple[int, int] = (0, 6)) -> Finding:
    return Finding(
        category=Category.FALSE_PRICE_COMPARISON,
        subtype="P01",
        rule=rule,
        score=0.9,
        verdict=Verdict.REVIEW,
        span=span,
        evidence=evidence,
        start_ms=0,
        end_ms=900,
        why=Why("原价没有依据"),
        versions=Versions("1", "1"),
    )


PRICE = finding("price.was", "专柜九百八十")
OTHER = finding("price.lowest", "全网最低五十")
SEGMENTS = (
    segment(KEYS[0], 0, 1000),
    segment(KEYS[1], 1500, 3000),
    segment(KEYS[2], 3000, 4000),
)
#: Speech, silence, speech; the last segment was given up.
BALANCED = Books(
    broadcast="b",
    segments=SEGMENTS,
    transcripts={
        KEYS[0]: Transcript(0, 1000, "专柜九百八十"),
        KEYS[1]: Transcript(1500, 3000, "全网最低五十"),
    },
    judged=frozenset(KEYS[:2]),
    dead_segments=frozenset(KEYS[2:]),
    stretches=(
        Stretch(0, 1000, CoverageKind.HEARD),
        Stretch(1000, 1500, CoverageKind.SILENT),
        Stretch(1500, 3000, CoverageKind.HEARD),
        Stretch(3000, 4000, CoverageKind.HEARD),
        Stretch(3000, 4000, CoverageKind.FAILED, "识别失败"),
    ),
    findings=((KEYS[0], PRICE), (KEYS[1], OTHER)),
    expected=((KEYS[0], PRICE), (KEYS[1], OTHER)),
    cases=(
        FiledCase("c1", PRICE, finding_id(KEYS[0], PRICE)),
        FiledCase("c2", OTHER, finding_id(KEYS[1], OTHER)),
    ),
    filed={finding_id(KEYS[0], PRICE): "c1", finding_id(KEYS[1], OTHER): "c2"},
    announced=frozenset({"c1", "c2"}),
    played_ms=4200,
)

Change = Callable[[Books], dict[str, Any]]


def without(items: Sequence[Any], index: int) -> tuple[Any, ...]:
    return (*items[:index], *items[index + 1 :])


def test_books_that_balance_have_no_entries() -> None:
    """A transcript, a dead letter, silence and two cases: nothing is lost, doubled or untrue."""
    assert imbalances(BALANCED) == []


def test_a_finding_with_another_score_and_span_is_the_stored_one() -> None:
    """More context may change the words that decided: that is no other finding."""
    wider = dataclasses.replace(PRICE, rule="model", score=0.7, span=(2, 6))
    books = dataclasses.replace(BALANCED, expected=((KEYS[0], wider), (KEYS[1], OTHER)))
    assert imbalances(books) == []


def test_a_segment_that_was_shed_has_its_end() -> None:
    """The ledger's word for it is enough, and it needs no transcript."""
    shed = (*BALANCED.stretches[:4], Stretch(3000, 4000, CoverageKind.SHED, "负载过高"))
    books = dataclasses.replace(BALANCED, dead_segments=frozenset(), stretches=shed)
    assert imbalances(books) == []
    assert books.shed() == {KEYS[2]}


@pytest.mark.parametrize(
    ("change", "wrong", "words"),
    [
        pytest.param(
            lambda _: {"dead_segments": frozenset()},
            Wrong.LOST,
            "b/0/2 has no transcript",
            id="segment-lost",
        ),
        pytest.param(
            lambda _: {"dead_segments": frozenset(KEYS[1:])},
            Wrong.DOUBLED,
            "b/0/1 has a transcript and a dead letter",
            id="two-ends",
        ),
        pytest.param(
            lambda _: {"judged": frozenset(KEYS[:1])},
            Wrong.LOST,
            "b/0/1 is transcribed and was never judged",
            id="not-judged",
        ),
        pytest.param(
            lambda b: {"segments": (*b.segments[:2], segment(KEYS[2], 2500, 4000))},
            Wrong.DOUBLED,
            "have the same sound at 2500",
            id="same-sound-twice",
        ),
        pytest.param(
            lambda b: {"findings": b.findings[:1]},
            Wrong.LOST,
            "全网最低五十 of b/0/1 is not stored",
            id="finding-lost",
        ),
        pytest.param(
            lambda b: {"findings": (*b.findings, b.findings[0])},
            Wrong.DOUBLED,
            "is stored 2 times",
            id="finding-twice",
        ),
        pytest.param(
            lambda b: {"findings": (*b.findings, (KEYS[0], finding("model", "九百八十", (2, 6))))},
            Wrong.DOUBLED,
            "are the same",
            id="finding-doubled",
        ),
        pytest.param(
            lambda _: {"filed": {finding_id(KEYS[0], PRICE): "c1"}},
            Wrong.LOST,
            "is in no case",
            id="no-case",
        ),
        pytest.param(
            lambda b: {"cases": b.cases[:1]}, Wrong.LOST, "is in no case", id="case-missing"
        ),
        pytest.param(
            lambda _: {"announced": frozenset({"c2"})},
            Wrong.LOST,
            "case c1 was opened and never announced",
            id="case-not-announced",
        ),
        pytest.param(
            lambda b: {
                "cases": (*b.cases, FiledCase("c3", PRICE, "elsewhere")),
                "filed": b.filed | {"elsewhere": "c3"},
            },
            Wrong.DOUBLED,
            "cases c1 and c3 are one pitch",
            id="two-cases-of-one-pitch",
        ),
        pytest.param(
            lambda b: {"stretches": without(b.stretches, 1)},
            Wrong.LOST,
            "nothing of 1000…1500 ms",
            id="hole-in-ledger",
        ),
        pytest.param(
            lambda b: {"stretches": b.stretches[:3]},
            Wrong.LOST,
            "nothing of 3000…4000 ms",
            id="ledger-ends-early",
        ),
        pytest.param(
            lambda b: {"stretches": without(b.stretches, 4)},
            Wrong.UNTRUE,
            "3000…4000 ms count as heard and were never transcribed",
            id="unheard-counts-as-heard",
        ),
        pytest.param(
            lambda b: {"stretches": (*b.stretches, Stretch(0, 1000, CoverageKind.FAILED, "失败"))},
            Wrong.UNTRUE,
            "0…1000 ms count as not heard and were transcribed",
            id="failure-not-withdrawn",
        ),
        pytest.param(
            lambda _: {"played_ms": 60_000},
            Wrong.LOST,
            "played 60000 ms, its ledger has 4000 ms",
            id="time-on-the-air-missing",
        ),
        pytest.param(
            lambda _: {"broken_clips": frozenset({"file:///clips/1"})},
            Wrong.LOST,
            "clip file:///clips/1",
            id="clip-missing",
        ),
    ],
)
def test_what_does_not_balance_is_told(change: Change, wrong: Wrong, words: str) -> None:
    """Each made-up fault shows as its own kind of entry, with words that lead to it."""
    told: list[Entry] = imbalances(dataclasses.replace(BALANCED, **change(BALANCED)))
    assert [entry for entry in told if entry.wrong is wrong and words in entry.text], told
