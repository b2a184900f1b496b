"""Opening and decoding files, good and bad ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadInputError, MissingError
from pipeline.ingest import Source, SourceOptions, open_source
from pipeline.ingest.clock import REASON_DAMAGED, REASON_JUMP, REASON_LATE
from pipeline.ingest.source import REASON_CUT, REASON_VIDEO_ONLY
from pipeline.records import AudioChunk, CoverageKind, Gap
from tests.ingest.media import (
    Samples,
    audio_frame,
    blank_transport_packets,
    cut,
    only_pictures,
    silence,
    speech,
    tone,
    with_gap,
    write,
)

OPTIONS = SourceOptions(open_timeout_s=5, read_timeout_s=5)


def read(path: Path | str) -> tuple[Source, list[AudioChunk | Gap]]:
    """All of a source, checked to follow sample by sample."""
    with open_source(str(path), OPTIONS) as source:
        items = list(source.read())
    at = 0
    for item in items:
        assert item.start_sample == at
        at = item.end_sample if isinstance(item, Gap) else at + len(item.samples)
    return source, items


def sound_of(items: list[AudioChunk | Gap]) -> Samples:
    return np.concatenate([item.samples for item in items if isinstance(item, AudioChunk)])


def gaps_of(items: list[AudioChunk | Gap]) -> list[tuple[int, int, CoverageKind, str]]:
    return [
        (item.start_sample // 16, item.end_sample // 16, item.kind, item.reason)
        for item in items
        if isinstance(item, Gap)
    ]


def delay_ms(heard: Samples, original: Samples) -> float:
    """By how much `heard` lies behind `original`, found by correlation."""
    size = 2 ** int(np.ceil(np.log2(len(heard) + len(original))))
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(original, size))
    lag = int(np.argmax(np.fft.irfft(product)))
    return (lag if lag < size // 2 else lag - size) / 16


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mp4", "aac", 44_100),
        ("a.m4a", "aac", 48_000),
        ("a.mov", "aac", 44_100),
        ("a.mkv", "aac", 48_000),
        ("a.flv", "aac", 44_100),
        ("a.ts", "aac", 48_000),
        ("a.wav", "pcm_s16le", 16_000),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.ogg", "libopus", 48_000),
        ("a.webm", "libopus", 48_000),
    ],
)
def test_every_container_gives_its_sound_in_place(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    """Length, level and place of the sound survive each container, with and without pictures."""
    from av import AudioResampler

    original = np.concatenate([silence(0.5), speech(), silence(0.5)])
    resampler = AudioResampler("fltp", "mono", rate)
    frames = resampler.resample(audio_frame(original, 16_000)) + resampler.resample(None)
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    video_s = 4.5 if name.endswith(("mp4", "mov", "mkv", "flv", "ts", "webm")) else 0.0
    if name.endswith(("flv", "ts")):
        video_s = 0.0  # their video codecs are not what is tested here
    path = write(tmp_path / name, samples, rate, codec=codec, layout="stereo", video_s=video_s)
    source, items = read(path)
    heard = sound_of(items)
    assert source.failure is None
    assert gaps_of(items) == []
    assert not source.info.live
    assert source.info.sample_rate == rate
    assert heard.dtype == np.float32
    # Encoders add up to a frame of padding on either side.
    assert abs(len(heard) / 16_000 - len(original) / 16_000) < 0.06
    assert abs(delay_ms(heard, original)) < 30
    ratio = np.sqrt(np.mean(heard**2) * len(heard) / (np.mean(original**2) * len(original)))
    assert 0.9 < ratio < 1.1


def test_the_channels_are_averaged(tmp_path: Path) -> None:
    """Six equal channels are as loud as one: a downmix that adds up would clip."""
    path = write(tmp_path / "six.wav", tone(1.0, 48_000), 48_000, codec="pcm_s16le", layout="5.1")
    _, items = read(path)
    assert 0.30 < np.abs(sound_of(items)[2000:-2000]).max() < 0.34


def test_channels_without_a_layout_are_accepted(tmp_path: Path) -> None:
    """A WAV of six channels that does not name them is heard all the same."""
    import wave

    path = tmp_path / "six.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(6)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(np.full(6 * 48_000, 1000, np.int16).tobytes())
    _, items = read(path)
    assert len(sound_of(items)) == 16_000


def test_phone_sound_is_accepted(tmp_path: Path) -> None:
    """8 kHz becomes 16 kHz of the same length."""
    source, items = read(write(tmp_path / "p.wav", tone(2.0, 8000), 8000, codec="pcm_s16le"))
    assert source.info.sample_rate == 8000
    assert len(sound_of(items)) == 32_000


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_tenth_of_a_second_is_heard_to_the_last_sample(tmp_path: Path, rate: int) -> None:
    """What the resampler holds back comes out at the end."""
    _, items = read(write(tmp_path / "s.wav", tone(0.1, rate), rate, codec="pcm_s16le"))
    assert len(sound_of(items)) == 1600


def test_resampling_adds_no_delay(tmp_path: Path) -> None:
    """A click at 500 ms of a 44.1 kHz file is at 500 ms on the clock, within a sample."""
    samples = silence(1.0, 44_100)
    samples[22_050] = 0.9
    _, items = read(write(tmp_path / "c.wav", samples, 44_100, codec="pcm_s16le"))
    assert abs(int(np.argmax(np.abs(sound_of(items)))) - 8000) <= 1


def test_missing_sound_between_timestamps_is_a_gap(tmp_path: Path) -> None:
    """A jump of 5 s in an FLV leaves 5 s lost at its place."""
    source, items = read(with_gap(tmp_path / "jump.flv", 2.0, 5.0, 2.0))
    ((start, end, kind, reason),) = gaps_of(items)
    assert abs(start - 2000) < 60
    assert abs(end - start - 5000) < 60
    assert (kind, reason) == (CoverageKind.LOST, REASON_JUMP)
    assert source.failure is None


def test_timestamps_that_fall_back_lose_nothing(tmp_path: Path) -> None:
    """A stream that starts over keeps all of its sound."""
    once = write(tmp_path / "once.ts", tone(3.0, 44_100), 44_100).read_bytes()
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once + once)
    source, items = read(twice)
    assert gaps_of(items) == []
    assert abs(len(sound_of(items)) - 6 * 16_000) < 1600
    assert source.failure is None


def test_a_damaged_stretch_is_failed(tmp_path: Path) -> None:
    """Sound that does not decode is failed where it stood; what follows is in its place."""
    whole = write(tmp_path / "whole.ts", tone(6.0, 44_100), 44_100)
    packets = whole.stat().st_size // 188
    damaged = blank_transport_packets(
        whole, tmp_path / "damaged.ts", slice(packets // 3, packets // 2)
    )
    source, items = read(damaged)
    failed = [gap for gap in gaps_of(items) if gap[2] is CoverageKind.FAILED]
    assert {gap[3] for gap in failed} == {REASON_DAMAGED}
    assert 400 < sum(gap[1] - gap[0] for gap in failed) < 1500
    last = items[-1]
    assert isinstance(last, AudioChunk)
    assert abs((last.start_sample + len(last.samples)) / 16_000 - 6.0) < 0.1
    assert source.failure is None


def test_sound_that_begins_after_the_pictures_keeps_its_place(tmp_path: Path) -> None:
    """Players count from the first picture, and so does the clock."""
    import av

    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        sound = container.add_stream("aac", rate=16_000)
        assert isinstance(pictures, av.VideoStream)
        assert isinstance(sound, av.AudioStream)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound.layout = "mono"
        for number in range(40):
            picture = av.VideoFrame.from_ndarray(np.zeros((72, 64), np.uint8), "yuv420p")
            picture.pts = number
            container.mux(pictures.encode(picture))
        frame = audio_frame(tone(2.0), 16_000)
        frame.pts = 2 * 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        container.mux(pictures.encode(None))
    _, items = read(path)
    start, end, kind, reason = gaps_of(items)[0]
    assert (start, kind, reason) == (0, CoverageKind.LOST, REASON_LATE)
    assert abs(end - 2000) < 80


def test_pictures_that_go_on_without_sound_are_lost(tmp_path: Path) -> None:
    """The broadcast is as long as its pictures; without sound nobody can have heard it."""
    source, items = read(write(tmp_path / "v.mp4", tone(2.0), video_s=4.0))
    ((start, end, kind, reason),) = gaps_of(items)
    assert abs(start - 2000) < 80
    assert abs(end - 4000) < 150
    assert (kind, reason) == (CoverageKind.LOST, REASON_VIDEO_ONLY)
    assert source.failure is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv"])
def test_a_cut_file_is_heard_up_to_the_cut(tmp_path: Path, name: str) -> None:
    """The first part is heard, the rest is failed up to the declared length; the fault is named."""
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    whole = write(tmp_path / f"whole-{name}", tone(6.0, 48_000), 48_000, options=options)
    path = cut(tmp_path / name, whole)
    source, items = read(path)
    ((start, end, kind, reason),) = gaps_of(items)
    assert 2000 < start < 4000
    assert abs(end - 6000) < 60
    assert (kind, reason) == (CoverageKind.FAILED, REASON_CUT)
    assert isinstance(source.failure, BadInputError)
    assert str(source.failure).startswith(f"{path} is cut off: its sound ends at 0:00:0")
    assert str(source.failure).endswith("of 0:00:06; copy or export it again.") or str(
        source.failure
    ).endswith("of 0:00:05; copy or export it again.")


def text_file(folder: Path) -> Path:
    path = folder / "notes.mp4"
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\n今天只要九十九\n", encoding="utf-8")
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def playlist_file(folder: Path) -> Path:
    write(folder / "piece.ts", tone(1.0))
    path = folder / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npiece.ts\n#EXT-X-ENDLIST\n")
    return path


def zero_hertz(folder: Path) -> Path:
    whole = write(folder / "whole.ts", tone(3.0, 48_000), 48_000)
    return blank_transport_packets(whole, folder / "zero.ts", slice(None))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none.mp4", r"does not exist: check"),
        (lambda folder: folder, r"is a folder: name one media file"),
        (empty_file, r"is empty \(0 bytes\): copy"),
        (text_file, r"is not a media file that can be read.*: give a file of mp4"),
        (playlist_file, r"is not a media file that can be read"),
        (
            lambda folder: only_pictures(folder / "v.mp4"),
            r"has no audio track \(only video\)",
        ),
        (
            lambda folder: cut(folder / "c.mp4", write(folder / "w.mp4", tone(3.0))),
            r"is cut off: the index .*is missing; copy",
        ),
        (zero_hertz, r"declares aac sound at 0 Hz and none of it decodes: record"),
    ],
    ids=["missing", "folder", "empty", "text", "playlist", "pictures", "no index", "0 Hz"],
)
def test_unusable_files_are_refused_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    """The sentence names the file, the reason and the remedy."""
    path = make(tmp_path)
    with pytest.raises(BadInputError, match=says) as refusal:
        open_source(str(path), OPTIONS)
    message = str(refusal.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    """A permission is something this machine lacks, not a fault of the file."""
    path = write(tmp_path / "a.wav", tone(0.1), codec="pcm_s16le")
    path.chmod(0)
    with pytest.raises(MissingError, match="give this user permission"):
        open_source(str(path), OPTIONS)


def test_files_outside_the_allowed_folders_are_refused(tmp_path: Path) -> None:
    """Rooms read below the allowed folders only; dots and links do not lead out."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    secret = write(outside / "s.wav", tone(0.1), codec="pcm_s16le")
    good = write(inside / "a.wav", tone(0.1), codec="pcm_s16le")
    link = inside / "link.wav"
    link.symlink_to(secret)
    options = SourceOptions(5, 5, allowed_dirs=(inside,))
    open_source(str(good), options).close()
    for path in (secret, inside / ".." / "out" / "s.wav", link):
        with pytest.raises(BadInputError, match="allowed_media_dirs"):
            open_source(str(path), options)


def test_names_that_look_like_addresses_are_files(tmp_path: Path) -> None:
    """A colon or a percent sign in a file's name is no protocol."""
    path = write(tmp_path / "concat:100%25 直播.wav", tone(0.1), codec="pcm_s16le")
    _, items = read(path)
    assert len(sound_of(items)) == 1600
