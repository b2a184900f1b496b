"""Rooms that media servers push: a real server, real clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline.bus import Bus
from pipeline.clips import ClipStore
from pipeline.errors import StoreError
from pipeline.ingest.listening import REASON_RECONNECTED
from pipeline.ingest.push_server import MAX_CHUNK_BYTES, PushTimes
from pipeline.ingest.pushed import Pipe
from pipeline.ingest.recorder import Outlets
from pipeline.metrics import Metrics
from pipeline.records import CoverageKind
from pipeline.store import RoomState, Store
from tests.ingest.media import silence, speech, write
from tests.ingest.pushing import OPTIONS, Pushing, numbered, pcm, pieces, push_server

SECOND = 32_000


@pytest.fixture(scope="module")
def bus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from pipeline.redis_server import embedded_redis

    with embedded_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def outlets(tmp_path: Path, bus_url: str) -> Iterator[Outlets]:
    metrics = Metrics()
    with Store(f"sqlite:///{tmp_path}/store.sqlite3") as store, Bus(bus_url, metrics) as bus:
        yield Outlets(store, bus, ClipStore(str(tmp_path / "clips")), metrics)


@pytest.fixture
def server(outlets: Outlets) -> Iterator[Pushing]:
    with push_server(outlets) as one:
        yield one


def programme() -> np.ndarray:
    """Two sentences with silence between them, about 9 s."""
    return np.concatenate([silence(0.5), speech(), silence(1.5), speech(), silence(1.0)])


def post(
    server: Pushing,
    room: str,
    headers: dict[str, str],
    seq: int,
    data: bytes,
    **query: str | int,
) -> httpx2.Response:
    said = {"stream": "one", "seq": seq, **query}
    return httpx2.post(
        f"{server.http}/{room}", params=said, headers=headers, content=data, timeout=20
    )


def wait_for(condition: Callable[[], bool]) -> None:
    """Until `condition` holds; the test's own timeout ends it."""
    while not condition():
        time.sleep(0.02)


def heard_ms(server: Pushing, room: str) -> int:
    return sum(server.outlets.store.coverage(one).heard_ms for one in server.broadcasts(room))


def length_ms(server: Pushing, room: str) -> int:
    stretches = [
        stretch
        for one in server.broadcasts(room)
        for stretch in server.outlets.store.stretches(one)
    ]
    return max((stretch.end_ms for stretch in stretches), default=0)


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


# --- refusals


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer \u00fc"},
    ],
)
def test_without_its_token_a_room_cannot_be_told_from_none(
    server: Pushing, headers: dict[str, str]
) -> None:
    """401 in the same words, whether the room exists, is fetched or does not exist."""
    from pipeline.store import RoomEntry

    server.token("shop")
    server.outlets.store.rooms.put([RoomEntry("fetched", "https://a.example/b.flv")])
    encoded = {key.encode(): value.encode("latin-1") for key, value in headers.items()}
    answers = [
        httpx2.post(f"{server.http}/{room}?stream=a&seq=0", headers=encoded, content=b"1234")
        for room in ("shop", "fetched", "nobody")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert server.refusals("unauthorized") == 3
    assert server.broadcasts("shop") == []
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.websocket}/shop?stream=a")
    assert refused.value.response.status_code == 401


def test_a_new_token_ends_the_old_one(server: Pushing) -> None:
    """What was issued before stops working within seconds; only hashes are stored."""
    old = server.token("shop")
    new = server.token("shop")
    assert post(server, "shop", old, 0, b"").status_code == 401
    assert post(server, "shop", new, 0, b"").status_code == 202
    stored = server.outlets.store.push.token_sha256("shop")
    assert stored is not None
    assert new["Authorization"].split()[1] not in stored


def test_a_wrong_number_is_told_the_right_one(server: Pushing) -> None:
    """A gap is refused with the number that comes next; a duplicate changes nothing."""
    headers = server.token("shop")
    assert post(server, "shop", headers, 3, b"").json()["next"] == 0
    assert post(server, "shop", headers, 0, bytes(100)).status_code == 202
    gap = post(server, "shop", headers, 2, bytes(100))
    assert (gap.status_code, gap.json()["next"]) == (409, 1)
    again = post(server, "shop", headers, 0, bytes(100))
    assert (again.status_code, again.json()) == (200, {"next": 1})
    resumed = httpx2.get(f"{server.http}/shop?stream=one", headers=headers)
    assert resumed.json() == {"next": 1}
    with connect(f"{server.websocket}/shop?stream=one", additional_headers=headers) as socket_:
        socket_.recv()
        socket_.send(numbered(7, b""))
        assert json.loads(socket_.recv())["next"] == 1
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4409
    assert server.refusals("out_of_order") == 3


@pytest.mark.parametrize(
    "query",
    [
        *("", "stream=", "stream=a/b", "stream=" + "a" * 65, "stream=a&seq=-1", "stream=a&seq=x"),
        *("stream=a&rate=1", "stream=a&channels=0", "stream=a&channels=99", "stream=a&format=mp9"),
        *("stream=a&seq=99999999999999999999", "stream=a&rate=\u0661"),
    ],
)
def test_what_makes_no_sense_is_refused(server: Pushing, query: str) -> None:
    """400 with a reason."""
    answer = httpx2.post(f"{server.http}/shop?{query}", headers=server.token("shop"), content=b"")
    assert answer.status_code == 400
    assert answer.json()["error"] == "malformed"


def test_chunks_that_are_too_large_are_refused(server: Pushing) -> None:
    """By the declared length, by what comes, and in a WebSocket; the room goes on after it."""
    headers, large = server.token("shop"), bytes(MAX_CHUNK_BYTES + 1)
    assert post(server, "shop", headers, 0, large).status_code == 413

    def parts() -> Iterator[bytes]:
        yield large[: MAX_CHUNK_BYTES // 2]
        yield large[: MAX_CHUNK_BYTES // 2]
        yield b"12"

    streamed = httpx2.post(
        f"{server.http}/shop?stream=one&seq=0", headers=headers, content=parts(), timeout=20
    )
    assert streamed.status_code == 413
    with connect(f"{server.websocket}/shop?stream=one", additional_headers=headers) as socket_:
        socket_.recv()
        socket_.send(numbered(0, large))
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert post(server, "shop", headers, 0, bytes(100)).status_code == 202


def test_bytes_that_are_no_media_are_refused(server: Pushing) -> None:
    """The sender is told with a later chunk that nothing can be heard, and the state says it."""
    headers = server.token("shop")
    rng, seq = np.random.default_rng(3), 0
    answer = post(server, "shop", headers, seq, rng.bytes(100_000), format="container")
    while answer.status_code in (202, 503):
        seq += answer.status_code == 202
        answer = post(server, "shop", headers, seq, rng.bytes(100_000), format="container")
    assert answer.status_code == 422
    assert "not a media stream" in answer.json()["reason"]
    (room,) = server.outlets.store.rooms.all()
    wait_for(lambda: server.outlets.store.rooms.all()[0].state is RoomState.FAILING)
    assert room.pushed


def test_a_pushed_playlist_opens_nothing(server: Pushing) -> None:
    """A stream that names other addresses is no media."""
    from tests.ingest.servers import trap

    headers = server.token("shop")
    with trap() as target:
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://{target.place}/a.ts\n"
        post(server, "shop", headers, 0, text.encode() * 10, last=1, format="container")
        wait_for(
            lambda: post(server, "shop", headers, 1, b"", format="container").status_code == 422
        )
        assert not target.touched()


def test_slow_clients_are_left(outlets: Outlets) -> None:
    """No request, half a head, half a body, a silent WebSocket: closed; a good sender goes on."""
    times = PushTimes(body_s=0.5, idle_s=0.5)
    with push_server(outlets, times=times, head_s=0.5) as server:
        headers = server.token("shop")
        line = b"POST /push/shop?stream=s&seq=0 HTTP/1.1\r\nHost: a\r\n"
        token = f"Authorization: {headers['Authorization']}\r\n".encode()
        body = line + token + b"Content-Length: 100\r\n\r\n1234"
        slow = [_sent(server.port, said) for said in (b"", line, body)]
        assert post(server, "shop", headers, 0, bytes(100)).status_code == 202
        with connect(f"{server.websocket}/shop?stream=one", additional_headers=headers) as socket_:
            socket_.recv()
            with pytest.raises(ConnectionClosed) as closed:
                socket_.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4408
        nothing, head, cut = (_rest(one) for one in slow)
        assert (nothing, head) == (b"", b"")
        assert cut.startswith(b"HTTP/1.1 408")
        assert server.refusals("slow_head") == 2
        assert server.refusals("slow_body") == 1
        assert server.refusals("idle") == 1
        assert post(server, "shop", headers, 1, bytes(100)).status_code == 202


def test_one_room_cannot_fill_the_memory(server: Pushing) -> None:
    """A ninth chunk beside eight unfinished ones of a room is refused; other rooms go on."""
    headers, other = server.token("shop"), server.token("other")
    head = b"POST /push/shop?stream=s&seq=0 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
    token = f"Authorization: {headers['Authorization']}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(_sent(server.port, head + token))
        wait_for(lambda: post(server, "shop", headers, 0, bytes(10)).status_code == 429)
        assert post(server, "other", other, 0, bytes(10)).status_code == 202
    wait_for(lambda: post(server, "shop", headers, 0, bytes(10)).status_code in (200, 202))


def test_a_head_that_drips_is_left_too(outlets: Outlets) -> None:
    """A byte now and then does not buy time, on the first request or a later one."""
    with push_server(outlets, head_s=0.5) as server:
        headers = server.token("shop")
        token = f"Authorization: {headers['Authorization']}\r\n".encode()
        asked = b"GET /push/shop?stream=s HTTP/1.1\r\nHost: a\r\n" + token + b"\r\n"
        for said in (b"GET /", asked):
            with _sent(server.port, said) as client:
                assert said is not asked or client.recv(4096).startswith(b"HTTP/1.1 200")
                wait_for(lambda client=client: _dripped(client))  # type: ignore[misc]  # bound now
        wait_for(lambda: server.refusals("slow_head") == 2)


def _dripped(client: socket.socket) -> bool:
    """Send one more byte; whether the server has closed the connection."""
    client.setblocking(False)
    try:
        client.send(b"a")
        return client.recv(1) == b""
    except BlockingIOError:
        time.sleep(0.05)
        return False
    except ConnectionError:
        return True


def test_a_head_without_end_is_refused(server: Pushing) -> None:
    """Headers beyond 16 kB end the connection."""
    client = _sent(server.port, b"GET /push/a HTTP/1.1\r\nX: " + b"a" * 40_000)
    assert _rest(client).startswith(b"HTTP/1.1 400")


def test_the_newest_connection_of_a_room_counts(server: Pushing) -> None:
    """One that hangs without knowing it does not keep its successor out."""
    headers = server.token("shop")
    url = f"{server.websocket}/shop?stream=a"
    with connect(url, additional_headers=headers) as old:
        old.recv()
        with connect(url, additional_headers=headers) as new:
            assert json.loads(new.recv()) == {"next": 0}
            with pytest.raises(ConnectionClosed) as closed:
                old.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4409
            new.send(numbered(0, bytes(100)))
            assert json.loads(new.recv()) == {"next": 1}


def test_a_sender_that_is_cut_off_while_it_waits_comes_back(server: Pushing) -> None:
    """A connection that is gone while its chunk has to wait does not keep its successors out."""
    headers, go_on = server.token("shop"), threading.Event()
    url = f"{server.websocket}/shop?stream=a"

    def store() -> None:
        go_on.wait(60)

    with connect(url, additional_headers=headers) as old:
        assert json.loads(old.recv()) == {"next": 0}
        server.outbox.put(server.outbox.limit_bytes // 2 + 1, store)
        old.send(numbered(0, bytes(100)))
        old.ping().wait(20)  # the chunk before it was read
        old.socket.shutdown(socket.SHUT_RDWR)
    for _ in range(2):
        with connect(url, additional_headers=headers) as new:
            assert json.loads(new.recv()) == {"next": 0}
    go_on.set()


def test_a_server_to_which_nobody_sends_is_alive(server: Pushing) -> None:
    """Its loop turns without work too: a probe must not restart it."""
    value = server.outlets.metrics.value
    wait_for(lambda: value("tingbo_loop_turned_timestamp_seconds") > 0)
    first = value("tingbo_loop_turned_timestamp_seconds")
    wait_for(lambda: value("tingbo_loop_turned_timestamp_seconds") > first)


def test_a_stream_that_nobody_reads_any_more_takes_nothing() -> None:
    """After a long pause its reader has gone: a chunk that comes then is refused, not lost."""
    pipe = Pipe("push:shop", idle_s=0.01)
    assert pipe.put(b"a")
    assert pipe.read(10) == b"a"
    assert pipe.read(10) == b""
    assert not pipe.put(b"b")
    assert pipe.finished


def _sent(port: int, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    if data:
        client.sendall(data)
    return client


def _rest(client: socket.socket) -> bytes:
    """What the server says until it closes."""
    said = b""
    with client:
        while part := client.recv(65_536):
            said += part
    return said
