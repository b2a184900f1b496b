"""Ingesters of monitored rooms: shares, leases, changes, days; and as real processes."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest import SourceOptions
from pipeline.ingest.ingester import Ingester
from pipeline.ingest.recorder import Outlets
from pipeline.ingest.sharing import fair_share
from pipeline.metrics import Metrics
from pipeline.settings import Settings, as_environment
from pipeline.store import Room, RoomEntry, RoomState, Store
from pipeline.store.database import Database
from pipeline.store.rooms import Ingester as Alive
from pipeline.store.schema import rooms as table
from tests.ingest.media import Samples, silence, speech, write
from tests.ingest.rooms import LIVE
from tests.ingest.rooms import OPTIONS as IMPATIENT
from tests.ingest.servers import Connection, http_server
from tests.ingest.test_worker import total

OPTIONS = replace(IMPATIENT, ingest=replace(IMPATIENT.ingest, source=SourceOptions(10.0, 5.0)))


def until(condition: Callable[[], bool], what: str = "it") -> None:
    deadline = time.monotonic() + 90
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} does not come to be so")
        time.sleep(0.02)


class LiveRoom:
    """A server of any number of rooms that sound at real speed, for as long as one listens.

    Every connection begins where the broadcast is by then, as a live room does.
    """

    def __init__(self, folder: Path) -> None:
        sound = np.concatenate([speech(), silence(0.8), speech()[::-1] * 0.7, silence(0.6)])
        self._pieces = pieces(folder, np.concatenate([sound] * 20))
        self._began = time.monotonic()
        self.listeners: Counter[str] = Counter()
        """Connections that are open, by path."""
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        self._count(connection.path, 1)
        try:
            connection.answer(200)
            connection.send(self._pieces[0][1])
            # A client leaves unseen until something is sent, so the loop sends little and often.
            for at_s, data in self._pieces[1:]:
                late_s = at_s - (time.monotonic() - self._began)
                if late_s < -0.3:
                    continue
                if late_s > 0 and connection.over.wait(late_s):
                    return
                if not connection.send_raw(b"%x\r\n%s\r\n" % (len(data), data)):
                    return
        finally:
            self._count(connection.path, -1)

    def _count(self, path: str, by: int) -> None:
        with self._lock:
            self.listeners[path] += by


def pieces(folder: Path, sound: Samples) -> list[tuple[float, bytes]]:
    """The header of an FLV and then its tags, each with the second at which it is due."""
    data = write(folder / "source.flv", sound, options=LIVE).read_bytes()
    at, found, head = 13, [], data[:13]
    while at + 11 <= len(data):
        size = 11 + int.from_bytes(data[at + 1 : at + 4]) + 4
        time_ms = int.from_bytes(data[at + 7 : at + 8] + data[at + 4 : at + 7])
        tag = data[at : at + size]
        if data[at] != 8 or tag[12] == 0:  # metadata, or the decoder's configuration
            head += tag
        else:
            found.append((time_ms / 1000, tag))
        at += size
    return [(0.0, head), *found]


def test_rooms_are_shared_evenly_and_moved_only_where_others_lack() -> None:
    """(share, to give away) of the first: never more than is lacking, never for one room's sake."""

    def share(rooms: int, *ingesters: tuple[int, int]) -> tuple[int, int]:
        alive = [Alive(str(n), most, holds) for n, (most, holds) in enumerate(ingesters)]
        return fair_share(rooms, alive, "0")

    assert share(6, (100, 6)) == (6, 0)
    assert share(6, (100, 6), (100, 0)) == (3, 3)
    assert share(6, (100, 3), (100, 3)) == (3, 0)
    assert share(7, (100, 4), (100, 3)) == (4, 0)
    assert share(7, (100, 7), (100, 0)) == (4, 3)
    assert share(2, (100, 2), (100, 0)) == (1, 1)
    assert share(1, (100, 1), (100, 0)) == (1, 0)
    assert share(10, (4, 4), (100, 6)) == (4, 0)
    assert share(10, (100, 0), (3, 3)) == (7, 0)
    assert share(500, (100, 100), (100, 100)) == (100, 0)
    assert fair_share(5, [], "0") == (0, 0)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url) as store:
        yield store


@contextmanager
def ingester(
    store: Store, redis_url: str, folder: Path, *, name: str = "one", **options: float
) -> Iterator[Ingester]:
    """An ingester at work in this process."""
    metrics, stop = Metrics(), threading.Event()
    with Bus(redis_url, metrics) as bus:
        outlets = Outlets(store, bus, ClipStore(str(folder / "clips")), metrics)
        one = Ingester(outlets, OPTIONS, name, stop, lease_s=2.0, **options)  # type: ignore[arg-type]  # whole numbers
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            yield one
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[LiveRoom, str]]:
    room = LiveRoom(tmp_path)
    with http_server(room) as url:
        yield room, url


def states(store: Store) -> dict[str, RoomState]:
    return {room.entry.name: room.state for room in store.rooms.all()}


def test_changes_of_the_list_take_effect_in_a_running_ingester(
    store: Store, redis_url: str, tmp_path: Path, live: tuple[LiveRoom, str]
) -> None:
    """Added, moved to another address, removed: each within 5 s, seen in state and metric."""
    server, url = live
    with ingester(store, redis_url, tmp_path) as one:
        value = one.outlets.metrics.value
        began = time.monotonic()
        store.rooms.put([RoomEntry("a", f"{url}/a.flv", priority=2)])
        until(lambda: server.listeners["/a.flv"] == 1, "listening")
        until(lambda: states(store) == {"a": RoomState.LIVE}, "live")
        until(lambda: value("tingbo_ingest_rooms", state="live") == 1, "the metric")
        store.rooms.put([RoomEntry("a", f"{url}/b.flv", priority=2)])
        until(lambda: server.listeners["/b.flv"] == 1 and not server.listeners["/a.flv"], "moved")
        (broadcast,) = store.broadcasts()
        until(lambda: len(store.epochs.of(broadcast.id)) == 2, "a second epoch")
        until(lambda: states(store) == {"a": RoomState.LIVE}, "live again")
        store.rooms.remove("a")
        until(lambda: not server.listeners["/b.flv"], "left")
        assert time.monotonic() - began < 60
        until(lambda: value("tingbo_ingest_rooms", state="live") == 0, "the metric")
    (broadcast,) = store.broadcasts()
    assert [epoch for epoch, *_ in store.epochs.of(broadcast.id)] == [0, 1]
    check_books(store, broadcast.id)


def check_books(store: Store, broadcast: str) -> None:
    """The ledger covers the broadcast exactly once, and no segment stands in two places."""
    found = store.stretches(broadcast)
    end_ms = max((one.end_ms for one in found), default=0)
    assert total(store.coverage(broadcast)) == end_ms
    segments = store.segments(broadcast)
    for before, after in pairwise(segments):
        assert before.end_ms <= after.start_ms
    epochs = store.epochs.of(broadcast)
    starts = [start_ms for _, start_ms, _ in epochs]
    assert starts == sorted(starts)
    for one in segments:
        assert one.start_ms >= starts[one.key.epoch]


def test_stopping_frees_the_rooms_at_once_and_the_broadcast_goes_on_elsewhere(
    store: Store, redis_url: str, tmp_path: Path, live: tuple[LiveRoom, str]
) -> None:
    """The next ingester continues the broadcast as another epoch; what lies between is lost."""
    _, url = live
    store.rooms.put([RoomEntry("a", f"{url}/a.flv")])
    with ingester(store, redis_url, tmp_path):
        until(lambda: states(store) == {"a": RoomState.LIVE}, "live")
        until(lambda: len(store.broadcasts()) == 1)
        until(lambda: bool(store.segments(store.broadcasts()[0].id)), "a segment")
    assert states(store) == {"a": RoomState.WAITING}
    assert store.rooms.ingesters() == []
    with ingester(store, redis_url, tmp_path, name="two"):
        until(lambda: states(store) == {"a": RoomState.LIVE}, "live")
        first = len(store.segments(store.broadcasts()[0].id))
        until(lambda: len(store.segments(store.broadcasts()[0].id)) > first, "more")
    (broadcast,) = store.broadcasts()
    assert len(store.epochs.of(broadcast.id)) == 2
    assert store.coverage(broadcast.id).lost_ms > 0
    check_books(store, broadcast.id)


def test_a_full_ingester_hears_the_most_important_rooms(
    store: Store, redis_url: str, tmp_path: Path, live: tuple[LiveRoom, str]
) -> None:
    """Two of four at once; a more important one that is added takes the place of the least."""
    _, url = live
    store.rooms.put([RoomEntry(f"p{n}", f"{url}/p{n}.flv", priority=n) for n in range(4)])

    def held() -> set[str]:
        return {room.entry.name for room in store.rooms.all() if room.holder}

    with ingester(store, redis_url, tmp_path, max_rooms=2):
        until(lambda: held() == {"p2", "p3"}, "the two most important")
        store.rooms.put([RoomEntry("p9", f"{url}/p9.flv", priority=9)])
        until(lambda: held() == {"p3", "p9"}, "the more important one")


def test_an_ingester_that_holds_more_than_it_can_hear_gives_some_up(
    store: Store, redis_url: str, tmp_path: Path, live: tuple[LiveRoom, str]
) -> None:
    """As after an exchange that the database broke off: others may be there for the rest."""
    _, url = live
    store.rooms.put([RoomEntry(f"p{n}", f"{url}/p{n}.flv", priority=n) for n in range(3)])
    assert len(store.rooms.take("one", 3, 60.0)) == 3
    with ingester(store, redis_url, tmp_path, max_rooms=2):
        until(lambda: sum(room.holder is not None for room in store.rooms.all()) == 2, "two")


def test_two_ingesters_share_and_a_lost_lease_ends_listening(
    store: Store, database_url: str, redis_url: str, tmp_path: Path, live: tuple[LiveRoom, str]
) -> None:
    """Half each; a room that another holder has taken is left, and heard once all the time."""
    server, url = live
    store.rooms.put([RoomEntry(f"r{n}", f"{url}/r{n}.flv") for n in range(4)])

    def by_holder() -> Counter[str | None]:
        return Counter(room.holder for room in store.rooms.all())

    with ingester(store, redis_url, tmp_path):
        until(lambda: by_holder() == {"one": 4}, "all")
        with ingester(store, redis_url, tmp_path, name="two"):
            until(lambda: by_holder() == {"one": 2, "two": 2}, "half each")
            until(lambda: set(states(store).values()) == {RoomState.LIVE}, "all live")
        until(lambda: by_holder() == {"one": 4}, "all again")
        until(lambda: set(states(store).values()) == {RoomState.LIVE}, "all live")
        # As after a jump of the clock: somebody else holds it now, and this one must notice.
        database = Database(database_url)
        later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
        with database.write() as connection:
            stolen = sa.update(table).where(table.c.name == "r0")
            connection.execute(stolen.values(holder="thief", held_until=later))
        database.close()
        until(lambda: server.listeners["/r0.flv"] == 0, "left")
        assert server.listeners["/r1.flv"] == 1
    for broadcast in store.broadcasts():
        check_books(store, broadcast.id)


class Days:
    """A wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead


# --- as processes


def environment(database_url: str, redis_url: str, folder: Path) -> dict[str, str]:
    settings = replace(
        Settings(),
        data_dir=folder,
        redis_url=redis_url,
        database_url=database_url,
        room_lease_s=3.0,
        allowed_media_hosts=("127.0.0.1",),
    )
    return as_environment(settings)


@contextmanager
def process(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "pipeline", "ingest"]
    running = subprocess.Popen(command, env=environment)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGCONT)
            running.terminate()
            running.wait(60)


def alive(pid: int, rooms: list[Room]) -> list[str]:
    """Names of the rooms that the process holds."""
    return [room.entry.name for room in rooms if room.holder and f":{pid}:" in room.holder]


@pytest.mark.timeout(600)  # three processes start one after another
def test_six_rooms_survive_a_killed_and_a_paused_ingester(
    store: Store, database_url: str, redis_url: str, tmp_path: Path, live: tuple[LiveRoom, str]
) -> None:
    """Two processes share six rooms; one is killed, later one is paused: the other hears all.

    Nothing is heard twice, and a paused one that wakes up leaves what is no longer its own.
    """
    server, url = live
    names = [f"r{n}" for n in range(6)]
    store.rooms.put([RoomEntry(name, f"{url}/{name}.flv") for name in names])
    own = environment(database_url, redis_url, tmp_path)

    def all_live() -> bool:
        return set(states(store).values()) == {RoomState.LIVE}

    def held_by(one: subprocess.Popen[bytes]) -> int:
        return len(alive(one.pid, store.rooms.all()))

    with ExitStack() as stack:
        first = stack.enter_context(process(own))
        second = stack.enter_context(process(own))
        until(lambda: held_by(first) == held_by(second) == 3 and all_live(), "three each")
        first.kill()
        first.wait()
        until(lambda: held_by(second) == 6 and all_live(), "taken over")
        third = stack.enter_context(process(own))
        until(lambda: held_by(second) == held_by(third) == 3 and all_live(), "three each again")
        os.kill(third.pid, signal.SIGSTOP)
        until(lambda: held_by(second) == 6 and all_live(), "taken over")
        os.kill(third.pid, signal.SIGCONT)
        until(lambda: held_by(second) == held_by(third) == 3 and all_live(), "shared once more")
        until(lambda: all(server.listeners[f"/{name}.flv"] == 1 for name in names), "once each")
    for broadcast in store.broadcasts():
        check_books(store, broadcast.id)
    assert sorted(one.room for one in store.broadcasts()) == names
    assert set(states(store).values()) == {RoomState.WAITING}
