"""What goes wrong with a live room: what is heard, what the ledger says, the state, the epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.ingest.recorder import Outlets
from pipeline.ingest.room import REASON_UNHEARD
from pipeline.records import CoverageKind
from pipeline.store import RoomState
from tests.ingest.media import only_pictures, with_gap
from tests.ingest.rooms import (
    OTHER_MS,
    QUIET_S,
    SAID_MS,
    TOLERANCE_MS,
    Room,
    answer_and_hang,
    flv,
    gone,
    hang,
    listening,
    other,
    said,
    sends,
)
from tests.ingest.servers import Connection, http_server


def test_a_server_that_accepts_and_stays_silent_is_offline(outlets: Outlets) -> None:
    """Nothing is stored for it; the reason says how long it was waited for."""
    with http_server(hang) as url, listening(outlets, url) as room:
        room.see(RoomState.OFFLINE)
        change = room.listener.untold()
    assert change is not None
    assert "sent no sound within 0.8 s" in change.reason
    assert outlets.store.broadcasts() == []


def test_an_offline_room_that_answers_is_offline_and_is_heard_when_it_goes_live(
    outlets: Outlets, tmp_path: Path
) -> None:
    """200 and nothing for ever; the first sound begins the broadcast."""
    server = Room(answer_and_hang, answer_and_hang, sends(flv(tmp_path, said()), "hang"))
    with http_server(server) as url, listening(outlets, url) as room:
        room.see(RoomState.OFFLINE)
        assert outlets.store.broadcasts() == []
        room.see(RoomState.LIVE)
        room.see(RoomState.STALLED)
    assert room.epochs() == 1
    assert abs(room.length_ms() - SAID_MS) < TOLERANCE_MS
    assert room.coverage().heard_ms > 2000


def test_a_missing_room_is_offline_with_its_reason(outlets: Outlets) -> None:
    """404 is an answer: there is no broadcast."""
    with http_server(gone) as url, listening(outlets, url) as room:
        room.see(RoomState.OFFLINE)
        change = room.listener.untold()
    assert change is not None
    assert "404 Not Found" in change.reason


def test_segments_carry_the_language_and_priority_of_their_room(
    outlets: Outlets, tmp_path: Path
) -> None:
    """And changes of both count from the next segment on."""
    with (
        http_server(Room(sends(flv(tmp_path, said())), gone)) as url,
        listening(outlets, url) as room,
    ):
        room.until(lambda: len(outlets.store.broadcasts()) == 1)
        room.see(RoomState.OFFLINE)
    found = outlets.store.segments(room.broadcast)
    assert {(one.room, one.language, one.priority) for one in found} == {("shop", "en", 3)}


def test_a_freeze_is_a_stall_and_the_next_connection_goes_on(
    outlets: Outlets, tmp_path: Path
) -> None:
    """What was heard before stays, the silence on the wire is lost, the broadcast is the same."""
    first, second = flv(tmp_path, said()), flv(tmp_path, other(), "b")
    with (
        http_server(Room(sends(first, "hang"), sends(second, "hang"))) as url,
        listening(outlets, url) as room,
    ):
        room.see(RoomState.STALLED)
        room.until(lambda: room.epochs() == 2)
        room.see(RoomState.LIVE)
        room.see(RoomState.STALLED)
    assert room.epochs() == 2
    assert {one.key.epoch for one in outlets.store.segments(room.broadcast)} == {0, 1}
    lost_ms = room.coverage().lost_ms
    assert lost_ms >= QUIET_S * 1000 - 50
    assert abs(room.heard_ms() - SAID_MS - OTHER_MS) < 2 * TOLERANCE_MS
    room.length_ms()


@pytest.mark.parametrize("how", ["break", "close"])
def test_a_connection_that_ends_is_opened_again_as_an_epoch(
    outlets: Outlets, tmp_path: Path, how: str
) -> None:
    """Timestamps begin at 0 again; the media clock goes on, and the time between is lost."""
    first, second = flv(tmp_path, said()), flv(tmp_path, other(), "b")
    with (
        http_server(Room(sends(first, how), sends(second, how), gone)) as url,
        listening(outlets, url) as room,
    ):
        room.until(lambda: room.epochs() == 2)
        room.see(RoomState.OFFLINE)
    (zero, one) = outlets.store.epochs.of(room.broadcast)
    lost = [
        stretch
        for stretch in outlets.store.stretches(room.broadcast)
        if stretch.kind is CoverageKind.LOST
    ]
    assert zero[1] == 0
    assert [(gap.end_ms, gap.reason) for gap in lost] == [(one[1], REASON_UNHEARD)]
    assert abs(lost[0].start_ms - SAID_MS) < TOLERANCE_MS
    # With the wall time: the second connection began that much later than its sound before it.
    wall_ms = int((one[2] - zero[2]).total_seconds() * 1000)
    assert lost[0].end_ms - lost[0].start_ms <= wall_ms + 50
    assert abs(room.heard_ms() - SAID_MS - OTHER_MS) < 2 * TOLERANCE_MS
    room.length_ms()


def test_a_jump_of_the_timestamps_is_lost_time_within_the_epoch(
    outlets: Outlets, tmp_path: Path
) -> None:
    """28 s that never came are in the ledger and in no segment."""
    data = with_gap(tmp_path / "jump.ts", 2.0, 28.0, 2.0).read_bytes()
    with (
        http_server(Room(sends(data), gone)) as url,
        listening(outlets, url) as room,
    ):
        room.until(lambda: room.epochs() == 1)
        room.see(RoomState.OFFLINE)
    assert abs(room.coverage().lost_ms - 28_000) < TOLERANCE_MS
    assert abs(room.length_ms() - 32_000) < TOLERANCE_MS
    assert room.epochs() == 1


def test_pictures_without_a_sound_track_are_a_failure_with_its_reason(
    outlets: Outlets, tmp_path: Path
) -> None:
    """The room is live and cannot be heard: somebody has to see to it."""
    data = only_pictures(tmp_path / "v.ts").read_bytes()
    with http_server(sends(data)) as url, listening(outlets, url) as room:
        room.see(RoomState.FAILING)
        change = room.listener.untold()
    assert change is not None
    assert "has no audio track (only video)" in change.reason
    assert outlets.store.broadcasts() == []


def test_an_endless_redirect_fails_and_is_tried_again(outlets: Outlets) -> None:
    """The reason names it, and the room is not given up."""

    def round_about(connection: Connection) -> None:
        connection.redirect(connection.path)

    server = Room(round_about)
    with http_server(server) as url, listening(outlets, f"{url}/a.flv") as room:
        room.see(RoomState.FAILING)
        change = room.listener.untold()
        before = server.count
        room.until(lambda: server.count > before + 5)
    assert change is not None
    assert "redirects more than" in change.reason
