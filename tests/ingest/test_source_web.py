"""What users of the web expect of a client, now that libav opens no connection by itself."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from pathlib import Path

import pytest

from pipeline.errors import BadInputError, SourceUnreachableError
from pipeline.ingest import Source, SourceOptions, open_source, relay
from pipeline.ingest.containers import _application_url
from pipeline.ingest.nested import Decrypted, Nested
from pipeline.ingest.reach import Reach
from pipeline.ingest.web import Patience, Web, split
from pipeline.records import AudioChunk, CoverageKind, Gap
from tests.ingest.media import tone, write
from tests.ingest.rtmp import rtmp_server
from tests.ingest.servers import Connection, http_server

OPTIONS = SourceOptions(5.0, 3.0)


def read(url: str) -> tuple[Source, float, list[Gap]]:
    """A source read to its end, its seconds of sound, and its gaps."""
    with open_source(url, OPTIONS) as source:
        items = list(source.read())
    samples = sum(len(item.samples) for item in items if isinstance(item, AudioChunk))
    return source, samples / 16_000, [item for item in items if isinstance(item, Gap)]


def hls(folder: Path) -> Path:
    """A recording of 6 s in three pieces."""
    options = {"hls_time": "2", "hls_list_size": "0", "hls_playlist_type": "vod"}
    return write(folder / "room.m3u8", tone(6.0, 44_100), 44_100, options=options)


def test_a_film_with_its_index_at_the_end_is_heard(tmp_path: Path) -> None:
    """The server is asked for the parts that are needed, in the order they are needed."""
    data = write(tmp_path / "a.mp4", tone(60.0)).read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    ranges: list[str] = []

    def handle(connection: Connection) -> None:
        ranges.append(connection.headers.get("Range", ""))
        connection.answer_part(data)

    with http_server(handle) as url:
        source, seconds, _ = read(f"{url}/a.mp4")
    assert source.failure is None
    assert not source.info.live
    assert abs(seconds - 60.0) < 0.1
    assert ranges[0] == ""
    assert any(one.startswith("bytes=") for one in ranges[1:])


def test_redirects_are_followed_and_playlists_belong_to_where_they_lead(tmp_path: Path) -> None:
    """Relative pieces are looked for beside the playlist that was found, not the one asked for."""
    hls(tmp_path)

    def handle(connection: Connection) -> None:
        name = connection.path.rpartition("/")[2]
        if not connection.path.startswith("/cdn/"):
            connection.redirect(f"/cdn/{name}")
            return
        connection.answer_part((tmp_path / name).read_bytes())

    with http_server(handle) as url:
        source, seconds, _ = read(f"{url}/room.m3u8")
    assert source.failure is None
    assert source.info.name == f"{url}/room.m3u8"
    assert abs(seconds - 6.0) < 0.15


def test_a_playlist_that_is_read_again_and_again_keeps_one_connection() -> None:
    """A live room is asked for its playlist every few seconds, for days."""
    asked: list[socket.socket] = []
    body = b"#EXTM3U\n#EXTINF:2,\na.ts\n"

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            asked.append(client)
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        with client:
            while client.recv(4096):
                client.sendall(head + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        web = Web(Reach(("127.0.0.1",)), Patience(5.0, 5.0))
        nested = Nested(web, f"http://127.0.0.1:{port}/room.m3u8")
        for _ in range(5):
            assert b"/a.ts" in nested(f"http://127.0.0.1:{port}/room.m3u8", 0, {}).read(1000)
        web.close()
        listening.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 1


def test_a_missing_piece_is_lost_and_the_rest_is_heard(tmp_path: Path) -> None:
    """A piece that the server does not have is a hole of its length."""
    hls(tmp_path)

    def handle(connection: Connection) -> None:
        path = tmp_path / connection.path.lstrip("/")
        if path.name == "room1.ts":
            connection.answer(404)
            connection.end()
        else:
            connection.answer_part(path.read_bytes())

    with http_server(handle) as url:
        source, seconds, gaps = read(f"{url}/room.m3u8")
    assert source.failure is None
    assert abs(seconds - 4.0) < 0.2
    (gap,) = gaps
    assert gap.kind is CoverageKind.LOST
    assert abs(gap.end_sample - gap.start_sample - 2 * 16_000) < 1600


def test_encrypted_pieces_are_heard(tmp_path: Path) -> None:
    """AES-128 with the key of the playlist, the usual way to seal HLS."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    key, vector = bytes(range(16)), bytes(range(16, 32))
    plain = write(tmp_path / "a.ts", tone(3.0)).read_bytes()
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    playlist = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        f'#EXT-X-KEY:METHOD=AES-128,URI="key.bin",IV=0x{vector.hex()}\n'
        "#EXTINF:3,\nsealed.ts\n#EXT-X-ENDLIST\n"
    )
    files = {"/room.m3u8": playlist.encode(), "/key.bin": key, "/sealed.ts": sealed}
    with http_server(lambda connection: connection.answer_part(files[connection.path])) as url:
        source, seconds, _ = read(f"{url}/room.m3u8")
    assert source.failure is None
    assert abs(seconds - 3.0) < 0.1


def test_a_key_of_another_kind_is_refused() -> None:
    """What cannot be decrypted says so."""
    with pytest.raises(BadInputError, match="is encrypted in a way that cannot be read"):
        Decrypted(_Nothing(), {"key": "00", "iv": ""})


class _Nothing:
    """A piece without bytes."""

    name = "http://room.example/a.ts"

    def read(self, _size: int) -> bytes:
        """None."""
        return b""

    def close(self) -> None:
        """Nothing to do."""


def test_user_and_password_reach_the_server_and_no_other(tmp_path: Path) -> None:
    """They are sent to the host they were given for, and not where it redirects to."""
    data = write(tmp_path / "a.ts", tone(1.0)).read_bytes()
    seen: list[str | None] = []

    def other(connection: Connection) -> None:
        seen.append(connection.headers["Authorization"])
        connection.answer_part(data)

    with http_server(other) as there:
        elsewhere = there.removeprefix("http://")

        def first(connection: Connection) -> None:
            seen.append(connection.headers["Authorization"])
            connection.redirect(f"{there}/a.ts")

        with http_server(first) as here:
            address = here.replace("http://", "http://user:p%40ss@")
            options = SourceOptions(5.0, 3.0, allowed_hosts=(elsewhere,))
            with open_source(f"{address}/a.ts", options) as source:
                assert list(source.read())
    assert seen == ["Basic " + base64.b64encode(b"user:p@ss").decode(), None]


@pytest.mark.parametrize(
    ("url", "application"),
    [
        ("rtmp://room.example/live/stream", "rtmp://room.example/live"),
        ("rtmp://room.example:1936/live/stream?key=1", "rtmp://room.example:1936/live"),
        ("rtmp://room.example/live/sub/stream", "rtmp://room.example/live/sub"),
        ("rtmp://user:pw@room.example/live/mp4:a/b", "rtmp://room.example/live"),
        ("rtmps://room.example/live", "rtmps://room.example/live"),
    ],
)
def test_an_rtmp_server_is_told_the_name_it_was_called_by(url: str, application: str) -> None:
    """The connection goes to a checked number; servers of several hosts still see the name."""
    assert _application_url(split(url)) == application


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Certificate and key of a server called localhost, which nobody vouches for."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    unsealed = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, unsealed))
    return paths


def _tls(certificate: tuple[Path, Path], names: list[str | None]) -> ssl.SSLContext:
    """A server's side of TLS, which notes by what names it is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _, name, __: names.append(name)
    return context


def test_rtmps_names_and_verifies_its_server(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is told its name and must prove it; only then is the room heard."""
    options = {"flvflags": "no_duration_filesize"}
    flv = write(tmp_path / "live.flv", tone(2.0, 44_100), 44_100, options=options).read_bytes()
    names: list[str | None] = []
    with (
        rtmp_server(flv, _tls(certificate, names)) as url,
        pytest.raises(SourceUnreachableError, match="certificate verify failed"),
    ):
        open_source(url, OPTIONS)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    relay._context.cache_clear()
    try:
        with rtmp_server(flv, _tls(certificate, names)) as url:
            source, seconds, _ = read(url)
    finally:
        relay._context.cache_clear()
    assert source.failure is None
    assert source.info.protocol == "rtmps"
    assert abs(seconds - 2.0) < 0.1
    assert set(names) == {"localhost"}
