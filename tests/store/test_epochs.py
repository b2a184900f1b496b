"""Epochs of live broadcasts: who may write what, when a broadcast goes on, and exact ledgers."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.metrics import Metrics
from pipeline.records import CoverageKind, Stretch
from pipeline.store import Before, Epoch, RoomEntry, Store
from pipeline.store.database import Database
from pipeline.store.epochs import Epochs

#: 20:00 in Beijing.
EVENING = dt.datetime(2026, 11, 11, 12, 0, tzinfo=dt.UTC)
PAUSE_S = 600.0


class Clock:
    """A wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = EVENING

    def __call__(self) -> dt.datetime:
        return self.at

    def pass_ms(self, ms: int) -> None:
        self.at += dt.timedelta(milliseconds=ms)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a room that is held by `one`."""
    with Store(f"sqlite:///{tmp_path}/t.sqlite3") as store:
        store.rooms.put([RoomEntry("shop", "https://x/shop.flv")])
        store.rooms.take("one", 1, 600.0)
        yield store


@pytest.fixture
def epochs(tmp_path: Path, store: Store, clock: Clock) -> Iterator[Epochs]:  # noqa: ARG001 -- makes the file
    database = Database(f"sqlite:///{tmp_path}/t.sqlite3")
    yield Epochs(database, clock)
    database.close()


def begun(epochs: Epochs, before: Before | None = None) -> Epoch:
    epoch = epochs.begin("shop", "one", PAUSE_S, before)
    assert epoch is not None
    return epoch


def hear(store: Store, epoch: Epoch, ms: int) -> None:
    """So much of the epoch was heard."""
    end_ms = epoch.start_ms + ms
    store.add_stretches(
        epoch.broadcast, epoch.epoch, [Stretch(epoch.start_ms, end_ms, CoverageKind.HEARD)]
    )


def test_only_the_holder_begins_an_epoch(epochs: Epochs) -> None:
    """Who has lost the room is told so, and nothing is written."""
    assert epochs.begin("shop", "two", PAUSE_S) is None
    assert epochs.begin("other", "one", PAUSE_S) is None
    assert begun(epochs).epoch == 0


def test_a_takeover_goes_on_with_the_broadcast_and_the_time_between(
    epochs: Epochs, store: Store, clock: Clock
) -> None:
    """What was heard took as long as it is; the rest of the wall time was not heard."""
    first = begun(epochs)
    hear(store, first, 5_000)
    clock.pass_ms(17_000)
    second = begun(epochs)
    assert second == Epoch(first.broadcast, 1, 17_000, 5_000)
    assert epochs.of(first.broadcast)[1] == (1, 17_000, clock.at)
    assert epochs.next_start_ms(first.broadcast, 0) == 17_000
    assert epochs.next_start_ms(first.broadcast, 1) is None


def test_a_listener_knows_its_own_last_connection_better(
    epochs: Epochs, store: Store, clock: Clock
) -> None:
    """Its entries may still wait; of another broadcast it knows nothing."""
    first = begun(epochs)
    clock.pass_ms(9_000)
    second = begun(epochs, Before(first.broadcast, 6_000, 500))
    assert (second.start_ms, second.accounted_ms) == (6_500, 6_000)
    hear(store, second, 1_000)
    third = begun(epochs, Before("another", 90_000, 500))
    assert third.accounted_ms == 7_500


@pytest.mark.parametrize(("away_s", "same"), [(600.0, True), (600.1, False)])
def test_a_long_pause_ends_the_broadcast_where_its_sound_ended(
    epochs: Epochs, store: Store, clock: Clock, away_s: float, same: bool
) -> None:
    """Up to the pause it goes on; after it another begins at 0."""
    first = begun(epochs)
    hear(store, first, 5_000)
    clock.pass_ms(5_000)
    ended = clock.at
    clock.pass_ms(int(away_s * 1000))
    second = begun(epochs)
    assert (second.broadcast == first.broadcast) is same
    assert (second.epoch, second.start_ms) == ((1, 605_000) if same else (0, 0))
    broadcasts = {one.id: one for one in store.broadcasts()}
    assert len(broadcasts) == (1 if same else 2)
    assert epochs.end_stale(PAUSE_S) == 0
    clock.pass_ms(700_000)
    assert epochs.end_stale(PAUSE_S) == 1
    assert ended < clock.at


def test_a_new_day_in_beijing_is_a_new_broadcast(
    epochs: Epochs, store: Store, clock: Clock
) -> None:
    """Midnight there is 16:00 UTC; the day of UTC does not matter."""
    first = begun(epochs)
    clock.at = dt.datetime(2026, 11, 11, 15, 59, 59, tzinfo=dt.UTC)
    hear(store, first, 4 * 3_600_000 - 1_000)
    assert begun(epochs).broadcast == first.broadcast
    clock.pass_ms(1_000)
    midnight = begun(epochs)
    assert midnight.broadcast != first.broadcast
    assert (midnight.epoch, midnight.start_ms) == (0, 0)
    clock.at = dt.datetime(2026, 11, 12, 0, 0, 1, tzinfo=dt.UTC)
    hear(store, midnight, 8 * 3_600_000)
    assert begun(epochs).broadcast == midnight.broadcast


def test_threads_that_begin_at_once_have_epochs_of_their_own(database_url: str) -> None:
    """On both databases: no number twice, none left out."""
    with Store(database_url) as store:
        store.rooms.put([RoomEntry("shop", "https://x/shop.flv")])
        store.rooms.take("one", 1, 600.0)
        found: list[Epoch | None] = []
        start = threading.Barrier(6)

        def begin() -> None:
            start.wait()
            found.append(store.epochs.begin("shop", "one", PAUSE_S))

        threads = [threading.Thread(target=begin) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(one.epoch for one in found if one) == list(range(6))
        assert len({one.broadcast for one in found if one}) == 1


KINDS = st.sampled_from([CoverageKind.HEARD, CoverageKind.SILENT, CoverageKind.MUSIC])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("sound"), st.integers(1, 40_000), KINDS),
        st.tuples(st.just("break"), st.integers(0, 90_000), KINDS),
        st.tuples(st.just("kill"), st.integers(0, 90_000), KINDS),
        st.tuples(st.just("linger"), st.integers(1, 30_000), KINDS),
    ),
    min_size=1,
    max_size=12,
)


class Holders:
    """Ingesters that hear a room one after the other, with what each has in hand."""

    def __init__(self, outlets: Outlets, epochs: Epochs, clock: Clock, room: str) -> None:
        self.outlets, self.epochs, self.clock, self.room = outlets, epochs, clock, room
        outlets.store.rooms.put([RoomEntry(room, f"https://x/{room}.flv")])
        outlets.store.rooms.take("one", 1, 600.0)
        self.begin(None)

    def begin(self, before: Before | None) -> None:
        epoch = self.epochs.begin(self.room, "one", PAUSE_S, before)
        assert epoch is not None
        self.epoch, self.position = epoch, 0
        if before is None:
            self.recorder = Recorder(self.outlets, self.room, epoch.broadcast)
        self.recorder.take_up(epoch, 0, "中断")

    def step(self, what: str, ms: int, kind: CoverageKind) -> None:
        self.clock.pass_ms(ms)
        if what == "sound":
            self.recorder.stretch(Stretch(self.position, self.position + ms, kind))
            self.position += ms
        elif what == "break":
            self.recorder.flush()
            self.begin(Before(self.epoch.broadcast, self.recorder.end_ms, ms))
        else:
            former, position = self.recorder, self.position
            self.begin(None)
            if what == "linger":
                former.stretch(Stretch(position, position + 60_000, kind))
                former.flush()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_the_ledger_of_a_broadcast_adds_up_over_epochs_and_takeovers(
    steps: list[tuple[str, int, CoverageKind]], store: Store, epochs: Epochs, clock: Clock
) -> None:
    """Whatever breaks off, dies with entries in hand, or lingers after it was taken over.

    No ms of the broadcast is missing, and every one counts once.
    """
    with Bus("redis://127.0.0.1:1", Metrics()) as bus:
        outlets = Outlets(store, bus, ClipStore("memory://clips"), Metrics())
        holders = Holders(outlets, epochs, clock, f"room{secrets.token_hex(8)}")
        for step in steps:
            holders.step(*step)
        holders.recorder.flush()
    broadcast = holders.epoch.broadcast
    found = sorted((one.start_ms, one.end_ms) for one in store.stretches(broadcast))
    reached = 0
    for start_ms, end_ms in found:
        assert start_ms <= reached, "a hole"
        reached = max(reached, end_ms)
    coverage = store.coverage(broadcast)
    assert sum(getattr(coverage, f"{kind.value}_ms") for kind in CoverageKind) == reached
    assert reached >= holders.epoch.start_ms
