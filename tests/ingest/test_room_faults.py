"""What goes wrong with a live room: what is heard, what the ledger says, the state, the epochs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.ingest import SegmentOptions, SourceOptions
from pipeline.ingest.lease import Leases
from pipeline.ingest.listening import IngestOptions
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets
from pipeline.ingest.room import REASON_UNHEARD, RoomListener, RoomOptions
from pipeline.metrics import Metrics
from pipeline.records import Coverage, CoverageKind
from pipeline.store import RoomEntry, RoomState, Store
from tests.ingest.media import Samples, noise, only_pictures, silence, speech, with_gap, write
from tests.ingest.servers import Connection, http_server
from tests.ingest.test_worker import total

#: A room is given up as silent after this many seconds.
QUIET_S = 0.8
OPTIONS = RoomOptions(
    IngestOptions(
        SourceOptions(open_timeout_s=QUIET_S, read_timeout_s=QUIET_S),
        SegmentOptions(window_ms=10_000, min_silence_ms=400, pad_ms=200, min_speech_ms=250),
    ),
    first_wait_s=0.1,
    longest_wait_s=0.2,
)
HOLDER = "tests"
LIVE = {"flvflags": "no_duration_filesize"}
#: Ledger times are those of sound that was encoded and cut into frames.
TOLERANCE_MS = 150


@dataclass
class Heard:
    """One room being listened to, and what is known of it."""

    outlets: Outlets
    listener: RoomListener
    states: list[RoomState] = field(default_factory=list)

    def see(self, state: RoomState) -> None:
        """Wait until the room is in this state, keeping the states on the way."""
        self.until(lambda: self.states[-1:] == [state])

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that comes to be true, and fail where it does not."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = self.listener.state
            if self.states[-1:] != [state]:
                self.states.append(state)
            if condition():
                return
            time.sleep(0.005)
        pytest.fail(f"it does not come to be so; states {self.states}")

    @property
    def broadcast(self) -> str:
        (broadcast,) = self.outlets.store.broadcasts()
        return broadcast.id

    def epochs(self) -> int:
        return sum(
            len(self.outlets.store.epochs.of(one.id)) for one in self.outlets.store.broadcasts()
        )

    def coverage(self) -> Coverage:
        return self.outlets.store.coverage(self.broadcast)

    def length_ms(self) -> int:
        """Length of the broadcast; its ledger adds up to it without a hole."""
        found = self.outlets.store.stretches(self.broadcast)
        end_ms = max(one.end_ms for one in found)
        assert total(self.coverage()) == end_ms
        assert sum(one.end_ms - one.start_ms for one in found) == end_ms, "double time"
        return end_ms

    def heard_ms(self) -> int:
        """Sound of every kind that was received."""
        coverage = self.coverage()
        return coverage.heard_ms + coverage.silent_ms + coverage.music_ms


@pytest.fixture
def outlets(tmp_path: Path, redis_url: str) -> Iterator[Outlets]:
    metrics = Metrics()
    with Store(f"sqlite:///{tmp_path}/store.sqlite3") as store, Bus(redis_url, metrics) as bus:
        yield Outlets(store, bus, ClipStore(str(tmp_path / "clips")), metrics)


@contextmanager
def listening(outlets: Outlets, url: str, options: RoomOptions = OPTIONS) -> Iterator[Heard]:
    """The room at `url`, held and listened to; afterwards everything it said is stored."""
    entry = RoomEntry("shop", url, priority=3, language="en")
    outlets.store.rooms.put([entry])
    outlets.store.rooms.take(HOLDER, 1, 600.0)
    leases = Leases(600.0)
    leases.beat(["shop"])
    with Outbox(outlets.metrics) as outbox:
        listener = RoomListener(entry, HOLDER, outlets, outbox, leases, options)
        listener.start()
        heard = Heard(outlets, listener)
        try:
            yield heard
        finally:
            listener.stop.set()
            assert listener.ended(30)


class Room:
    """A live server: what each connection gets is a function; the last one serves the rest."""

    def __init__(self, *connections: Callable[[Connection], None]) -> None:
        self._connections = list(connections)
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        with self._lock:
            at = min(self.count, len(self._connections) - 1)
            self.count += 1
        self._connections[at](connection)


def hang(connection: Connection) -> None:
    connection.over.wait(60)


def gone(connection: Connection) -> None:
    connection.answer(404, "text/html")
    connection.end()


def answer_and_hang(connection: Connection) -> None:
    connection.answer(200)
    connection.over.wait(60)


def sends(data: bytes, then: str = "close") -> Callable[[Connection], None]:
    """A connection that sends `data` at once and then ends, breaks off or hangs."""

    def serve(connection: Connection) -> None:
        if then == "break":
            connection.answer_until_closed(data)
            return
        connection.answer(200)
        connection.send(data)
        if then == "hang":
            connection.over.wait(60)
        connection.end()

    return serve


def flv(tmp_path: Path, sound: Samples, name: str = "a") -> bytes:
    return write(tmp_path / f"{name}.flv", sound, options=LIVE).read_bytes()


def said(quiet_s: float = 0.7) -> Samples:
    """A sentence and a pause."""
    return np.concatenate([speech(), silence(quiet_s)])


def other() -> Samples:
    """Another sentence: the same voice, louder and backwards."""
    return np.concatenate([speech()[::-1] * 0.7, silence(0.2)]).astype(np.float32)


SAID_MS = len(said()) // 16
OTHER_MS = len(other()) // 16


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


def test_a_backlog_that_is_sent_again_is_not_heard_again(outlets: Outlets, tmp_path: Path) -> None:
    """The server begins with its last seconds: only what is new counts, and nothing was lost."""
    whole = np.concatenate([said(), other(), said(0.5)])
    data = flv(tmp_path, whole)
    broken = data[: int(len(data) * 0.6)]
    with (
        http_server(Room(sends(broken, "break"), sends(data, "hang"))) as url,
        listening(outlets, url) as room,
    ):
        room.until(lambda: room.epochs() == 2)
        room.see(RoomState.STALLED)
    assert abs(room.length_ms() - len(whole) / 16) < TOLERANCE_MS
    assert room.coverage().lost_ms == 0
    assert abs(room.heard_ms() - len(whole) / 16) < TOLERANCE_MS


def test_only_old_sound_is_no_new_epoch(outlets: Outlets, tmp_path: Path) -> None:
    """A server that sends the same end again and again is offline; nothing is judged twice."""
    data = flv(tmp_path, said())
    server = Room(sends(data))
    with http_server(server) as url, listening(outlets, url) as room:
        room.until(lambda: server.count > 4)
        room.see(RoomState.OFFLINE)
    assert room.epochs() == 1
    assert abs(room.length_ms() - SAID_MS) < TOLERANCE_MS
    assert len(outlets.store.segments(room.broadcast)) == 1


def hls(folder: Path, parts: list[Samples], *, discontinuity: bool, live: bool = True) -> None:
    """A playlist of one segment a part; each part's timestamps begin anew."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:0"]
    for number, part in enumerate(parts):
        write(folder / f"{number}.ts", part)
        if number and discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += [f"#EXTINF:{len(part) / 16_000:.3f},", f"{number}.ts"]
    if not live:
        lines.append("#EXT-X-ENDLIST")
    (folder / "live.m3u8").write_text("\n".join(lines) + "\n")


def serve_folder(folder: Path) -> Callable[[Connection], None]:
    def serve(connection: Connection) -> None:
        path = folder / connection.path.lstrip("/").partition("?")[0]
        kind = "application/vnd.apple.mpegurl" if path.suffix == ".m3u8" else "video/mp2t"
        connection.answer(200, kind)
        connection.send(path.read_bytes())
        connection.end()

    return serve


def test_a_discontinuity_of_hls_is_one_epoch(outlets: Outlets, tmp_path: Path) -> None:
    """Timestamps fall back inside the connection; everything is heard once."""
    folder = tmp_path / "hls"
    folder.mkdir()
    hls(folder, [said(), other()], discontinuity=True)
    with (
        http_server(serve_folder(folder)) as url,
        listening(outlets, f"{url}/live.m3u8") as room,
    ):
        room.until(lambda: room.epochs() == 1)
        room.until(lambda: room.listener.state is not RoomState.LIVE)
    assert room.epochs() == 1
    assert abs(room.heard_ms() - SAID_MS - OTHER_MS) < 3 * TOLERANCE_MS
    room.length_ms()


def test_a_frozen_playlist_is_heard_once(outlets: Outlets, tmp_path: Path) -> None:
    """The same segments at every connection are not judged again, and the state says so."""
    folder = tmp_path / "hls"
    folder.mkdir()
    hls(folder, [said(), other()], discontinuity=False)
    requests: list[str] = []
    serve = serve_folder(folder)

    def counting(connection: Connection) -> None:
        requests.append(connection.path)
        serve(connection)

    with http_server(counting) as url, listening(outlets, f"{url}/live.m3u8") as room:
        room.until(lambda: room.epochs() == 1)
        room.until(lambda: requests.count("/0.ts") >= 2)
        room.see(RoomState.OFFLINE)
    assert room.epochs() == 1
    assert abs(room.heard_ms() - SAID_MS - OTHER_MS) < 3 * TOLERANCE_MS
    room.length_ms()


def test_noise_is_never_taken_for_a_replay(outlets: Outlets, tmp_path: Path) -> None:
    """Silence repeats its packets; two silent connections are both accounted for."""
    first = flv(tmp_path, silence(2.0))
    second = flv(tmp_path, np.concatenate([silence(1.0), noise(1.0, 0.01)]), "b")
    with (
        http_server(Room(sends(first, "close"), sends(second, "close"), gone)) as url,
        listening(outlets, url) as room,
    ):
        room.until(lambda: room.epochs() == 2)
        room.see(RoomState.OFFLINE)
    assert abs(room.heard_ms() - 4000) < 2 * TOLERANCE_MS
    room.length_ms()


def test_a_recording_is_not_monitored(outlets: Outlets, tmp_path: Path) -> None:
    """It would be heard from its beginning for ever: the state says what to do."""
    data = write(tmp_path / "a.mp4", said(), options={"movflags": "faststart"}).read_bytes()
    patient = replace(OPTIONS, ingest=replace(OPTIONS.ingest, source=SourceOptions(20.0, 20.0)))
    server = Room(lambda connection: connection.answer_part(data))
    with http_server(server) as url, listening(outlets, f"{url}/a.mp4", patient) as room:
        room.until(lambda: server.count > 2)
        room.see(RoomState.FAILING)
        change = room.listener.untold()
    assert change is not None
    assert "is a recording and no live room" in change.reason
    assert room.states == [RoomState.CONNECTING, RoomState.FAILING]
    assert outlets.store.broadcasts() == []
