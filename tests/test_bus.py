"""The bus on real servers: nothing lost, no poison for ever, one sentence when it is down."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.bus import SEGMENTS, TRANSCRIPTS, Backlog, Bus, Delivery, consumer_name
from pipeline.codec import decode
from pipeline.errors import BusError
from pipeline.metrics import Metrics
from pipeline.records import SegmentKey, SegmentMessage, TranscriptMessage
from pipeline.redis_server import embedded_redis

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)


def message(seq: int) -> SegmentMessage:
    """The segment `seq` of a broadcast."""
    key = SegmentKey("b", 0, seq)
    return SegmentMessage(key, "r", seq * 10, seq * 10 + 9, AT, f"file:///clips/{seq}.flac", "0")


def seqs(batch: list[Delivery[SegmentMessage]]) -> list[int]:
    """Numbers of the segments of a batch."""
    return [item.record.key.seq for item in batch]


@pytest.fixture
def metrics() -> Metrics:
    """What the bus of the test counts."""
    return Metrics()


@pytest.fixture
def bus(redis_url: str, metrics: Metrics) -> Iterator[Bus]:
    """A bus that takes nothing over within a test."""
    with Bus(redis_url, metrics) as bus:
        yield bus


@pytest.fixture
def eager(redis_url: str, metrics: Metrics) -> Iterator[Bus]:
    """A bus that takes messages over after 50 ms."""
    with Bus(redis_url, metrics, reclaim_idle_ms=50) as bus:
        yield bus


def read(
    bus: Bus, consumer: str = "c1", count: int = 10, group: str = "asr"
) -> list[Delivery[SegmentMessage]]:
    """One read that does not wait long."""
    return bus.read_batch(SEGMENTS, group, consumer, count, 20)


def read_reclaimed(bus: Bus, consumer: str) -> list[Delivery[SegmentMessage]]:
    """The next message taken over from a silent consumer."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        batch = read(bus, consumer)
        if batch:
            return batch
    raise AssertionError("nothing was taken over")


def test_messages_published_before_the_first_consumer_are_read(bus: Bus) -> None:
    """The group begins at the beginning of the stream, in order, with the records as they were."""
    for seq in range(5):
        bus.publish(SEGMENTS, message(seq))
    first = read(bus, count=3)
    assert [item.record for item in first] == [message(0), message(1), message(2)]
    assert [item.deliveries for item in first] == [1, 1, 1]
    assert seqs(read(bus, "c2")) == [3, 4]


def test_several_messages_can_be_published_at_once(bus: Bus) -> None:
    """They keep their order; none at all is no message."""
    bus.publish(SEGMENTS)
    bus.publish(SEGMENTS, *map(message, range(5)))
    assert seqs(read(bus)) == [0, 1, 2, 3, 4]


def test_each_group_gets_every_message_and_streams_do_not_mix(bus: Bus) -> None:
    """Detection and a monitor may both read what recognition wrote."""
    bus.publish(SEGMENTS, message(0))
    bus.publish(TRANSCRIPTS, TranscriptMessage(SegmentKey("b", 0, 0), "r", AT))
    assert seqs(read(bus, group="asr")) == [0]
    assert seqs(read(bus, group="monitor")) == [0]
    (delivery,) = bus.read_batch(TRANSCRIPTS, "detect", "c", 10, 20)
    assert delivery.record == TranscriptMessage(SegmentKey("b", 0, 0), "r", AT)


def test_an_empty_stream_makes_the_reader_wait(bus: Bus) -> None:
    """A consumer without work sleeps in the server instead of spinning."""
    started = time.monotonic()
    assert bus.read_batch(SEGMENTS, "asr", "c", 10, 200) == []
    assert time.monotonic() - started >= 0.15


def test_zero_does_not_wait_at_all(bus: Bus) -> None:
    """Filling up a batch asks without waiting; to Redis BLOCK 0 would mean for ever."""
    assert bus.read_batch(SEGMENTS, "asr", "c", 10, 0) == []


def test_the_backlog_counts_unread_and_unanswered(bus: Bus, metrics: Metrics) -> None:
    """Lag and pending are told apart, and are on the metrics page."""
    bus.ensure_group(SEGMENTS, "asr")
    assert bus.stats(SEGMENTS, "asr") == Backlog(0, 0, 0.0)
    for seq in range(5):
        bus.publish(SEGMENTS, message(seq))
    batch = read(bus, count=2)
    backlog = bus.stats(SEGMENTS, "asr")
    assert (backlog.lag, backlog.pending, backlog.total) == (3, 2, 5)
    assert 0 < backlog.oldest_age_s < 10
    assert metrics.value("tingbo_queue_lag_entries", stream="segments") == 3
    assert metrics.value("tingbo_queue_pending_entries", stream="segments") == 2
    bus.ack(SEGMENTS, "asr", [item.id for item in batch])
    assert bus.stats(SEGMENTS, "asr").total == 3


def test_an_acknowledged_message_never_comes_back(eager: Bus) -> None:
    """Neither as new nor taken over."""
    eager.publish(SEGMENTS, message(0))
    eager.ack(SEGMENTS, "asr", [item.id for item in read(eager)])
    time.sleep(0.1)
    assert read(eager, "c2") == []
    assert eager.stats(SEGMENTS, "asr").total == 0


def test_a_silent_consumers_messages_are_taken_over_one_by_one(
    eager: Bus, metrics: Metrics
) -> None:
    """What a killed worker held is handed out again, singly, with its number of deliveries."""
    for seq in range(3):
        eager.publish(SEGMENTS, message(seq))
    assert seqs(read(eager, "dead")) == [0, 1, 2]
    time.sleep(0.06)
    taken = []
    for _ in range(3):
        (delivery,) = read_reclaimed(eager, "alive")
        assert delivery.deliveries == 2
        taken.append(delivery.record.key.seq)
        eager.ack(SEGMENTS, "asr", [delivery.id])
    assert taken == [0, 1, 2]
    assert eager.stats(SEGMENTS, "asr").total == 0
    assert metrics.value("tingbo_queue_reclaimed_entries_total", stream="segments") == 3


def test_a_message_that_is_extended_is_not_taken_over(redis_url: str) -> None:
    """A batch that takes long is still its worker's, and extending counts no delivery."""
    with Bus(redis_url, Metrics(), reclaim_idle_ms=1_500) as bus:
        bus.publish(SEGMENTS, message(0))
        (delivery,) = read(bus, "slow")
        time.sleep(1.0)
        bus.extend(SEGMENTS, "asr", "slow", [delivery.id])
        time.sleep(0.8)
        assert read(bus, "other") == []
        assert read_reclaimed(bus, "other")[0].deliveries == 2


def test_what_is_handed_back_comes_at_once_and_counts_no_delivery(redis_url: str) -> None:
    """A store that is away for long makes no dead letters of innocent messages."""
    with Bus(redis_url, Metrics(), reclaim_idle_ms=60_000) as bus:
        bus.publish(SEGMENTS, message(0))
        held = read(bus, "c1")
        for consumer in ("c2", "c3", "c4", "c5"):
            bus.hand_back(SEGMENTS, "asr", held)
            held = read(bus, consumer)
            assert [(item.record.key.seq, item.deliveries) for item in held] == [(0, 1)]
        assert bus.dead_letters(SEGMENTS) == []
        assert bus.stats(SEGMENTS, "asr").total == 1


def test_after_three_deliveries_a_message_becomes_a_dead_letter(
    eager: Bus, metrics: Metrics
) -> None:
    """The poison goes aside with its clip and the reason; what shared its batch is unharmed."""
    for seq in range(3):
        eager.publish(SEGMENTS, message(seq))
    read(eager, "c0")
    given_up: list[tuple[int, str]] = []
    handed_out = {0: 1, 1: 1, 2: 1}
    deadline = time.monotonic() + 10
    while eager.stats(SEGMENTS, "asr").total and time.monotonic() < deadline:
        batch = eager.read_batch(
            SEGMENTS,
            "asr",
            consumer_name(),
            10,
            20,
            given_up=lambda lost, reason: given_up.append((lost.record.key.seq, reason)),
        )
        for item in batch:
            handed_out[item.record.key.seq] += 1
            if item.record.key.seq != 1:
                eager.ack(SEGMENTS, "asr", [item.id])
    assert handed_out == {0: 2, 1: 3, 2: 2}
    assert given_up == [(1, "no result after 3 deliveries")]
    (letter,) = eager.dead_letters(SEGMENTS)
    assert (letter.group, letter.reason) == ("asr", "no result after 3 deliveries")
    assert letter.clip_uri == "file:///clips/1.flac"
    assert b'"seq":1' in letter.payload
    assert (
        metrics.value("tingbo_queue_dead_letters_total", stream="segments", reason="deliveries")
        == 1
    )


def test_a_message_can_be_given_up_with_a_reason(bus: Bus) -> None:
    """A worker that knows a segment is hopeless says so at once."""
    bus.publish(SEGMENTS, message(4))
    (delivery,) = read(bus)
    bus.dead_letter(SEGMENTS, "asr", delivery, "the clip cannot be decoded")
    (letter,) = bus.dead_letters(SEGMENTS)
    assert (letter.id, letter.reason) == (delivery.id, "the clip cannot be decoded")
    assert (letter.clip_uri, letter.deliveries) == ("file:///clips/4.flac", 1)
    assert bus.stats(SEGMENTS, "asr").total == 0


@pytest.mark.parametrize("fields", [{"record": b"\xff\x00{"}, {"other": "x"}])
def test_bytes_nobody_understands_are_kept_and_do_not_stop_the_rest(
    bus: Bus, redis_url: str, fields: dict[str, bytes]
) -> None:
    """Garbage goes to the dead letters as it is; the good message beside it is delivered."""
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(SEGMENTS.key(), dict(fields))
    bus.publish(SEGMENTS, message(0))
    assert seqs(read(bus)) == [0]
    (letter,) = bus.dead_letters(SEGMENTS)
    assert letter.payload == fields.get("record", b"")
    assert letter.reason.startswith("This is not a SegmentMessage: ")


def test_a_flushed_server_gets_its_groups_again(bus: Bus, redis_url: str, metrics: Metrics) -> None:
    """After a flush or a failover to an empty replica consumers go on instead of stopping."""
    bus.publish(SEGMENTS, message(0))
    (delivery,) = read(bus)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    bus.publish(SEGMENTS, message(1))
    assert seqs(read(bus)) == [1]
    bus.extend(SEGMENTS, "asr", "c1", [delivery.id])
    bus.ack(SEGMENTS, "asr", [delivery.id])
    assert metrics.value("tingbo_queue_group_recreations_total", stream="segments") == 1


def test_the_backlog_of_a_flushed_server_is_nothing(bus: Bus, redis_url: str) -> None:
    """Who measures, and looks for lost work, is no worse off than who reads: no error, no work."""
    bus.publish(SEGMENTS, message(0))
    assert bus.stats(SEGMENTS, "asr").total == 1
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert bus.stats(SEGMENTS, "asr").total == 0
    bus.publish(SEGMENTS, message(1))
    assert bus.stats(SEGMENTS, "asr").total == 1


def test_a_lag_the_server_has_lost_is_counted(bus: Bus, redis_url: str) -> None:
    """An XDEL by hand makes the server's lag unknown; an autoscaler must still see the backlog."""
    bus.publish(SEGMENTS, *map(message, range(4)))
    read(bus, count=1)
    with redis.Redis.from_url(redis_url) as client:
        ids = [id_ for id_, _ in client.xrange(SEGMENTS.key())]
        client.xdel(SEGMENTS.key(), ids[2])
    assert bus.stats(SEGMENTS, "asr").lag == 2


def test_trimming_takes_only_what_every_group_has_answered(bus: Bus) -> None:
    """Neither unread nor unanswered messages of any group are ever trimmed."""
    for seq in range(6):
        bus.publish(SEGMENTS, message(seq))
    bus.ensure_group(SEGMENTS, "slow")
    first = read(bus, count=4)
    bus.ack(SEGMENTS, "asr", [item.id for item in first])
    assert bus.trim(SEGMENTS) == 0
    slow = read(bus, group="slow", count=3)
    bus.ack(SEGMENTS, "slow", [slow[0].id, slow[2].id])
    assert bus.trim(SEGMENTS) == 1
    assert seqs(read(bus)) == [4, 5]
    assert seqs(read(bus, group="slow")) == [3, 4, 5]


def test_a_stream_without_groups_or_messages_is_not_trimmed(bus: Bus) -> None:
    """Nobody has read it yet."""
    assert bus.trim(SEGMENTS) == 0
    bus.publish(SEGMENTS, message(0))
    assert bus.trim(SEGMENTS) == 0


def test_a_consumer_leaves_only_with_empty_hands(bus: Bus) -> None:
    """Removing a consumer would remove what it holds."""
    bus.publish(SEGMENTS, message(0))
    (delivery,) = read(bus, "c1")
    assert not bus.leave(SEGMENTS, "asr", "c1")
    bus.ack(SEGMENTS, "asr", [delivery.id])
    assert bus.leave(SEGMENTS, "asr", "c1")


def test_consumer_names_are_unique() -> None:
    """Two workers of one host, even of one process, never share a name."""
    names = {consumer_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.split(":")[-2] == str(os.getpid()) for name in names)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["publish", "read", "ack", "crash", "trim"]), max_size=30))
def test_whatever_happens_every_message_is_answered_once(redis_url: str, steps: list[str]) -> None:
    """In any order of publishing, reading, crashing and trimming nothing is lost."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    published = 0
    held: list[Delivery[SegmentMessage]] = []
    answered: list[int] = []
    with Bus(redis_url, Metrics(), reclaim_idle_ms=1) as bus:
        bus.ensure_group(SEGMENTS, "asr")

        def act(step: str) -> None:
            nonlocal published
            if step == "publish":
                bus.publish(SEGMENTS, message(published))
                published += 1
            elif step == "read":
                held.extend(bus.read_batch(SEGMENTS, "asr", consumer_name(), 3, 0))
            elif step == "trim":
                bus.trim(SEGMENTS)
            else:
                if step == "ack":
                    bus.ack(SEGMENTS, "asr", [item.id for item in held])
                    answered.extend(seqs(held))
                held.clear()

        for step in steps:
            act(step)
        deadline = time.monotonic() + 10
        while bus.stats(SEGMENTS, "asr").total and time.monotonic() < deadline:
            time.sleep(0.002)
            act("read")
            act("ack")
        letters = bus.dead_letters(SEGMENTS)
    given_up = {decode(SegmentMessage, letter.payload).key.seq for letter in letters}
    assert set(answered) | given_up == set(range(published))


@pytest.mark.redis
def test_a_restarted_server_is_found_again(tmp_path: Path) -> None:
    """Workers ride out a restart without noticing, and nothing is lost."""
    with embedded_redis(tmp_path) as url, Bus(url, Metrics()) as bus:
        bus.publish(SEGMENTS, message(0))
        with redis.Redis.from_url(url) as client:
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        time.sleep(0.1)
        with embedded_redis(tmp_path):
            bus.publish(SEGMENTS, message(1))
            assert seqs(read(bus)) == [0, 1]


def test_a_bus_that_is_down_is_one_sentence_without_its_password() -> None:
    """Place, reason, remedy after several tries; the sentence ends up in logs and tickets."""
    with Bus("redis://:hunter2@127.0.0.1:1/0", Metrics()) as bus, pytest.raises(BusError) as error:
        bus.publish(SEGMENTS, message(0))
    assert str(error.value).startswith("The bus at redis://127.0.0.1:1/0 cannot be reached (")
    assert str(error.value).endswith("): start the server or correct redis_url.")
    assert "hunter2" not in str(error.value)


def test_an_address_that_is_none_is_one_sentence() -> None:
    """A typing mistake is told apart from a server that is down."""
    with pytest.raises(BusError, match="address http://host is not understood: set redis_url"):
        Bus("http://host", Metrics())


def test_a_full_server_refuses_loudly(bus: Bus, redis_url: str) -> None:
    """Without eviction a full memory is an error the producer sees, not a lost message."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(BusError, match="with free memory"):
                bus.publish(SEGMENTS, message(0))
        finally:
            client.config_set("maxmemory", before)
