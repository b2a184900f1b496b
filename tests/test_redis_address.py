"""The bus on a Cluster and behind Sentinels, and addresses that are none."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
import redis

from pipeline.bus import SEGMENTS, Bus
from pipeline.errors import BusError
from pipeline.metrics import Metrics
from pipeline.records import SegmentKey, SegmentMessage
from pipeline.redis_address import RedisAddress
from tests.redis_servers import cluster, sentinel, until

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)

pytestmark = pytest.mark.redis


def message(room: str, seq: int) -> SegmentMessage:
    """Segment `seq` of a room's broadcast."""
    key = SegmentKey(f"{room}-b", 0, seq)
    return SegmentMessage(key, room, seq * 10, seq * 10 + 9, AT, f"clips/{seq}.flac", "0")


def drained(bus: Bus, wanted: int) -> Counter[tuple[str, int]]:
    """What is read and acknowledged until `wanted` messages were."""
    read: Counter[tuple[str, int]] = Counter()
    for _ in range(200):
        batch = bus.read_batch(SEGMENTS, "asr", "c", 7, 50)
        read.update((item.record.room, item.record.key.seq) for item in batch)
        bus.ack(SEGMENTS, "asr", [item.id for item in batch])
        if read.total() >= wanted and not batch:
            break
    return read


def test_on_a_cluster_rooms_are_spread_and_every_message_arrives_once(tmp_path: Path) -> None:
    """Eight partitions lie on three nodes; each is read, counted, trimmed and left."""
    rooms = [f"room{number}" for number in range(20)]
    with cluster(tmp_path) as ports:
        url = f"redis-cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
        with Bus(url, Metrics(), partitions=8) as bus:
            for seq in range(5):
                for room in rooms:
                    bus.publish(SEGMENTS, message(room, seq))
            backlog = bus.stats(SEGMENTS, "asr")
            assert (backlog.lag, backlog.pending) == (100, 0)
            assert 0 <= backlog.oldest_age_s < 60
            read = drained(bus, 100)
            assert read == {(room, seq): 1 for room in rooms for seq in range(5)}
            assert bus.stats(SEGMENTS, "asr").total == 0
            assert bus.trim(SEGMENTS) == 100 - 8  # the last one of each partition stays
            assert bus.leave(SEGMENTS, "asr", "c")
            keys = {SEGMENTS.key(number) for number in range(8)}
        address = RedisAddress(url)
        homes = {address.client.get_node_from_key(key).port for key in keys}
        address.client.close()
    assert len(homes) > 1


def test_on_a_cluster_a_dead_letter_lies_beside_its_stream(tmp_path: Path) -> None:
    """Giving up and replaying move a message between two keys of one slot, in one transaction."""
    with (
        cluster(tmp_path) as ports,
        Bus(f"redis-cluster://127.0.0.1:{ports[2]}", Metrics(), partitions=4) as bus,
    ):
        for number in range(6):
            bus.publish(SEGMENTS, message(f"room{number}", 0))
        given_up: list[str] = []
        while len(given_up) < 6:
            for item in bus.read_batch(SEGMENTS, "asr", "c", 10, 50):
                bus.extend(SEGMENTS, "asr", "c", [item.id])
                bus.dead_letter(SEGMENTS, "asr", item, "no clip")
                given_up.append(item.record.room)
        letters = bus.dead_letters(SEGMENTS)
        assert len(letters) == 6
        assert bus.find_dead_letter(SEGMENTS, letters[0].letter) == letters[0]
        for letter in letters[:4]:
            bus.replay(SEGMENTS, letter)
        assert [bus.discard(SEGMENTS, letter) for letter in letters[4:]] == [True, True]
        assert bus.dead_letters(SEGMENTS) == []
        assert drained(bus, 4).total() == 4


def test_another_number_of_partitions_is_refused(redis_url: str) -> None:
    """A worker that looks at other streams than the producers write would wait for ever."""
    with Bus(redis_url, Metrics(), partitions=4) as bus:
        bus.publish(SEGMENTS, message("a", 0))
    with (
        Bus(redis_url, Metrics()) as other,
        pytest.raises(BusError, match=r"set up with 4 partitions .* set bus_partitions to 4"),
    ):
        other.publish(SEGMENTS, message("a", 1))


def test_several_partitions_need_no_cluster(redis_url: str) -> None:
    """One server holds them all; an empty bus makes the reader wait as long as it said."""
    with Bus(redis_url, Metrics(), partitions=3, reclaim_idle_ms=1) as bus:
        for number in range(9):
            bus.publish(SEGMENTS, message(f"room{number}", 0))
        held = bus.read_batch(SEGMENTS, "asr", "dead", 100, 0)
        assert len(held) == 9
        taken = Counter[str]()
        while taken.total() < 9:
            for item in bus.read_batch(SEGMENTS, "asr", "alive", 10, 20):
                assert item.deliveries == 2
                taken[item.record.room] += 1
                bus.ack(SEGMENTS, "asr", [item.id])
        assert set(taken.values()) == {1}


def test_behind_sentinels_the_bus_follows_a_failover(tmp_path: Path) -> None:
    """The master is killed; the same bus goes on with the replica and what it had received."""
    with sentinel(tmp_path) as (watcher, master, replica):
        url = f"redis-sentinel://127.0.0.1:{watcher}/tingbo/0"
        with Bus(url, Metrics()) as bus:
            bus.publish(SEGMENTS, message("a", 0))
            with redis.Redis(port=replica) as client:
                until(lambda: client.xlen(SEGMENTS.key()) == 1, "replication")
            master.kill()
            master.wait()

            def goes_on() -> bool:
                try:
                    bus.publish(SEGMENTS, message("a", 1))
                except BusError:  # nobody is master yet
                    return False
                return True

            until(goes_on, "the failover", 60)
            read = drained(bus, 2)
    assert {seq for _, seq in read} == {0, 1}


@pytest.mark.parametrize(
    "url",
    [
        "redis-sentinel://host:26379",
        "redis-sentinel:///tingbo",
        "redis-cluster://",
        "redis-sentinel://host:port/tingbo",
    ],
)
def test_an_address_without_its_parts_is_one_sentence(url: str) -> None:
    """A service without a name, no host, a port that is none: the forms are named."""
    with pytest.raises(BusError, match=r"is not understood: set redis_url to redis://"):
        Bus(url, Metrics())


def test_a_cluster_that_is_down_is_one_sentence_without_its_password() -> None:
    """Place, reason, remedy."""
    with pytest.raises(BusError, match=r"redis-cluster://127\.0\.0\.1:1 cannot be re") as error:
        Bus("redis-cluster://:hunter2@127.0.0.1:1", Metrics())
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
