"""What SQL remembers and the bus has lost is published again, once, and nothing else is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import redis

from pipeline.bus import Bus
from pipeline.metrics import Metrics
from pipeline.orphans import Orphans
from pipeline.records import CoverageKind, SegmentKey, SegmentMessage, Stretch, Transcript
from pipeline.store import Store
from pipeline.streams import SEGMENTS, TRANSCRIPTS

NOW = dt.datetime.now(dt.UTC)
LONG_AGO = NOW - dt.timedelta(minutes=30)


class Bench:
    """A bus, a store, and who looks after what is lost between them."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self.bus, self.store = bus, store
        self.orphans = Orphans(bus, store)
        store.add_broadcast("r", "b", LONG_AGO)

    def segment(self, seq: int, at: dt.datetime = LONG_AGO) -> SegmentMessage:
        """A stored segment that no message tells of."""
        key = SegmentKey("b", 0, seq)
        message = SegmentMessage(key, "r", seq * 1000, seq * 1000 + 900, at, "clip", "0", "zh", 2)
        self.store.add_segment(message)
        return message

    def transcript(self, seq: int) -> SegmentKey:
        """A stored transcript that no message tells of."""
        message = self.segment(seq)
        self.store.add_transcript(message.key, Transcript(message.start_ms, message.end_ms, "好"))
        return message.key

    def read(self) -> list[SegmentMessage]:
        """The segments on the bus, acknowledged."""
        batch = self.bus.read_batch(SEGMENTS, "asr", "c", 100, 0)
        self.bus.ack(SEGMENTS, "asr", [item.id for item in batch])
        return [item.record for item in batch]


@pytest.fixture
def bench(redis_url: str, database_url: str) -> Iterator[Bench]:
    with Bus(redis_url, Metrics()) as bus, Store(database_url) as store:
        yield Bench(bus, store)


def test_segments_of_a_flushed_bus_are_heard_after_all(bench: Bench, redis_url: str) -> None:
    """Redis lost everything; the segment comes again as it was, and not twice while it waits."""
    message = bench.segment(0)
    bench.bus.publish(SEGMENTS, message)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert bench.orphans.publish_again(NOW) == 1
    assert bench.orphans.publish_again(NOW + dt.timedelta(seconds=1)) == 0
    assert bench.read() == [message]


def test_what_is_still_lost_after_its_turn_comes_again(bench: Bench) -> None:
    """The message was handled without a result: the next look publishes it once more."""
    message = bench.segment(0)
    assert bench.orphans.publish_again(NOW) == 1
    assert bench.read() == [message]
    assert bench.orphans.publish_again(NOW + dt.timedelta(seconds=60)) == 1


def test_what_was_given_up_or_left_out_or_is_fresh_stays(bench: Bench) -> None:
    """FAILED and SHED are results, and a young segment's message may be on its way."""
    for seq, kind in ((0, CoverageKind.FAILED), (1, CoverageKind.SHED)):
        message = bench.segment(seq)
        bench.store.add_stretches("b", 0, [Stretch(message.start_ms, message.end_ms, kind)])
    bench.segment(2, NOW)
    bench.segment(3, NOW - dt.timedelta(days=3))
    heard = bench.transcript(4)
    bench.store.mark_judged([heard], NOW)
    assert bench.orphans.publish_again(NOW) == 0
    assert bench.read() == []


def test_behind_a_backlog_nothing_counts_as_lost(bench: Bench, redis_url: str) -> None:
    """The queue is half an hour long: a segment of ten minutes ago simply waits in it."""
    ten_minutes_ago = NOW - dt.timedelta(minutes=10)
    bench.segment(0, ten_minutes_ago)
    with redis.Redis.from_url(redis_url) as client:
        half_an_hour_ago = int(LONG_AGO.timestamp() * 1000)
        bench.bus.ensure_group(SEGMENTS, "asr")
        client.xadd(SEGMENTS.key(), {"record": b"x"}, id=f"{half_an_hour_ago}-0")
    assert bench.orphans.publish_again(NOW) == 0


def test_transcripts_nobody_judged_are_judged(bench: Bench) -> None:
    """The second stream is looked after like the first."""
    key = bench.transcript(0)
    assert bench.orphans.publish_again(NOW) == 1
    (delivery,) = bench.bus.read_batch(TRANSCRIPTS, "detect", "c", 10, 0)
    assert (delivery.record.key, delivery.record.room, delivery.record.at) == (key, "r", LONG_AGO)
