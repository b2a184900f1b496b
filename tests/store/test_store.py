"""The store on SQLite and PostgreSQL: natural keys, every write once, everything back as it was."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

import pytest

from pipeline.errors import StoreError
from pipeline.records import (
    Category,
    Coverage,
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    Utterance,
    Verdict,
    Versions,
    Why,
    Word,
)
from pipeline.store import Broadcast, Opening, Store

AT = dt.datetime(2026, 11, 11, 20, 0, 0, 123_456, tzinfo=dt.UTC)
BEIJING = dt.timezone(dt.timedelta(hours=8))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with one broadcast."""
    with Store(database_url) as store:
        store.add_broadcast("room", "b", AT)
        yield store


def segment(seq: int, epoch: int = 0) -> SegmentMessage:
    """The segment `seq`, ten seconds each."""
    key = SegmentKey("b", epoch, seq)
    start = seq * 10_000
    return SegmentMessage(key, "room", start, start + 8_000, AT, f"file:///{seq}.flac", "ab" * 32)


def transcript(seq: int, text: str) -> Transcript:
    """What segment `seq` was understood as."""
    start = seq * 10_000
    words = tuple(Word(start + 100 * i, start + 100 * i + 90, c, 0.5) for i, c in enumerate(text))
    return Transcript(start, start + 8_000, text, words, -0.2, 0.01, model="demo")


def finding(seq: int, rule: str = "price.lowest", span: tuple[int, int] = (0, 5)) -> Finding:
    """A finding in segment `seq`."""
    return Finding(
        category=Category.FALSE_PRICE_COMPARISON,
        subtype="P01",
        rule=rule,
        score=0.9,
        verdict=Verdict.REVIEW,
        span=span,
        evidence="全网最低价",
        start_ms=seq * 10_000,
        end_ms=seq * 10_000 + 900,
        why=Why("没有可查的比较对象。", ("最低",)),
        versions=Versions("0.1.0", "1"),
    )


def test_a_segment_comes_back_as_it_was(store: Store) -> None:
    """Key, clip and wall time survive, on both databases, to the microsecond."""
    store.add_segment(segment(3, epoch=2))
    assert store.segment(SegmentKey("b", 2, 3)) == segment(3, epoch=2)
    assert store.segment(SegmentKey("b", 2, 4)) is None
    assert store.segments("b") == [segment(3, epoch=2)]


def test_times_come_back_in_utc(store: Store) -> None:
    """The same moment, whatever the zone it was written in."""
    store.add_broadcast("room", "later", AT.astimezone(BEIJING))
    later = store.broadcast("later")
    assert later == Broadcast("later", "room", AT)
    assert later.started_at.tzinfo is dt.UTC


def test_writing_twice_changes_nothing(store: Store) -> None:
    """A message delivered again, even with another content, leaves the first row."""
    for _ in range(2):
        store.add_broadcast("other", "b", AT + dt.timedelta(hours=1))
        store.add_segment(segment(0))
        store.add_transcript(segment(0).key, transcript(0, "全网最低价"))
        store.add_findings(segment(0).key, [finding(0)])
        store.add_stretches("b", 0, [Stretch(0, 8_000, CoverageKind.HEARD)])
    store.add_transcript(segment(0).key, transcript(0, "别的"))
    assert store.broadcast("b") == Broadcast("b", "room", AT)
    assert store.segments("b") == [segment(0)]
    assert store.transcripts("b") == [transcript(0, "全网最低价")]
    assert store.transcript(segment(0).key) == transcript(0, "全网最低价")
    assert store.findings("b") == [finding(0)]
    assert store.coverage("b") == Coverage(heard_ms=8_000)


def test_late_rows_are_read_in_the_order_of_the_media_clock(store: Store) -> None:
    """Nobody promises the order of arrival."""
    for seq in (2, 0, 1):
        store.add_segment(segment(seq))
        store.add_transcript(segment(seq).key, transcript(seq, str(seq)))
        store.add_findings(segment(seq).key, [finding(seq)])
    assert [item.text for item in store.transcripts("b")] == ["0", "1", "2"]
    assert [item.start_ms for item in store.findings("b")] == [0, 10_000, 20_000]


def test_utterances_before_are_the_window_oldest_first(store: Store) -> None:
    """Context is what was said less than the window ago; empty transcripts are no utterances."""
    for seq, text in enumerate(["一", "二", "", "四", "五"]):
        store.add_segment(segment(seq))
        store.add_transcript(segment(seq).key, transcript(seq, text))
    before = store.utterances_before("b", 40_000, 30_000)
    assert [item.text for item in before] == ["二", "四"]
    assert before[0] == Utterance(10_000, 18_000, "二", (Word(10_000, 10_090, "二", 0.5),))
    assert store.utterances_before("other", 40_000, 30_000) == []


def test_segments_without_a_transcript_are_counted(store: Store) -> None:
    """A report must not call a broadcast complete while segments wait."""
    for seq in range(3):
        store.add_segment(segment(seq))
    store.add_transcript(segment(1).key, Transcript(0, 1, "", guards=("no_speech",)))
    assert store.untranscribed("b") == 2


def test_two_findings_differ_by_rule_or_span(store: Store) -> None:
    """The natural key of a finding is its segment, rule and span."""
    store.add_segment(segment(0))
    found = [finding(0), finding(0, span=(6, 9)), finding(0, rule="price.other")]
    store.add_findings(segment(0).key, found)
    store.add_findings(segment(0).key, [dataclasses.replace(finding(0), score=0.1)])
    assert sorted(store.findings("b"), key=str) == sorted(found, key=str)


@pytest.mark.parametrize("category", Category)
def test_a_finding_of_any_category_is_stored_and_opens_a_case(
    store: Store, category: Category
) -> None:
    """Further rule packs need no other schema, on either database."""
    store.add_segment(segment(0))
    one = dataclasses.replace(finding(0), category=category)
    store.add_findings(segment(0).key, [one])
    store.open_case(Opening("c", segment(0).key, one, "全网最低价"), lambda _: False, AT)
    assert store.findings("b") == [one]
    assert [(case.category, case.finding) for case in store.cases()] == [(category, one)]


def test_what_a_rule_on_trial_finds_is_kept_apart(store: Store) -> None:
    """It is recorded, not raised; the same finding of the rule when active is another one."""
    store.add_segment(segment(0))
    trial = dataclasses.replace(finding(0), shadow=True)
    store.add_findings(segment(0).key, [trial])
    assert (store.findings("b"), store.shadow_findings("b")) == ([], [trial])
    store.add_findings(segment(0).key, [finding(0)])
    assert (store.findings("b"), store.shadow_findings("b")) == ([finding(0)], [trial])


def test_the_ledger_of_all_epochs_is_one(store: Store) -> None:
    """After a reconnect the broadcast's clock goes on; reasons stay readable."""
    store.add_stretches("b", 0, [Stretch(0, 1_000, CoverageKind.HEARD)])
    store.add_stretches("b", 1, [Stretch(1_000, 4_000, CoverageKind.LOST, "连接中断")])
    store.add_stretches("b", 0, [Stretch(500, 700, CoverageKind.FAILED, "识别失败")])
    assert store.stretches("b") == [
        Stretch(0, 1_000, CoverageKind.HEARD),
        Stretch(500, 700, CoverageKind.FAILED, "识别失败"),
        Stretch(1_000, 4_000, CoverageKind.LOST, "连接中断"),
    ]
    assert store.coverage("b") == Coverage(heard_ms=800, lost_ms=3_000, failed_ms=200)


def test_the_latest_broadcasts_come_first(store: Store) -> None:
    """A list for people begins with what is on now."""
    store.add_broadcast("room", "c", AT + dt.timedelta(hours=1))
    assert [item.id for item in store.broadcasts()] == ["c", "b"]
    assert [item.id for item in store.broadcasts(limit=1)] == ["c"]
    assert store.broadcast("none") is None


def test_any_text_can_be_stored(store: Store) -> None:
    """Transcripts are untrusted: NUL, quotes and emoji neither break nor change anything."""
    text = "a\x00b'; DROP TABLE segments; --\u2028😀"
    store.add_segment(segment(0))
    store.add_transcript(segment(0).key, transcript(0, text))
    assert store.transcripts("b")[0].text == text


def test_a_row_without_what_it_belongs_to_is_refused(store: Store) -> None:
    """A segment of an unknown broadcast, or a transcript of an unknown segment, is one sentence."""
    with pytest.raises(StoreError, match=r"refuses a row .* add the broadcast and the segment"):
        store.add_segment(dataclasses.replace(segment(0), key=SegmentKey("unknown", 0, 0)))
    with pytest.raises(StoreError, match="refuses a row"):
        store.add_transcript(SegmentKey("b", 0, 99), transcript(0, "好"))
