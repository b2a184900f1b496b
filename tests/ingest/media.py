"""Media made on the spot: tones, speech, containers of every kind, and cut or damaged ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.records import SAMPLE_RATE

Samples = NDArray[np.float32]

#: espeak-ng, voice cmn-latn-pinyin: 欢迎来到直播间，只要九十九元。
SPEECH = Path(__file__).parent.parent / "data" / "speech.flac"


def silence(seconds: float, rate: int = SAMPLE_RATE) -> Samples:
    """Digital silence."""
    return np.zeros(int(seconds * rate), np.float32)


def tone(seconds: float, rate: int = SAMPLE_RATE, hz: float = 440.0) -> Samples:
    """A sine at −10 dBFS."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.32 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def noise(seconds: float, level: float, rate: int = SAMPLE_RATE) -> Samples:
    """White noise, the same every time."""
    samples = np.random.default_rng(7).standard_normal(int(seconds * rate)) * level
    return samples.astype(np.float32)


def chords(seconds: float) -> Samples:
    """A pad of changing triads with harmonics: music nobody sings to."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(time))
    for bar, root in enumerate((220.0, 174.6, 261.6, 196.0) * int(seconds // 4 + 1)):
        inside = (time >= bar) & (time < bar + 1)
        for ratio in (1.0, 1.25, 1.5):
            for harmonic in (1, 2, 3, 4):
                wave = np.sin(2 * np.pi * root * ratio * harmonic * time[inside])
                sound[inside] += 0.05 * wave / harmonic
    return sound.astype(np.float32)


def speech() -> Samples:
    """Three seconds of synthetic Mandarin at SAMPLE_RATE."""
    with av.open(str(SPEECH)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return (np.concatenate(frames) / 32768).astype(np.float32)


def write(
    target: Path,
    samples: Samples,
    rate: int = SAMPLE_RATE,
    *,
    codec: str = "aac",
    layout: str = "mono",
    video_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode mono sound, the same in every channel, with `video_s` seconds of grey pictures."""
    with av.open(str(target), "w", options=options or {}) as container:
        pictures = _picture_stream(container, target.suffix) if video_s else None
        sound = container.add_stream(codec, rate=rate)
        assert isinstance(sound, av.AudioStream)
        sound.layout = layout
        if pictures:
            _pictures(container, pictures, video_s)
        container.mux(sound.encode(audio_frame(samples, rate, layout)))
        container.mux(sound.encode(None))
    return target


def audio_frame(samples: Samples, rate: int, layout: str = "mono") -> av.AudioFrame:
    """One frame with the same sound in every channel, beginning at 0."""
    channels = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.stack([samples] * channels), "fltp", layout)
    frame.sample_rate = rate
    frame.pts = 0
    frame.time_base = Fraction(1, rate)
    return frame


def only_pictures(target: Path) -> Path:
    """A video without an audio track."""
    with av.open(str(target), "w") as container:
        _pictures(container, _picture_stream(container, target.suffix), 1.0)
    return target


def sound_then_pictures(target: Path) -> bytes:
    """A stream with a second of sound and then half a minute of pictures alone."""
    with av.open(str(target), "w", options={"max_interleave_delta": "1"}) as container:
        pictures = _picture_stream(container, target.suffix)
        sound = container.add_stream("aac", rate=SAMPLE_RATE)
        assert isinstance(sound, av.AudioStream)
        sound.layout = "mono"
        container.mux(sound.encode(audio_frame(tone(1.0), SAMPLE_RATE)))
        container.mux(sound.encode(None))
        _pictures(container, pictures, 30.0)
    return target.read_bytes()


def cut(target: Path, whole: Path, share: float = 0.5) -> Path:
    """The first part of a file, as a broken copy leaves it."""
    data = whole.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def blank_transport_packets(source: Path, target: Path, packets: slice) -> Path:
    """A one-track transport stream in which the sound of some packets is zeros."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        pid = container.streams.audio[0].id
    starts = [
        at
        for at in range(0, len(data), 188)
        if int.from_bytes(data[at + 1 : at + 3]) & 0x1FFF == pid
    ]
    for at in starts[packets]:
        body = at + 4
        if data[at + 3] & 0x20:  # adaptation field
            body += 1 + data[body]
        if data[at + 1] & 0x40:  # a PES header begins here
            body += 9 + data[body + 8]
        data[body : at + 188] = bytes(at + 188 - body)
    target.write_bytes(data)
    return target


def with_gap(target: Path, before_s: float, gap_s: float, after_s: float) -> Path:
    """AAC whose timestamps jump forward by `gap_s`."""
    rate = 44_100
    with av.open(str(target), "w") as container:
        sound = container.add_stream("aac", rate=rate)
        assert isinstance(sound, av.AudioStream)
        sound.layout = "mono"
        packets = list(sound.encode(audio_frame(tone(before_s + after_s, rate), rate)))
        packets += sound.encode(None)
        for packet in packets:
            assert packet.pts is not None
            if packet.pts >= before_s * rate:
                packet.pts += int(gap_s * rate)
                packet.dts = packet.pts
            container.mux(packet)
    return target


def _picture_stream(container: av.container.OutputContainer, suffix: str) -> av.VideoStream:
    stream = container.add_stream("libvpx" if suffix == ".webm" else "mpeg4", rate=10)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    return stream


def _pictures(
    container: av.container.OutputContainer, stream: av.VideoStream, seconds: float
) -> None:
    for number in range(int(seconds * 10)):
        picture = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), "yuv420p")
        picture.pts = number
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))
