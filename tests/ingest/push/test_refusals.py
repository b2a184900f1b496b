"""What a push server refuses, and that nobody else is harmed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline.ingest.push_server import MAX_CHUNK_BYTES, PushTimes
from pipeline.ingest.pushed import Pipe
from pipeline.ingest.recorder import Outlets
from pipeline.store import RoomState
from tests.ingest.push.sending import (
    post,
    rest,
    sent,
    wait_for,
)
from tests.ingest.pushing import Pushing, numbered, push_server


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
        slow = [sent(server.port, said) for said in (b"", line, body)]
        assert post(server, "shop", headers, 0, bytes(100)).status_code == 202
        with connect(f"{server.websocket}/shop?stream=one", additional_headers=headers) as socket_:
            socket_.recv()
            with pytest.raises(ConnectionClosed) as closed:
                socket_.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4408
        nothing, head, cut = (rest(one) for one in slow)
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
            stack.enter_context(sent(server.port, head + token))
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
            with sent(server.port, said) as client:
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
    client = sent(server.port, b"GET /push/a HTTP/1.1\r\nX: " + b"a" * 40_000)
    assert rest(client).startswith(b"HTTP/1.1 400")


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
