"""Rooms that media servers push: a real server, real clients."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipeline.errors import StoreError
from pipeline.ingest.listening import REASON_RECONNECTED
from pipeline.ingest.recorder import Outlets
from pipeline.records import CoverageKind
from pipeline.store import RoomState
from tests.ingest.media import write
from tests.ingest.push.sending import (
    SECOND,
    heard_ms,
    length_ms,
    post,
    programme,
    wait_for,
)
from tests.ingest.pushing import OPTIONS, Pushing, numbered, pcm, pieces, push_server


def test_pcm_by_http_is_heard_to_the_last_sample(server: Pushing) -> None:
    """Chunks of any size, even of odd bytes, become one broadcast of the exact length."""
    headers, sound = server.token("shop"), programme()
    chunks = pieces(pcm(sound), 33_333)
    for seq, chunk in enumerate(chunks):
        answer = post(server, "shop", headers, seq, chunk, last=int(seq == len(chunks) - 1))
        assert (answer.status_code, answer.json()) == (202, {"next": seq + 1})
    wait_for(lambda: length_ms(server, "shop") == len(sound) // 16)
    (broadcast,) = server.broadcasts("shop")
    store = server.outlets.store
    found = store.segments(broadcast)
    assert len(found) >= 2
    coverage = store.coverage(broadcast)
    assert coverage.lost_ms == coverage.failed_ms == 0
    assert coverage.heard_ms == sum(one.end_ms - one.start_ms for one in found)
    first = found[0]
    original = sound[first.start_ms * 16 : first.end_ms * 16]
    np.testing.assert_allclose(server.outlets.clips.read(first.clip_uri), original, atol=3 / 32_768)
    received = server.outlets.metrics.value
    assert received("tingbo_push_received_bytes_total", protocol="http") == 2 * len(sound)


def test_pcm_by_websocket_is_heard(server: Pushing) -> None:
    """The server says which number comes first, and after each message which comes next."""
    headers, sound = server.token("shop"), programme()
    chunks = pieces(pcm(sound), SECOND)
    with connect(f"{server.websocket}/shop?stream=a", additional_headers=headers) as socket_:
        assert json.loads(socket_.recv()) == {"next": 0}
        for seq, chunk in enumerate(chunks):
            socket_.send(numbered(seq, chunk))
            assert json.loads(socket_.recv()) == {"next": seq + 1}
        socket_.send("end")
        assert json.loads(socket_.recv()) == {"next": len(chunks) + 1}
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    wait_for(lambda: length_ms(server, "shop") == len(sound) // 16)
    assert heard_ms(server, "shop") > 4000


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (8_000, 1), (44_100, 2)])
def test_other_rates_and_channels_are_converted(server: Pushing, rate: int, channels: int) -> None:
    """Two seconds are two seconds at every declared rate."""
    headers = server.token("shop")
    data = np.zeros((2 * rate, channels), "<i2").tobytes()
    for seq, chunk in enumerate(pieces(data, 100_001)):
        said = {"rate": rate, "channels": channels}
        assert post(server, "shop", headers, seq, chunk, **said).status_code == 202
    next_ = len(pieces(data, 100_001))
    post(server, "shop", headers, next_, b"", last=1, rate=rate, channels=channels)
    wait_for(lambda: length_ms(server, "shop") == 2000)


@pytest.mark.parametrize("name", ["a.flv", "a.ts", "a.mkv", "a.ogg", "a.mp3"])
def test_containers_are_heard(server: Pushing, tmp_path: Path, name: str) -> None:
    """The bytes of a container in chunks are its sound."""
    codec = {"a.ogg": "libopus", "a.mp3": "libmp3lame"}.get(name, "aac")
    rate = 48_000 if name == "a.ogg" else 16_000
    sound = programme()
    if rate != 16_000:
        sound = np.repeat(sound, 3)
    data = write(tmp_path / name, sound, rate, codec=codec).read_bytes()
    headers, chunks = server.token("shop"), pieces(data, 20_000)
    for seq, chunk in enumerate(chunks):
        last = int(seq == len(chunks) - 1)
        answer = post(server, "shop", headers, seq, chunk, last=last, format="container")
        assert answer.status_code == 202
    wait_for(lambda: abs(length_ms(server, "shop") - len(programme()) // 16) < 150)
    assert heard_ms(server, "shop") > 4000


def test_a_cut_connection_is_resumed_without_loss(server: Pushing) -> None:
    """The stream goes on where it was: nothing is lost, doubled or counted as an epoch."""
    headers, sound = server.token("shop"), programme()
    chunks = pieces(pcm(sound), SECOND)
    url = f"{server.websocket}/shop?stream=a"
    with connect(url, additional_headers=headers) as first:
        first.recv()
        for seq in range(4):
            first.send(numbered(seq, chunks[seq]))
            first.recv()
        first.socket.shutdown(socket.SHUT_RDWR)
    with connect(url, additional_headers=headers) as second:
        next_ = json.loads(second.recv())["next"]
        assert next_ == 4
        for seq in range(2, len(chunks)):  # two of them again, as a careful sender does
            second.send(numbered(seq, chunks[seq]))
            second.recv()
        second.send("end")
        second.recv()
    wait_for(lambda: length_ms(server, "shop") == len(sound) // 16)
    (broadcast,) = server.broadcasts("shop")
    assert {one.key.epoch for one in server.outlets.store.segments(broadcast)} == {0}
    assert server.outlets.store.coverage(broadcast).lost_ms == 0


def test_a_stream_that_begins_anew_is_an_epoch_of_the_same_broadcast(server: Pushing) -> None:
    """What passed between an unfinished stream and the next one is lost, with its reason."""
    headers, sound = server.token("shop"), pcm(programme())
    for seq, chunk in enumerate(pieces(sound, SECOND)):
        post(server, "shop", headers, seq, chunk, stream="first")
    time.sleep(0.3)  # what passes without sound is what is measured
    for seq, chunk in enumerate(pieces(sound, SECOND)):
        post(server, "shop", headers, seq, chunk, stream="second")
    post(server, "shop", headers, len(pieces(sound, SECOND)), b"", stream="second", last=1)
    wait_for(lambda: length_ms(server, "shop") >= 2 * len(programme()) // 16 + 300)
    (broadcast,) = server.broadcasts("shop")
    store = server.outlets.store
    wait_for(lambda: {one.key.epoch for one in store.segments(broadcast)} == {0, 1})
    (lost,) = [one for one in store.stretches(broadcast) if one.kind is CoverageKind.LOST]
    assert lost.reason == REASON_RECONNECTED
    assert lost.end_ms - lost.start_ms >= 300
    assert post(server, "shop", headers, 9, b"", stream="first").status_code == 410


def test_a_broadcast_ends_after_a_long_pause(outlets: Outlets) -> None:
    """A finished stream and a pause end it; what comes then is another broadcast."""
    from dataclasses import replace

    with push_server(outlets, options=replace(OPTIONS, pause_s=0.3)) as server:
        headers = server.token("shop")
        post(server, "shop", headers, 0, bytes(SECOND), last=1, stream="a")
        wait_for(lambda: _ended(server, "shop") == 1)
        post(server, "shop", headers, 0, bytes(SECOND), last=1, stream="b")
        wait_for(lambda: _ended(server, "shop") == 2)
    assert length_ms(server, "shop") == 1000


def test_a_broadcast_goes_on_after_a_restart_of_the_server(outlets: Outlets) -> None:
    """Another process goes on with it: the time between is lost, the clock is one."""
    with push_server(outlets) as server:
        headers = server.token("shop")
        for seq in range(2):
            post(server, "shop", headers, seq, bytes(SECOND), stream="a")
        wait_for(lambda: length_ms(server, "shop") == 0 and bool(server.broadcasts("shop")))
    with push_server(outlets) as server:
        assert post(server, "shop", headers, 2, b"", stream="a").json()["next"] == 0
        post(server, "shop", headers, 0, bytes(SECOND), stream="b", last=1)
        wait_for(lambda: length_ms(server, "shop") >= 3000)
    (broadcast,) = server.broadcasts("shop")
    coverage = outlets.store.coverage(broadcast)
    assert coverage.silent_ms == 3000
    assert coverage.lost_ms == length_ms(server, "shop") - 3000


def _ended(server: Pushing, room: str) -> int:
    import sqlalchemy as sa

    from pipeline.store.schema import broadcasts

    store = server.outlets.store
    query = sa.select(broadcasts).where(
        broadcasts.c.room == room, broadcasts.c.ended_at.is_not(None)
    )
    with store._database.read() as connection:
        return len(connection.execute(query).all())


def test_two_rooms_at_once_do_not_mix(server: Pushing) -> None:
    """Each room has its sound; a token opens its own room only."""
    one, two = server.token("one"), server.token("two")
    sound = pcm(programme())
    for seq, chunk in enumerate(pieces(sound, SECOND)):
        assert post(server, "one", one, seq, chunk).status_code == 202
        assert post(server, "two", two, seq, bytes(len(chunk))).status_code == 202
        assert post(server, "two", one, seq + 1, chunk).status_code == 401
    seq = len(pieces(sound, SECOND))
    post(server, "one", one, seq, b"", last=1)
    post(server, "two", two, seq, b"", last=1)
    wait_for(lambda: length_ms(server, "one") == length_ms(server, "two") == len(sound) // 32)
    assert heard_ms(server, "one") > 4000
    assert heard_ms(server, "two") == 0


def test_the_state_of_a_pushed_room_is_shown(server: Pushing) -> None:
    """Live while it is pushed, offline afterwards; ingesters do not fetch it."""

    def state() -> RoomState:
        (room,) = server.outlets.store.rooms.all()
        assert room.pushed
        return room.state

    headers = server.token("shop")
    post(server, "shop", headers, 0, bytes(SECOND))
    wait_for(lambda: state() is RoomState.LIVE)
    post(server, "shop", headers, 1, bytes(SECOND), last=1)
    wait_for(lambda: state() is RoomState.OFFLINE)
    assert server.outlets.store.rooms.take("ingester", 10, 10.0) == []


def test_sound_waits_for_records_that_are_away(outlets: Outlets, tmp_path: Path) -> None:
    """While the pipeline is behind, senders are asked to wait; nothing of it is lost."""
    with push_server(outlets, outbox_bytes=200_000) as server:
        headers, sound = server.token("shop"), pcm(np.concatenate([programme()] * 4))
        assert server.outbox.put(150_000, _away(tmp_path / "back"))
        chunks = pieces(sound, SECOND)
        answer = post(server, "shop", headers, 0, chunks[0])
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"
        assert answer.json()["next"] == 0
        (tmp_path / "back").touch()
        wait_for(lambda: not server.outbox.behind)
        for seq, chunk in enumerate(chunks):
            while post(server, "shop", headers, seq, chunk).status_code == 503:
                time.sleep(0.05)
        post(server, "shop", headers, len(chunks), b"", last=1)
        wait_for(lambda: length_ms(server, "shop") == len(sound) // 32)
    (broadcast,) = server.broadcasts("shop")
    assert outlets.store.coverage(broadcast).failed_ms == 0
    assert server.refusals("behind") >= 1


def _away(back: Path) -> Callable[[], None]:
    """A delivery that fails until a file is there."""

    def deliver() -> None:
        if not back.exists():
            raise StoreError("The records are away: wait.")

    return deliver
