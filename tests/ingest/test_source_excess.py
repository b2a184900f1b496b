"""What claims or sends without end: refused with a reason, in bounded time and memory."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import BadInputError, SourceUnreachableError, TingboError
from pipeline.ingest import SourceOptions, open_source
from pipeline.records import AudioChunk
from tests.ingest.media import audio_frame, tone, write
from tests.ingest.servers import Connection, file_server, http_server

OPTIONS = SourceOptions(open_timeout_s=3.0, read_timeout_s=2.0)


def _memory_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


@contextmanager
def bounded(megabytes: float) -> Iterator[None]:
    """The block takes no more memory than this at its peak. Time is bounded by the test's own."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = _memory_mb("VmRSS")
    yield
    assert _memory_mb("VmHWM") - before < megabytes


def failure_of(url: str) -> TingboError | None:
    """Why a source is refused or ends."""
    try:
        with open_source(url, OPTIONS) as source:
            for _ in source.read():
                pass
    except TingboError as error:
        return error
    return source.failure


def wav(rate: int = 16_000, channels: int = 1, declared: int = 32_000) -> bytes:
    """A second of silence under a header that claims what it is told."""
    kind = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 & 0xFFFF_FFFF, 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", 16) + kind + b"data" + struct.pack("<I", declared)
    return b"RIFF" + struct.pack("<I", 0xFFFF_FFFF) + head + bytes(32_000)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def mp4_with_samples(count: int) -> bytes:
    """An MP4 of some hundred bytes whose index claims `count` samples."""
    full = bytes(4)
    entry = box(
        b"sowt",
        bytes(6),
        struct.pack(">H", 1),
        bytes(8),
        struct.pack(">HHIHH", 1, 16, 0, 16_000, 0),
    )
    table = box(
        b"stbl",
        box(b"stsd", full, struct.pack(">I", 1), entry),
        box(b"stts", full, struct.pack(">III", 2, count - 1, 1), struct.pack(">II", 1, 2)),
        box(b"stsc", full, struct.pack(">IIII", 1, 1, count, 1)),
        box(b"stsz", full, struct.pack(">II", 2, count)),
        box(b"stco", full, struct.pack(">II", 1, 40)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", full, struct.pack(">IIIII", 0, 0, 16_000, count, 0)),
        box(b"hdlr", full, bytes(4), b"soun", bytes(13)),
        box(b"minf", box(b"smhd", full, bytes(4)), table),
    )
    header = struct.pack(">IIIII", 0, 0, 1, 0, count) + bytes(60)
    track = box(b"trak", box(b"tkhd", full, header), media)
    movie = box(b"mvhd", full, struct.pack(">IIII", 0, 0, 1000, 1000), bytes(80))
    return box(b"ftyp", b"isom", bytes(4)) + box(b"mdat", bytes(64)) + box(b"moov", movie, track)


def tracks(target: Path, count: int) -> bytes:
    with av.open(str(target), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000) for _ in range(count)]
        for stream in streams:
            assert isinstance(stream, av.AudioStream)
            stream.layout = "mono"
        for stream in streams:
            container.mux(stream.encode(audio_frame(tone(0.1), 16_000)))
    return target.read_bytes()


def cover(target: Path) -> bytes:
    """An MP3 with a picture of 8,000 × 8,000 points that packs into less than a MB."""
    import zlib

    side = 8_000
    packer = zlib.compressobj(1)
    row = bytes(3 * side + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        tail = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + tail

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    picture += chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    frame = b"\x00image/png\x00\x03\x00" + picture
    size = len(frame)
    frames = b"APIC" + struct.pack(">IH", size, 0) + frame
    whole = len(frames)
    synchsafe = bytes((whole >> shift) & 0x7F for shift in (21, 14, 7, 0))
    sound = write(target, tone(1.0), codec="libmp3lame", options={"id3v2_version": "0"})
    return b"ID3\x03\x00\x00" + synchsafe + frames + sound.read_bytes()


MEDIA: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a.wav of 4 GHz": (lambda _: wav(rate=4_000_000_000), "sample rate of|not a media|answer"),
    "b.wav of 1 MHz": (lambda _: wav(rate=1_000_000), "a sample rate of 1000000 Hz"),
    "c.wav of 1 Hz": (lambda _: wav(rate=1), "a sample rate of 1 Hz"),
    "d.wav of 60000 channels": (lambda _: wav(channels=60_000), ""),
    "e.wav of 200 channels": (lambda _: wav(channels=200), "200 channels"),
    "f.mkv of 100 tracks": (lambda folder: tracks(folder / "t.mkv", 100), "more than 64 tracks"),
    "g.mp4 of 2^27 samples": (lambda _: mp4_with_samples(2**27), ""),
    "h.mp4 of 2^32 samples": (lambda _: mp4_with_samples(2**32 - 1), ""),
}


@pytest.mark.parametrize("way", ["file", "http"])
@pytest.mark.parametrize("name", MEDIA)
def test_absurd_media_are_refused(tmp_path: Path, name: str, way: str) -> None:
    """Rates, channels, tracks and indexes beyond reason, from disk and over the network."""
    make, says = MEDIA[name]
    path = tmp_path / name.split(maxsplit=1)[0]
    path.write_bytes(make(tmp_path))
    with file_server(tmp_path) as base, bounded(150):
        failure = failure_of(str(path) if way == "file" else f"{base}/{path.name}")
    # Where nothing decodes a live room has just ended; elsewhere the reason is told.
    assert any(part in str(failure) for part in says.split("|")), failure


_BOMB = """
import sys
from pathlib import Path
from pipeline.errors import BadInputError
from pipeline.ingest import SourceOptions, open_source
from pipeline.ingest.limits import limit_memory

limit_memory(700)
bomb, good = sys.argv[1:]
options = SourceOptions(5.0, 5.0)
for url in (bomb, good):
    try:
        with open_source(url, options) as source:
            print("heard", sum(1 for _ in source.read()), source.failure is None)
    except BadInputError as error:
        print("refused", error)
status = Path("/proc/self/status").read_text()
print("peak", int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.parametrize("way", ["file", "http"])
def test_a_small_file_with_a_huge_index_gets_no_memory(tmp_path: Path, way: str) -> None:
    """Some hundred bytes that would unfold to 2.3 GB end in a failure; the process goes on."""
    bomb = tmp_path / "bomb.mp4"
    bomb.write_bytes(mp4_with_samples(2**26))
    assert bomb.stat().st_size < 1000
    good = write(tmp_path / "good.wav", tone(1.0), codec="pcm_s16le")
    with file_server(tmp_path) as base:
        url = str(bomb) if way == "file" else f"{base}/{bomb.name}"
        command = [sys.executable, "-c", _BOMB, url, str(good)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    unheard, heard, peak = ran.stdout.splitlines()
    assert unheard.endswith("False")
    assert heard == "heard 4 True"
    assert int(peak.split()[1]) < 700


def test_a_declared_size_is_no_memory(tmp_path: Path) -> None:
    """A header that claims 4 GB is heard for what is there."""
    path = tmp_path / "a.wav"
    path.write_bytes(wav(declared=0xFFFF_FFF0))
    with bounded(50), open_source(str(path), OPTIONS) as source:
        items = [item for item in source.read() if isinstance(item, AudioChunk)]
    assert sum(len(item.samples) for item in items) == 16_000


def test_a_huge_picture_in_the_tags_is_not_unpacked(tmp_path: Path) -> None:
    """Art of 192 MB in less than two does not get that memory."""
    path = tmp_path / "a.mp3"
    path.write_bytes(cover(tmp_path / "sound.mp3"))
    assert path.stat().st_size < 2_000_000
    with bounded(100):
        assert failure_of(str(path)) is None


def test_huge_tags_do_not_hold_up_a_room() -> None:
    """Tags that never end are given up after a bounded number of bytes."""
    begin = b"ID3\x04\x00\x00\x7f\x7f\x7f\x7fTXXX\x7f\x7f\x7f\x70\x00\x00"

    def endless(connection: Connection) -> None:
        connection.answer(200, "audio/mpeg")
        connection.send(begin)
        while not connection.over.is_set():
            connection.send(bytes(1_000_000))

    with http_server(endless) as url, bounded(400):
        failure = failure_of(f"{url}/a.mp3")
    assert isinstance(failure, TingboError)
    assert "64 MB" in str(failure) or "sent no sound" in str(failure)


def test_headers_without_end_are_left() -> None:
    """A server that sends header after header is left, by size or by time."""

    def flood(connection: Connection) -> None:
        connection.send_raw(b"HTTP/1.1 200 OK\r\n")
        while connection.send_raw(b"X-Filler: " + b"a" * 1000 + b"\r\n"):
            pass

    def drip(connection: Connection) -> None:
        connection.send_raw(b"HTTP/1.1 200 OK\r\n")
        while connection.send_raw(b"X: a\r\n") and not connection.over.wait(0.05):
            pass

    for server in (flood, drip):
        with http_server(server) as url, bounded(30):
            failure = failure_of(f"{url}/a.flv")
        assert isinstance(failure, SourceUnreachableError)


def test_a_playlist_without_end_is_refused() -> None:
    """Line after line: refused by size."""

    def endless(connection: Connection) -> None:
        connection.answer(200, "application/vnd.apple.mpegurl")
        connection.send(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n")
        while not connection.over.is_set():
            connection.send(b"#EXTINF:1,\na.ts\n" * 4000)

    with http_server(endless) as url, bounded(60):
        failure = failure_of(f"{url}/a.m3u8")
    assert isinstance(failure, BadInputError)
    assert "larger than 4 MB" in str(failure)


def test_the_largest_playlist_is_bounded_in_memory() -> None:
    """What just passes the limits costs libav some tens of MB, and no more time than there is."""
    piece = b"#EXTINF:1,\n%s\n" % (b"a" * 70)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + piece * 49_990

    def handle(connection: Connection) -> None:
        connection.answer(200 if connection.path.endswith("m3u8") else 404)
        connection.send(playlist)
        connection.end()

    with http_server(handle) as url, bounded(150):
        failure = failure_of(f"{url}/a.m3u8")
    assert failure is not None


def test_many_variants_are_refused() -> None:
    """Each would be opened before there is sound."""
    lines = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={n}\n{n}.m3u8\n" for n in range(1, 200))
    asked: list[str] = []

    def handle(connection: Connection) -> None:
        asked.append(connection.path)
        connection.answer(200)
        connection.send(f"#EXTM3U\n{lines}".encode())
        connection.end()

    with http_server(handle) as url:
        failure = failure_of(f"{url}/a.m3u8")
    assert isinstance(failure, BadInputError)
    assert "variants" in str(failure)
    assert len(asked) == 1


def test_packed_answers_are_refused() -> None:
    """Nothing is unpacked, so that nothing can swell."""
    import gzip

    bomb = gzip.compress(b"#EXTM3U\n" + bytes(50_000_000))

    def handle(connection: Connection) -> None:
        assert connection.headers["Accept-Encoding"] == "identity"
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        connection.send_raw(head.encode() + bomb)

    with http_server(handle) as url, bounded(30):
        failure = failure_of(f"{url}/a.m3u8")
    assert isinstance(failure, BadInputError)
    assert "Content-Encoding" in str(failure)


def test_sound_that_turns_absurd_ends_the_source(tmp_path: Path) -> None:
    """A rate that changes in mid-stream is checked as the first one was."""
    first = write(tmp_path / "a.flac", tone(1.0), codec="flac").read_bytes()
    with av.open(str(tmp_path / "b.flac"), "w") as container:
        stream = container.add_stream("flac", rate=655_350)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        container.mux(stream.encode(audio_frame(np.zeros(65_535, np.float32), 655_350)))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "b.flac")) as container:
        assert container.streams.audio[0].rate == 655_350
    assert first
    assert "a sample rate of 655350 Hz" in str(failure_of(str(tmp_path / "b.flac")))
