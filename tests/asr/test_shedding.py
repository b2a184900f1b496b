"""What is left out under overload: the least risky, declared, and the books balance."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence

from pipeline.asr.load import Thresholds
from pipeline.asr.shedding import LATELY_MS, Risk, least_risky_first, risk_of
from pipeline.records import (
    CoverageKind,
    SegmentKey,
    SegmentMessage,
    SpeechSegment,
    Transcript,
)
from pipeline.streams import Delivery
from tests.asr.workers import Bench, finding
from tests.fakes import ScriptedRecogniser

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def waiting(
    room: str, seq: int, length_ms: int = 5_000, *, priority: int = 0, start_ms: int = 0
) -> Delivery[SegmentMessage]:
    key = SegmentKey(f"{room}-1", 0, seq)
    end_ms = start_ms + length_ms
    message = SegmentMessage(key, room, start_ms, end_ms, AT, "", "", "zh", priority)
    return Delivery(f"{1_000 + seq}-0", message)


def order(items: Sequence[Delivery[SegmentMessage]], findings: dict[str, int]) -> list[str]:
    chosen = least_risky_first(items, findings)
    return [f"{item.record.room}{item.record.key.seq}" for item in chosen]


def test_priority_outweighs_everything_else() -> None:
    """A quiet room of high priority outlives a risky one of low priority."""
    items = [waiting("vip", 0, 500, priority=1), waiting("plain", 0), waiting("test", 0, 9_000)]
    items.append(waiting("low", 0, 9_000, priority=-1))
    assert order(items, {"plain-1": 0, "low-1": 0}) == ["low0", "test0", "plain0", "vip0"]


def test_a_finding_counts_for_half_an_hour_of_the_broadcast() -> None:
    """After that the room is as quiet as the others."""
    late = [waiting("a", 0, start_ms=LATELY_MS + 999), waiting("b", 1, start_ms=LATELY_MS)]
    assert order(late, {"a-1": 1_000}) == ["b1", "a0"]
    assert order(late, {"a-1": 999}) == ["a0", "b1"]


def test_no_room_is_left_out_twice_before_the_others_once() -> None:
    """Short ones go first within a room, and rooms take turns, so that none becomes deaf."""
    items = [
        *(waiting("a", seq, length_ms) for seq, length_ms in enumerate((900, 300, 600))),
        waiting("b", 3, 8_000),
    ]
    assert order(items, {}) == ["a1", "b3", "a2", "a0"]


def test_the_class_of_a_segment_is_named() -> None:
    """The metric tells whether risky speech is being lost already."""
    assert risk_of(waiting("a", 0, priority=2).record, {}) is Risk.PRIORITY
    assert risk_of(waiting("a", 0).record, {"a-1": 0}) is Risk.FINDINGS
    assert risk_of(waiting("a", 0).record, {"b-1": 0}) is Risk.QUIET


class Slow(ScriptedRecogniser):
    """Takes 20 ms for a window."""

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        time.sleep(0.02 * len(segments))
        return super().transcribe(segments)


def test_overload_leaves_out_the_least_risky_and_says_so(steady: Bench) -> None:
    """Rooms of priority and with findings are heard; for the others the ledger says SHED.

    Every segment is a transcript or a SHED stretch, and nothing waits at the end.
    """
    risky = steady.send("risky", 0, 0)
    steady.places.store.add_findings(risky.key, [finding("治愈")])
    for seq in range(5):
        steady.send("vip", seq, 4_000 * seq, priority=5)
        steady.send("risky", seq + 1, 4_000 * (seq + 1))
    rooms = [f"quiet{number}" for number in range(20)]
    for room in rooms:
        # Not neighbours: merging cannot help.
        for seq in (0, 2, 4, 6):
            steady.send(room, seq, 4_000 * seq)
    worker = steady.worker(Slow({}), max_batch=8, thresholds=Thresholds(merge_s=0.001, shed_s=0.4))
    while steady.waiting():
        worker._look_at = 0.0  # its second between two looks is over
        worker.step()
    store, value = steady.places.store, steady.places.metrics.value
    heard = {room: len(store.transcripts(f"{room}-1")) for room in ("vip", "risky", *rooms)}
    assert (heard["vip"], heard["risky"]) == (5, 6)
    shed = {
        room: [s for s in store.stretches(f"{room}-1") if s.kind is CoverageKind.SHED]
        for room in rooms
    }
    assert 20 <= sum(map(len, shed.values())) < 80
    for room in rooms:
        assert heard[room] + len(shed[room]) == 4
        coverage = store.coverage(f"{room}-1")
        assert coverage.shed_ms == 2_000 * len(shed[room])
        assert coverage.heard_ms == 2_000 * heard[room]
        assert {s.reason for s in shed[room]} <= {"识别积压过久，按风险从低到高舍弃，这一段没有听"}
    total = value("tingbo_queue_shed_entries_total", reason="quiet_room")
    assert total == sum(map(len, shed.values()))
    assert value("tingbo_queue_shed_entries_total", reason="room_with_findings") == 0


def test_without_a_limit_everything_is_heard(steady: Bench) -> None:
    """0 means never, however far behind."""
    for number in range(30):
        steady.send(f"room{number}", 0, 0)
    worker = steady.worker(Slow({}), thresholds=Thresholds(merge_s=0.001, shed_s=0))
    while steady.waiting():
        worker._look_at = 0.0
        worker.step()
    assert sum(len(steady.texts(f"room{number}")) for number in range(30)) == 30
