"""Reading ahead: the urgent go first, nobody starves, what is only read is not lost or tried."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from redis import Redis

from pipeline.asr.ahead import urgency_ms
from pipeline.asr.worker import GROUP
from pipeline.codec import encode
from pipeline.records import SegmentKey, SegmentMessage, SpeechSegment, Transcript
from pipeline.streams import SEGMENTS, Delivery
from tests.asr.workers import AT, Bench, opened
from tests.fakes import ScriptedRecogniser


class Noting(ScriptedRecogniser):
    """Remembers when which segment was heard, by its start."""

    def __init__(self) -> None:
        super().__init__({})
        self.rounds: list[list[int]] = []

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        self.rounds.append([segment.start_ms for segment in segments])
        return super().transcribe(segments)


def published(ms: int, priority: int) -> Delivery[SegmentMessage]:
    key = SegmentKey("a-1", 0, 0)
    return Delivery(f"03/{ms}-7", SegmentMessage(key, "a", 0, 1, AT, "", "", "zh", priority))


def test_ten_seconds_of_waiting_are_worth_one_level() -> None:
    """A high room goes first, but not for ever, whatever number its priority is."""
    high = published(100_000, 3)
    assert urgency_ms(high) < urgency_ms(published(70_001, 0))
    assert urgency_ms(high) > urgency_ms(published(69_999, 0))
    assert urgency_ms(published(100_000, 1_000)) > urgency_ms(published(9_999, 0))
    assert urgency_ms(published(100_000, -1_000)) < urgency_ms(published(190_001, 0))


def test_a_priority_room_overtakes_what_waits(steady: Bench) -> None:
    """The last to come is in the first batch, and the rest keeps its order."""
    recogniser = Noting()
    for seq in range(7):
        steady.send("plain", seq, 2_000 * seq)
    steady.send("vip", 0, 90_000, priority=1)
    worker = steady.worker(recogniser, max_batch=3)
    while steady.waiting():
        worker.step()
    assert recogniser.rounds == [[90_000, 0, 2_000], [4_000, 6_000, 8_000], [10_000, 12_000]]


def test_a_low_room_is_heard_though_higher_ones_fill_every_batch(steady: Bench) -> None:
    """Rooms of priority 9 want all there is, second after second: 90 s later it is its turn."""
    recogniser = Noting()
    template = steady.send("vip", 0, 0, priority=9)
    low = steady.send("low", 0, 500_000)
    worker = steady.worker(recogniser, max_batch=2)
    heard_after = 0
    with Redis.from_url(steady.redis_url) as redis:
        redis.delete(SEGMENTS.key())

        def publish(message: SegmentMessage, at_ms: int) -> None:
            redis.xadd(SEGMENTS.key(), {"record": encode(message)}, id=f"{at_ms}-*")

        publish(low, 1_000)
        for second in range(1, 120):
            for _ in range(2):
                publish(template, 1_000 * second)
            worker.step()
            if 500_000 in recogniser.rounds[-1]:
                heard_after = second
                break
    assert 88 <= heard_after <= 92


def test_what_is_read_ahead_stays_with_the_worker(steady: Bench) -> None:
    """Another worker gets what was not read, not what is held; nothing is heard twice."""
    first, second = Noting(), Noting()
    for seq in range(10):
        steady.send("a", seq, 2_000 * seq)
    one, other = steady.worker(first, max_batch=2), steady.worker(second, max_batch=2)
    one.step()
    other.step()
    while steady.waiting():
        one.step()
    assert sorted(start for batch in first.rounds for start in batch) == list(
        range(0, 16_000, 2_000)
    )
    assert second.rounds == [[16_000, 18_000]]


def test_what_was_only_read_does_not_count_as_tried(redis_url: str, tmp_path: Path) -> None:
    """A worker that dies with eight in its hands has tried two: those come back as tried."""

    class Dying(ScriptedRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:  # noqa: ARG002
            raise SystemExit

    with opened(redis_url, tmp_path, 1_000) as bench:
        for seq in range(8):
            bench.send("a", seq, 2_000 * seq)
        worker = bench.worker(Dying({}), max_batch=2)
        with pytest.raises(SystemExit):
            worker.step()
        found: dict[int, int] = {}
        deadline = time.monotonic() + 20
        while len(found) < 8 and time.monotonic() < deadline:
            for item in bench.places.bus.read_batch(SEGMENTS, GROUP, "next", 10, 1):
                found.setdefault(item.record.start_ms, item.deliveries)
                bench.places.bus.ack(SEGMENTS, GROUP, [item.id])
        assert found == dict.fromkeys(range(0, 16_000, 2_000), 1) | {0: 2, 2_000: 2}


def test_a_worker_that_stood_still_does_not_hear_twice(redis_url: str, tmp_path: Path) -> None:
    """Meanwhile others took what it held; it lets go of it."""
    recogniser, other = Noting(), Noting()
    with opened(redis_url, tmp_path, 1_000) as bench:
        for seq in range(6):
            bench.send("a", seq, 2_000 * seq)
        worker = bench.worker(recogniser, max_batch=2)
        worker.step()
        time.sleep(1.2)  # longer than a consumer of this bus may be silent
        helper = bench.worker(other, max_batch=2)
        while bench.waiting():
            helper.step()
        worker.step()
        assert recogniser.rounds == [[0, 2_000]]
        assert sorted(start for batch in other.rounds for start in batch) == [
            4_000,
            6_000,
            8_000,
            10_000,
        ]
