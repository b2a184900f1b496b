"""The janitor: short streams, gauges of the whole installation, lost messages found."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis
import sqlalchemy as sa

from pipeline.bus import Bus
from pipeline.janitor import Janitor
from pipeline.metrics import Metrics
from pipeline.records import (
    CaseMessage,
    Category,
    Finding,
    SegmentKey,
    SegmentMessage,
    Verdict,
    Versions,
    Why,
)
from pipeline.review import file_findings
from pipeline.store import RoomEntry, Rooms, Store
from pipeline.store.schema import rooms as table
from pipeline.streams import CASES, SEGMENTS, TRANSCRIPTS

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)


@dataclass
class Installation:
    bus: Bus
    store: Store
    metrics: Metrics
    janitor: Janitor

    def segment(self, seq: int, at: dt.datetime = NOW) -> SegmentMessage:
        self.store.add_broadcast("room1", "b1", NOW)
        key = SegmentKey("b1", 0, seq)
        message = SegmentMessage(key, "room1", seq * 1000, seq * 1000 + 900, at, "uri", "sha")
        self.store.add_segment(message)
        return message

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.value(f"tingbo_{name}", **labels)


@pytest.fixture
def installation(redis_url: str, database_url: str) -> Iterator[Installation]:
    metrics, stop = Metrics(), threading.Event()
    with Bus(redis_url, metrics) as bus, Store(database_url) as store:
        yield Installation(bus, store, metrics, Janitor(bus, store, metrics, stop, lambda: NOW))


def test_answered_messages_are_removed_and_others_stay(installation: Installation) -> None:
    """The stream holds what is read and not answered, and what nobody has read."""
    bus = installation.bus
    for seq in range(4):
        bus.publish(SEGMENTS, installation.segment(seq))
    first, second = bus.read_batch(SEGMENTS, "asr", "me", 2, 10)
    bus.ack(SEGMENTS, "asr", [first.id])
    installation.janitor.step()
    assert installation.value("queue_pending_entries", stream="segments") == 1
    assert installation.value("queue_lag_entries", stream="segments") == 2
    assert installation.value("queue_oldest_entry_age_seconds", stream="segments") > 0
    assert bus._address.client.xlen(SEGMENTS.key()) == 3
    assert second.record.key.seq == 1


def test_news_of_cases_does_not_pile_up(installation: Installation, redis_url: str) -> None:
    """Nobody may be waiting for them; those of a day ago are removed, and the cases are rows."""
    bus = installation.bus
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(CASES.key(), {"record": "{}"}, id="1000-0")
    bus.publish(CASES, CaseMessage("c1", "room1", "b1", NOW))
    installation.janitor.step()
    assert bus._address.client.xlen(CASES.key()) == 1


def test_dead_letters_are_counted_while_they_wait(installation: Installation) -> None:
    """The gauge falls when somebody has dealt with them."""
    bus = installation.bus
    bus.publish(SEGMENTS, installation.segment(0))
    (delivery,) = bus.read_batch(SEGMENTS, "asr", "me", 1, 10)
    bus.dead_letter(SEGMENTS, "asr", delivery, "poison")
    installation.janitor.step()
    assert installation.value("queue_dead_letter_entries", stream="segments") == 1
    assert installation.value("queue_dead_letter_entries", stream="transcripts") == 0
    bus.discard(SEGMENTS, bus.dead_letters(SEGMENTS)[0])
    installation.janitor.step()
    assert installation.value("queue_dead_letter_entries", stream="segments") == 0


def test_rooms_are_counted_by_state(installation: Installation) -> None:
    """A state that no room has any more is 0, and rooms that nobody holds are told."""
    rooms = Rooms(installation.store._database, lambda: NOW)
    rooms.put([RoomEntry(name, f"http://h/{name}") for name in "abc"])
    installation.janitor.now = lambda: dt.datetime.now(dt.UTC)
    installation.janitor.step()
    assert installation.value("rooms", state="waiting") == 3
    assert installation.value("rooms_without_ingest") == 3
    with installation.store._database.write() as connection:
        until = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        held = sa.update(table).where(table.c.name == "a")
        connection.execute(held.values(held_until=until, state="live"))
        lapsed = sa.update(table).where(table.c.name == "b")
        connection.execute(lapsed.values(held_until=NOW, state="live"))
    installation.janitor.step()
    assert installation.value("rooms", state="live") == 1
    assert installation.value("rooms", state="waiting") == 2
    assert installation.value("rooms_without_ingest") == 2
    for name in "abc":
        rooms.remove(name)
    installation.janitor.step()
    assert installation.value("rooms", state="live") == 0
    assert installation.value("rooms", state="waiting") == 0
    assert installation.value("rooms_without_ingest") == 0


def test_cases_that_wait_are_counted_by_verdict(installation: Installation) -> None:
    """What reviewers have before them."""
    message = installation.segment(0)
    finding = Finding(
        Category.EFFICACY_CLAIM, "E01", "rule", 0.9, Verdict.BLOCK, (0, 1), "字", 0, 900,
        Why("因为"), Versions("0", "0"),
    )  # fmt: skip
    list(file_findings(installation.store, message.key, "字", [finding], NOW))
    installation.janitor.step()
    assert installation.value("review_queue_items", severity="block") == 1


def test_lost_messages_are_published_again(installation: Installation) -> None:
    """A row whose message the bus has lost gets a new one."""
    installation.segment(0, NOW - dt.timedelta(hours=1))
    installation.bus.ensure_group(SEGMENTS, "asr")
    installation.janitor.step()
    (delivery,) = installation.bus.read_batch(SEGMENTS, "asr", "me", 5, 10)
    assert delivery.record.key == SegmentKey("b1", 0, 0)
    assert installation.bus.stats(TRANSCRIPTS, "detect").total == 0


def test_two_janitors_do_no_harm(installation: Installation, redis_url: str) -> None:
    """A second one trims nothing that is needed and says the same."""
    bus = installation.bus
    for seq in range(3):
        bus.publish(SEGMENTS, installation.segment(seq))
    (first,) = bus.read_batch(SEGMENTS, "asr", "me", 1, 10)
    bus.ack(SEGMENTS, "asr", [first.id])
    metrics = Metrics()
    with Bus(redis_url, metrics) as own:
        other = Janitor(own, installation.store, metrics, threading.Event(), lambda: NOW)
        for one in (installation.janitor, other, installation.janitor):
            one.step()
    assert [item.record.key.seq for item in bus.read_batch(SEGMENTS, "asr", "me", 5, 10)] == [1, 2]
    assert metrics.value("tingbo_queue_lag_entries", stream="segments") == 2


def test_a_database_that_is_away_does_not_keep_the_streams_from_being_trimmed(
    redis_url: str, tmp_path: object
) -> None:
    """Each part fails alone, is logged and counted, and the loop goes on."""
    metrics, stop = Metrics(), threading.Event()
    with Bus(redis_url, metrics) as bus, Store(f"sqlite:///{tmp_path}/a.db") as store:
        with store._database.write() as connection:
            connection.exec_driver_sql("DROP TABLE case_findings")
            connection.exec_driver_sql("DROP TABLE cases")
        Janitor(bus, store, metrics, stop).step()
    assert metrics.value("tingbo_worker_failures_total", stage="janitor") == 1
    assert metrics.value("tingbo_queue_dead_letter_entries", stream="segments") == 0
