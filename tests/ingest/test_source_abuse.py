"""Addresses that lead where nobody may go: refused with a reason, and the target is not touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import BadInputError, SourceUnreachableError, TingboError
from pipeline.ingest import SourceOptions, open_source
from pipeline.ingest.reach import Reach
from pipeline.ingest.web import Body, Patience, Web
from tests.ingest.media import tone, write
from tests.ingest.servers import Connection, Trap, file_server, http_server, trap

TYPED = SourceOptions(open_timeout_s=3.0, read_timeout_s=2.0)
#: As for a room that a user entered.
ROOM = SourceOptions(open_timeout_s=3.0, read_timeout_s=2.0, allowed_dirs=(), typed=False)


@pytest.fixture
def target() -> Iterator[Trap]:
    """A port that must not be connected to; checked when the test is over."""
    with trap() as one:
        yield one
        assert not one.touched()


def refusal(url: str, options: SourceOptions) -> str:
    """What is said of a source that is refused, at the latest when it is read."""
    try:
        with open_source(url, options) as source:
            list(source.read())
        failure = source.failure
    except TingboError as error:
        failure = error
    assert isinstance(failure, BadInputError), failure
    message = str(failure)
    assert "\n" not in message
    return message


def test_the_trap_notices_a_connection() -> None:
    """The check itself can fail: a fetch that is allowed is seen by the target."""
    with trap() as one:
        with pytest.raises(SourceUnreachableError):
            open_source(f"http://{one.place}/", SourceOptions(2.0, 2.0))
        assert one.touched()


@pytest.mark.parametrize("scheme", ["http", "https", "rtmp", "rtmps", "HTTP"])
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]"],
)
def test_a_room_on_this_machine_is_refused(target: Trap, scheme: str, host: str) -> None:
    """Whatever the scheme and however the address is written."""
    said = refusal(f"{scheme}://{host}:{target.port}/live/room.flv", ROOM)
    assert "no public address" in said
    assert "allowed_media_hosts" in said


def test_a_user_in_the_address_does_not_hide_the_host(target: Trap) -> None:
    """What stands before the @ is no host."""
    assert "127.0.0.1" in refusal(f"http://example.com@{target.place}/a.flv", ROOM)


@pytest.mark.parametrize("typed", [True, False])
def test_an_allowed_host_is_heard(tmp_path: Path, typed: bool) -> None:
    """`allowed_media_hosts` opens what it names for rooms too."""
    write(tmp_path / "a.ts", tone(1.0))
    with file_server(tmp_path) as url:
        place = url.removeprefix("http://")
        options = SourceOptions(3.0, 2.0, allowed_hosts=(place,), typed=typed)
        with open_source(f"{url}/a.ts", options) as source:
            assert sum(1 for _ in source.read()) > 0
        assert source.failure is None


@pytest.mark.parametrize("status", ["redirect", "chain"])
def test_a_redirect_to_a_private_address_is_refused(target: Trap, status: str) -> None:
    """At the first hop or a later one."""

    def handle(connection: Connection) -> None:
        further = status == "chain" and connection.path != "/2"
        connection.redirect("/2" if further else f"http://{target.place}/latest/meta-data")

    with http_server(handle) as url:
        assert "no public address" in refusal(f"{url}/room.flv", TYPED)


@pytest.mark.parametrize(
    "leads",
    ["file:///etc/passwd", "ftp://example.com/a", "gopher://127.0.0.1/_x", "rtmp://127.0.0.1/a/b"],
)
def test_a_redirect_leads_to_the_web_only(leads: str) -> None:
    """No other protocol is reached by way of a redirect."""
    with http_server(lambda connection: connection.redirect(leads)) as url:
        assert "of the kind" in refusal(f"{url}/room.flv", TYPED)


def test_redirects_end() -> None:
    """A loop is left after a few rounds, in time."""
    asked: list[str] = []

    def loop(connection: Connection) -> None:
        asked.append(connection.path)
        connection.redirect(f"/again{len(asked)}")

    with http_server(loop) as url:
        assert "redirects more than 8 times" in refusal(f"{url}/room.flv", TYPED)
    assert len(asked) == 9


#: Playlists that name {there}: what libav would open by itself.
PLAYLISTS = {
    "piece": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{there}\n#EXT-X-ENDLIST\n",
    "variant": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{there}\n",
    "rendition": (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{there}"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nown.m3u8\n'
    ),
    "key": (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
        '#EXT-X-KEY:METHOD=AES-128,URI="{there}"\n#EXTINF:1,\nown.ts\n#EXT-X-ENDLIST\n'
    ),
    "map": (
        '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI="{there}"\n'
        "#EXTINF:1,\nown.ts\n#EXT-X-ENDLIST\n"
    ),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second of transport stream."""
    return write(tmp_path_factory.mktemp("own") / "own.ts", tone(1.0)).read_bytes()


def hls(playlist: str, own: bytes) -> Callable[[Connection], None]:
    """A server with one playlist and its own piece."""

    def handle(connection: Connection) -> None:
        connection.answer(200, "application/vnd.apple.mpegurl")
        if connection.path.endswith("own.ts"):
            connection.send(own)
        elif connection.path.endswith("own.m3u8"):
            connection.send(PLAYLISTS["piece"].format(there="own.ts").encode())
        else:
            connection.send(playlist.encode())
        connection.end()

    return handle


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_cannot_lead_to_a_private_address(target: Trap, own: bytes, kind: str) -> None:
    """Not for a piece, a variant, a rendition, a key or an initialisation."""
    playlist = PLAYLISTS[kind].format(there=f"http://{target.place}/secret.ts")
    with http_server(hls(playlist, own)) as url:
        assert "no public address" in refusal(f"{url}/room.m3u8", TYPED)


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize(
    "there",
    [
        *("file:///etc/passwd", "concat:http://a/1|file:///etc/passwd", "tcp://127.0.0.1:1"),
        *("data:text/plain;base64,AAAA", "FILE:/etc/passwd", "file:///etc/passwd\u2028.ts"),
        *("crypto:/etc/passwd", "crypto+file:///etc/passwd", "async:file:///etc/passwd", "//[x"),
    ],
)
def test_a_playlist_cannot_use_other_protocols(own: bytes, kind: str, there: str) -> None:
    """Whatever libav has under the name of a protocol, only the web is left of it."""
    with http_server(hls(PLAYLISTS[kind].format(there=there), own)) as url:
        assert refusal(f"{url}/room.m3u8", TYPED)


def test_a_piece_cannot_redirect_to_a_private_address(target: Trap, own: bytes) -> None:
    """Checks are made at every connection, not once for the playlist."""

    def handle(connection: Connection) -> None:
        if connection.path.endswith("there.ts"):
            connection.redirect(f"http://{target.place}/secret.ts")
        else:
            hls(PLAYLISTS["piece"].format(there="there.ts"), own)(connection)

    with http_server(handle) as url:
        assert "no public address" in refusal(f"{url}/room.m3u8", TYPED)


def test_a_live_playlist_cannot_turn_later(target: Trap, own: bytes) -> None:
    """A playlist that was harmless when the room was opened is read as carefully later on."""
    served = threading.Event()
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nown.ts\n"

    def handle(connection: Connection) -> None:
        if connection.path.endswith(".ts"):
            served.set()
        bad = f"#EXTINF:1,\nhttp://{target.place}/secret.ts\n" if served.is_set() else ""
        hls(head + bad, own)(connection)

    with http_server(handle) as url:
        assert "no public address" in refusal(f"{url}/room.m3u8", TYPED)


def test_a_name_that_changes_its_address_gains_nothing(target: Trap) -> None:
    """The address that was checked is the one connected to; the next connection checks anew."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return [next(answers)]

    heard: list[str | None] = []

    def handle(connection: Connection) -> None:
        heard.append(connection.headers["Host"])
        connection.answer(200)
        connection.send(b"hello")
        connection.end()

    with http_server(handle) as url:
        port = int(url.rpartition(":")[2])
        reach = Reach(("127.0.0.1/32",), resolver=rebinding)
        web = Web(reach, Patience(3.0, 3.0))
        body = Body(web, f"http://rebind.test:{port}/a")
        assert body.read(100) == b"hello"
        assert (asked, heard) == (["rebind.test"], [f"rebind.test:{port}"])
        body.close()
        web.close()
        web = Web(reach, Patience(3.0, 3.0))
        with pytest.raises(BadInputError, match=r"127\.0\.0\.2"):
            Body(web, f"http://rebind.test:{target.port}/a")
        web.close()


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "http:///a", "http://[::1/a", "http://a:99999/", "http://a:0/", "http://a:b/"),
        *("rtmp://", "https://" + "ü" * 300 + "/", "http://[fe80::1%25eth0]/a", "http://\u0000/"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """One sentence, never a traceback."""
    with pytest.raises(TingboError) as caught:
        open_source(url, ROOM)
    assert str(caught.value).endswith(".")


def test_files_are_reached_by_allowed_folders_only(tmp_path: Path) -> None:
    """Links, dots, percent signs and other machines do not lead out of the folder."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    secret = write(outside / "s.wav", tone(0.1), codec="pcm_s16le")
    write(inside / "a.wav", tone(0.1), codec="pcm_s16le")
    (inside / "link.wav").symlink_to(secret)
    (inside / "folder").symlink_to(outside)
    options = SourceOptions(3, 3, allowed_dirs=(inside,), typed=False)
    open_source(f"file://{inside}/a.wav", options).close()
    for path in (
        *(f"file://{secret}", f"file://{inside}/link.wav", f"file://{inside}/folder/s.wav"),
        *(f"file://{inside}/../out/s.wav", f"FILE://{inside}/../out/s.wav", f"file:{secret}"),
        *(f"file://{inside}/%2e%2e/out/s.wav", f"file://elsewhere{inside}/a.wav"),
        *(f"concat:{secret}", f"subfile,,start,0,end,0,,:{secret}", f"file:file:{secret}"),
    ):
        refusal(path, options)


def test_no_folder_allows_no_file(tmp_path: Path) -> None:
    """A room may not read any file where no folder is named."""
    path = write(tmp_path / "a.wav", tone(0.1), codec="pcm_s16le")
    assert "allowed_media_dirs" in refusal(str(path), ROOM)


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    """A pipe would be waited for without end, a device never ends."""
    import os

    os.mkfifo(tmp_path / "pipe.wav")
    assert "pipe" in refusal(str(tmp_path / "pipe.wav"), TYPED)
    assert "device" in refusal("/dev/zero", TYPED)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "[playlist]\nFile1={secret}\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{secret}</BaseURL></Period></MPD>',
    ],
)
def test_a_playlist_on_disk_opens_nothing(tmp_path: Path, text: str) -> None:
    """A file that names others is no media, whatever its name is."""
    secret = write(tmp_path / "s.wav", tone(0.1), codec="pcm_s16le")
    for name in ("a.m3u8", "a.wav", "a.ffconcat", "a.mpd"):
        (tmp_path / name).write_text(text.format(secret=secret))
        assert "not a media file" in refusal(str(tmp_path / name), TYPED)
