"""Sound that is sent again, playlists and recordings: what is heard once, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.ingest import SourceOptions
from pipeline.ingest.recorder import Outlets
from pipeline.store import RoomState
from tests.ingest.media import Samples, noise, silence, write
from tests.ingest.rooms import (
    OPTIONS,
    OTHER_MS,
    SAID_MS,
    TOLERANCE_MS,
    Room,
    flv,
    gone,
    listening,
    other,
    said,
    sends,
)
from tests.ingest.servers import Connection, http_server


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
