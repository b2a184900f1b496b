"""Live addresses, served well and badly on this machine."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadInputError, ExitCode, SourceUnreachableError
from pipeline.ingest import Source, SourceOptions, open_source
from pipeline.records import AudioChunk, Gap
from tests.ingest.media import only_pictures, sound_then_pictures, tone, write
from tests.ingest.rtmp import rtmp_server
from tests.ingest.servers import (
    Connection,
    closed_port,
    file_server,
    http_server,
    silent_server,
)

OPTIONS = SourceOptions(open_timeout_s=2.0, read_timeout_s=1.0)
PATIENT = SourceOptions(open_timeout_s=10.0, read_timeout_s=5.0)


@pytest.fixture(scope="module")
def flv(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four seconds of FLV without a declared length, as a live server sends it."""
    path = tmp_path_factory.mktemp("live") / "live.flv"
    write(path, tone(4.0, 44_100), 44_100, options={"flvflags": "no_duration_filesize"})
    return path.read_bytes()


def read(url: str, options: SourceOptions = PATIENT) -> tuple[Source, float]:
    """A source read to its end, and the seconds of sound in it."""
    with open_source(url, options) as source:
        items: list[AudioChunk | Gap] = list(source.read())
    samples = [len(item.samples) for item in items if isinstance(item, AudioChunk)]
    return source, int(np.sum(samples)) / 16_000


def refuse(connection: Connection, status: int) -> None:
    """An error with an empty page."""
    connection.answer(status, "text/html")
    connection.end()


def test_http_flv_is_heard_until_it_ends(flv: bytes) -> None:
    """A live room that ends is no failure; its address shows without the token."""

    def live(connection: Connection) -> None:
        connection.answer(200)
        connection.send(flv)
        connection.end()

    with http_server(live) as url:
        source, seconds = read(f"{url}/live/room.flv?token=secret")
    assert source.failure is None
    assert source.info.live
    assert source.info.duration_ms is None
    assert source.info.name == f"{url}/live/room.flv"
    assert abs(seconds - 4.0) < 0.1


def test_a_connection_that_breaks_off_is_a_failure(flv: bytes) -> None:
    """What came is heard, and the failure says where it broke."""

    def breaking(connection: Connection) -> None:
        connection.answer_until_closed(flv[: len(flv) // 2])

    with http_server(breaking) as url:
        source, seconds = read(f"{url}/room.flv")
    assert 1.0 < seconds < 3.0
    assert isinstance(source.failure, SourceUnreachableError)
    assert f"{url}/room.flv broke off at 0:00:0" in str(source.failure)


def test_a_stream_that_stalls_is_given_up_in_time(flv: bytes) -> None:
    """What came is heard; after the read timeout the failure says when the sound ended."""

    def stalling(connection: Connection) -> None:
        connection.answer(200)
        connection.send(flv[: len(flv) // 2])
        connection.over.wait(30)

    began = time.monotonic()
    with http_server(stalling) as url:
        source, seconds = read(f"{url}/room.flv", OPTIONS)
    assert time.monotonic() - began < 20
    assert 1.0 < seconds < 3.0
    assert isinstance(source.failure, SourceUnreachableError)
    assert f"{url}/room.flv sent no sound for 1 s after 0:00:0" in str(source.failure)


def test_pictures_without_sound_are_a_stall_too(tmp_path: Path) -> None:
    """A stream whose pictures go on while the sound has stopped is given up as well."""
    data = sound_then_pictures(tmp_path / "v.ts")

    def pictures_only(connection: Connection) -> None:
        connection.answer(200, "video/mp2t")
        head = len(data) // 4
        connection.send(data[:head])
        connection.send_slowly(data[head:], 12.0)
        connection.over.wait(30)

    began = time.monotonic()
    with http_server(pictures_only) as url:
        source, _ = read(f"{url}/room.ts", SourceOptions(5.0, 2.0))
    assert time.monotonic() - began < 11
    assert isinstance(source.failure, SourceUnreachableError)
    assert "sent no sound for 2 s" in str(source.failure)


def test_a_server_that_stays_silent_is_unreachable() -> None:
    """Accepting a connection is no answer, over HTTP, TLS and RTMP."""
    with silent_server() as port:
        for scheme in ("http", "https", "rtmp"):
            began = time.monotonic()
            with pytest.raises(SourceUnreachableError) as refusal:
                open_source(f"{scheme}://127.0.0.1:{port}/live/room.flv", SourceOptions(0.7, 5.0))
            assert "sent no sound within 0.7 s: the room may be offline" in str(refusal.value)
            assert 0.6 < time.monotonic() - began < 5


def test_headers_without_a_body_are_silence_too() -> None:
    """Some servers keep the request to an offline room open after the headers."""

    def offline(connection: Connection) -> None:
        connection.answer(200)
        connection.over.wait(30)

    with http_server(offline) as url, pytest.raises(SourceUnreachableError, match="sent no sound"):
        open_source(f"{url}/room.flv", SourceOptions(0.7, 5.0))


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "answered 404 Not Found: check the address"),
        (403, "answered 403 Forbidden: its signature"),
        (401, "answered 401 Unauthorized"),
        (410, "answered with an HTTP client error"),
        (503, "answered with an HTTP server error: try again later"),
    ],
)
def test_http_errors_are_told_apart(status: int, says: str) -> None:
    """Each status has its remedy, and the exit code says the source is unreachable."""
    with (
        http_server(lambda connection: refuse(connection, status)) as url,
        pytest.raises(SourceUnreachableError) as refusal,
    ):
        open_source(f"{url}/room.flv?token=secret", OPTIONS)
    assert str(refusal.value).startswith(f"{url}/room.flv {says}")
    assert refusal.value.exit_code is ExitCode.UNREACHABLE


@pytest.mark.parametrize("scheme", ["http", "rtmp"])
def test_a_refused_connection_is_named(scheme: str) -> None:
    """Nobody listens: check host and port."""
    with pytest.raises(SourceUnreachableError, match="refused the connection: check host and port"):
        open_source(f"{scheme}://127.0.0.1:{closed_port()}/live/room", OPTIONS)


def test_an_unknown_host_is_named() -> None:
    """A host that does not resolve is a question of the address or the network."""
    with pytest.raises(SourceUnreachableError, match=r"room\.invalid.* check the address"):
        open_source("http://room.invalid/live.flv", OPTIONS)


def test_a_web_page_is_no_stream() -> None:
    """HTML under the address gives one sentence."""

    def page(connection: Connection) -> None:
        connection.answer(200, "text/html")
        connection.send(b"<html><body>offline</body></html>" * 50)
        connection.end()

    with http_server(page) as url, pytest.raises(SourceUnreachableError, match="check the address"):
        open_source(f"{url}/room", OPTIONS)


def test_pictures_alone_are_refused(tmp_path: Path) -> None:
    """A stream without an audio track cannot be monitored, and is not taken for offline."""
    only_pictures(tmp_path / "v.ts")
    with file_server(tmp_path) as url, pytest.raises(BadInputError, match="has no audio track"):
        open_source(f"{url}/v.ts", PATIENT)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.flv", "srt://127.0.0.1:1", "concat://a|b"])
def test_other_schemes_are_refused(url: str) -> None:
    """Only what was whitelisted reaches libav."""
    with pytest.raises(BadInputError, match="which tingbo does not open: use a file or an address"):
        open_source(url, OPTIONS)


def test_a_stream_cannot_make_us_read_files(tmp_path: Path) -> None:
    """A playlist that names a file of this machine does not get it opened."""
    secret = write(tmp_path / "secret.ts", tone(1.0))
    web = tmp_path / "web"
    web.mkdir()
    (web / "room.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    )
    with file_server(web) as url, pytest.raises(BadInputError, match="of the kind 'file'"):
        read(f"{url}/room.m3u8", OPTIONS)


def test_hls_is_heard(tmp_path: Path) -> None:
    """A playlist with three pieces is one recording with all of their sound."""
    options = {"hls_time": "2", "hls_list_size": "0", "hls_playlist_type": "vod"}
    write(tmp_path / "room.m3u8", tone(6.0, 44_100), 44_100, options=options)
    assert len(list(tmp_path.glob("*.ts"))) >= 3
    with file_server(tmp_path) as url:
        source, seconds = read(f"{url}/room.m3u8")
    assert source.failure is None
    assert not source.info.live
    assert abs(seconds - 6.0) < 0.15


def test_rtmp_is_heard(flv: bytes) -> None:
    """A room that is pulled over RTMP and ends."""
    with rtmp_server(flv) as url:
        source, seconds = read(url)
    assert source.info.protocol == "rtmp"
    assert source.info.live
    assert source.failure is None
    assert abs(seconds - 4.0) < 0.1
