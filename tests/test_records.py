"""Records survive the trip through JSON; a record without a sample here fails the suite."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import json

import pytest

from pipeline import codec, records
from pipeline.records import (
    Basis,
    Case,
    CaseMessage,
    CaseState,
    Category,
    Correction,
    Coverage,
    CoverageKind,
    Earlier,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    TranscriptMessage,
    Utterance,
    Verdict,
    Versions,
    Why,
    Word,
)

AT = dt.datetime(2026, 11, 11, 20, 0, 0, 250_000, tzinfo=dt.UTC)
KEY = SegmentKey("room-1-20261111", 2, 17)
WORDS = (Word(1_000, 1_400, "全网", 0.97), Word(1_400, 2_000, "最低价", 0.5))
FINDING = Finding(
    category=Category.FALSE_PRICE_COMPARISON,
    subtype="P01",
    rule="price.lowest",
    score=0.93,
    verdict=Verdict.BLOCK,
    span=(0, 5),
    evidence="全网最低价",
    start_ms=1_000,
    end_ms=2_000,
    why=Why(
        "“全网最低价”没有可查的比较对象。",
        ("全网最低价",),
        ("原价三百九",),
        Earlier(200, "原价三百九", (0, 5)),
        Correction(9_000, "刚才说错了"),
    ),
    versions=Versions("0.1.0", "2026.11", "classifier-1", "demo"),
    speech_act="rhetorical",
    target="own_product",
    basis=(
        Basis("lm-32", "直播电商监督管理办法", "第三十二条", dt.date(2026, 2, 1)),
        Basis(
            *("old", "旧规定", "第一条", dt.date(2010, 1, 1), dt.date(2026, 2, 1)),
            source="某机关令第1号",
            link="https://example.com/old",
            verified=True,
        ),
    ),
    facts_to_check=("近三十天成交价",),
    suggestion="今天直播间的价格是……",
    shadow=True,
    pitch="p0123456789abcde",
)

#: One sample for every record that travels, no field left at its default.
SAMPLES = (
    Stretch(0, 1_500, CoverageKind.LOST, "时间戳中断"),
    Coverage(1, 2, 3, 4, 5, 6),
    WORDS[0],
    Transcript(1_000, 2_000, "全网最低价", WORDS, -0.25, 0.01, ("loop_truncated",), "价价", "demo"),
    Utterance(1_000, 2_000, "全网最低价", WORDS),
    FINDING.basis[1],
    FINDING.why.earlier,
    FINDING.why.correction,
    FINDING.why,
    FINDING.versions,
    FINDING,
    KEY,
    SegmentMessage(KEY, "room-1", 1_000, 2_000, AT, "file:///clips/17.flac", "0" * 64, "en", 3),
    TranscriptMessage(KEY, "room-1", AT),
    Case(
        id="c-1",
        room="room-1",
        broadcast=KEY.broadcast,
        category=FINDING.category,
        state=CaseState.CLAIMED,
        first_ms=1_000,
        last_ms=9_000,
        times_ms=(1_000, 9_000),
        text="全网最低价",
        clip_uri="file:///clips/17.flac",
        finding=FINDING,
        opened_at=AT + dt.timedelta(milliseconds=900),
        heard_at=AT,
        findings=(FINDING,),
    ),
    CaseMessage("c-1", "room-1", KEY.broadcast, AT),
)

#: Records that carry sound: a message names the clip instead.
STAY_HOME = {"AudioChunk", "Gap", "SpeechSegment"}

CLASSES = {
    name: cls
    for name, cls in inspect.getmembers(records, inspect.isclass)
    if dataclasses.is_dataclass(cls) and cls.__module__ == records.__name__
}


def test_every_record_has_a_sample_or_stays_home() -> None:
    """A new record class needs a sample below before the suite is green again."""
    assert {type(sample).__name__ for sample in SAMPLES} | STAY_HOME == set(CLASSES)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_record_comes_back_equal_from_json(sample: object) -> None:
    """Encoding and decoding is the identity, down to times, enums and nested tuples."""
    assert codec.decode(type(sample), codec.encode(sample)) == sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_sample_leaves_no_field_at_its_default(sample: object) -> None:
    """A field that the codec drops would come back as its default and look equal."""
    assert dataclasses.is_dataclass(sample)
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(sample)
        if field.default is not dataclasses.MISSING
    }
    assert [name for name, value in defaults.items() if getattr(sample, name) == value] == []


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_a_record_is_frozen_and_slotted(cls: type[object]) -> None:
    """Records are shared between threads, so nobody can change one."""
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(cls)


def test_times_travel_as_utc_and_codes_as_their_value() -> None:
    """Other tools read the JSON: the form of a time and of a code is part of the interface."""
    assert json.loads(codec.encode(SAMPLES[-1])) == {
        "case": "c-1",
        "room": "room-1",
        "broadcast": "room-1-20261111",
        "at": "2026-11-11T20:00:00.250000Z",
    }
    assert json.loads(codec.encode(FINDING))["category"] == "false_price_comparison"
    assert json.loads(codec.encode(FINDING))["span"] == [0, 5]


def test_every_category_has_a_name_and_a_letter_of_its_own() -> None:
    """Subtypes of two categories never share a code; the four that are always judged come first."""
    assert list(records.CATEGORY_NAMES) == list(Category)
    assert list(records.SUBTYPE_LETTERS) == list(Category)
    assert "".join(records.SUBTYPE_LETTERS.values()) == "PDSEARGVZ"
    assert tuple(Category)[:4] == records.CORE_CATEGORIES


@pytest.mark.parametrize(
    ("samples", "ms"),
    [(0, 0), (15, 0), (16, 1), (16_000, 1_000), (4 * 3600 * 16_000, 4 * 3600 * 1_000)],
)
def test_the_media_clock_comes_from_the_sample_count(samples: int, ms: int) -> None:
    """Milliseconds are derived from one count, rounded down, exact after hours."""
    assert records.samples_to_ms(samples) == ms
    assert records.ms_to_samples(ms) <= samples
