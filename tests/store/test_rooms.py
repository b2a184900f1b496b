"""The rooms of a database and their leases, on SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from pipeline.store.database import Database
from pipeline.store.rooms import Change, Ingester, Room, RoomEntry, Rooms, RoomState, StateChange
from pipeline.store.schema import rooms as table

LEASE_S = 10.0
A = RoomEntry("a", "https://x/a.flv", "douyin", 1)
B = RoomEntry("b 房", "https://x/b.flv", priority=5, language="en")
C = RoomEntry("c", "https://x/c.flv")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def rooms(database: Database) -> Rooms:
    return Rooms(database)


def names(found: list[Room]) -> list[str]:
    return sorted(room.entry.name for room in found)


def lapse(database: Database, name: str) -> None:
    """Let the lease of a room run out, as if its holder had died some time ago."""
    past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.name == name).values(held_until=past))


def test_rooms_are_added_changed_and_removed(rooms: Rooms) -> None:
    """Each entry says what it did; a changed room keeps the time it was added."""
    assert rooms.put([B, A]) == [Change.ADDED, Change.ADDED]
    added_at = {room.entry.name: room.added_at for room in rooms.all()}
    changed = dataclasses.replace(A, url="https://y/a.flv", priority=9)
    assert rooms.put([changed, B, C]) == [Change.CHANGED, Change.SAME, Change.ADDED]
    found = rooms.all()
    assert [room.entry for room in found] == [changed, B, C]
    assert found[0].added_at == added_at["a"]
    assert {room.state for room in found} == {RoomState.WAITING}
    assert rooms.remove("a")
    assert not rooms.remove("a")
    assert names(rooms.all()) == ["b 房", "c"]


def test_the_highest_priorities_are_taken_first_and_once(rooms: Rooms) -> None:
    """Two ingesters never hold the same room, and what is held says so."""
    rooms.put([A, B, C])
    assert names(rooms.take("one", 2, LEASE_S)) == ["a", "b 房"]
    assert names(rooms.take("two", 5, LEASE_S)) == ["c"]
    assert rooms.take("two", 5, LEASE_S) == []
    by_name = {room.entry.name: room for room in rooms.all()}
    assert by_name["b 房"].holder == "one"
    assert by_name["c"].holder == "two"
    assert by_name["c"].state is RoomState.CONNECTING


def test_a_lapsed_lease_is_taken_over_and_the_former_holder_learns_it(
    rooms: Rooms, database: Database
) -> None:
    """Who is late finds the room gone and cannot write its state any more."""
    rooms.put([A, C])
    rooms.take("one", 2, LEASE_S)
    lapse(database, "a")
    waiting = rooms.all()[0]
    assert (waiting.state, waiting.holder) == (RoomState.WAITING, None)
    assert names(rooms.take("two", 5, LEASE_S)) == ["a"]
    late = StateChange("a", RoomState.FAILING, "late", dt.datetime.now(dt.UTC))
    assert names(rooms.renew("one", 10, LEASE_S, [late])) == ["c"]
    assert rooms.all()[0].state is RoomState.CONNECTING


def test_a_lapsed_lease_that_nobody_wanted_goes_on(rooms: Rooms, database: Database) -> None:
    """An ingester that was late keeps its rooms where it is the only one."""
    rooms.put([A])
    rooms.take("one", 1, LEASE_S)
    lapse(database, "a")
    assert names(rooms.renew("one", 10, LEASE_S)) == ["a"]
    assert rooms.take("two", 1, LEASE_S) == []


def test_renewing_tells_what_has_changed(rooms: Rooms) -> None:
    """A holder sees new addresses and priorities, and no longer sees what was removed."""
    rooms.put([A, B])
    rooms.take("one", 2, LEASE_S)
    changed = dataclasses.replace(A, url="https://new/a.flv")
    rooms.put([changed])
    rooms.remove(B.name)
    assert [room.entry for room in rooms.renew("one", 10, LEASE_S)] == [changed]


def test_a_state_is_kept_with_reason_and_time(rooms: Rooms) -> None:
    """What the holder saw is what everybody reads, to the microsecond."""
    rooms.put([A])
    rooms.take("one", 1, LEASE_S)
    at = dt.datetime(2026, 11, 11, 12, 0, 0, 123, tzinfo=dt.UTC)
    rooms.renew("one", 10, LEASE_S, [StateChange("a", RoomState.OFFLINE, "404", at)])
    room = rooms.all()[0]
    assert (room.state, room.reason, room.since) == (RoomState.OFFLINE, "404", at)


def test_what_is_released_is_free_at_once(rooms: Rooms) -> None:
    """Some rooms or all of them; nobody else's."""
    rooms.put([A, B, C])
    rooms.renew("one", 10, LEASE_S)
    rooms.take("one", 3, LEASE_S)
    rooms.release("one", ["a"])
    rooms.release("two")
    assert names(rooms.take("two", 3, LEASE_S)) == ["a"]
    rooms.release("one")
    assert rooms.ingesters() == []
    assert names(rooms.take("two", 3, LEASE_S)) == ["b 房", "c"]


def test_only_higher_ones_are_taken_where_that_is_asked(rooms: Rooms) -> None:
    """A full ingester looks for what is worth more than its least room."""
    rooms.put([A, B, C])
    assert rooms.take("one", 5, LEASE_S, above=5) == []
    assert names(rooms.take("one", 5, LEASE_S, above=1)) == ["b 房"]


def test_the_living_are_known_with_what_they_can_and_do_hear(rooms: Rooms) -> None:
    """An ingester without rooms counts; a dead one does not."""
    rooms.put([A, B])
    rooms.renew("one", 10, LEASE_S)
    rooms.renew("two", 50, LEASE_S)
    rooms.renew("dead", 50, -1.0)
    rooms.take("one", 2, LEASE_S)
    assert rooms.ingesters() == [Ingester("one", 10, 2), Ingester("two", 50, 0)]
    assert rooms.to_fetch() == 2


def test_a_room_whose_sound_is_pushed_is_nobodys_to_fetch(rooms: Rooms, database: Database) -> None:
    """Its state is what the push server says, without a lease."""
    rooms.put([A])
    with database.write() as connection:
        connection.execute(sa.update(table).values({"push_token_sha256": "ab", "state": "live"}))
    assert rooms.take("one", 5, LEASE_S) == []
    assert rooms.to_fetch() == 0
    assert (rooms.all()[0].state, rooms.all()[0].pushed) == (RoomState.LIVE, True)


def test_ingesters_that_take_at_once_share_without_overlap(rooms: Rooms) -> None:
    """Eight threads take from forty rooms: every room has one holder."""
    rooms.put([RoomEntry(f"r{n:02}", f"https://x/{n}.flv") for n in range(40)])
    taken: list[str] = []
    start = threading.Barrier(8)

    def take(holder: str) -> None:
        start.wait()
        for _ in range(5):
            taken.extend(names(rooms.take(holder, 1, LEASE_S)))

    threads = [threading.Thread(target=take, args=(f"h{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [f"r{n:02}" for n in range(40)]
