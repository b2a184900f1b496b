"""What the training sound is made of: log-mel frames, rooms, codecs, noise and music.

Features follow faster-whisper's own extractor with the sizes of timing.py.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from scipy.signal import fftconvolve, resample_poly
from timing import HOP, MELS, RATE, SPECTRUM, WINDOW_S

Sound = NDArray[np.float32]
#: log10 power below which faster-whisper's extractor clamps.
FLOOR = -10.0
#: up/down pairs from 22,050 Hz to 16 kHz; the first is exact, the others move pitch and formants
#: by −9…+9 %.
RATIOS = ((320, 441), (3, 4), (5, 7), (7, 10), (11, 15), (2, 3), (4, 5), (7, 9))

_extractor = FeatureExtractor(MELS, RATE, HOP, WINDOW_S, SPECTRUM)
_filters = np.asarray(_extractor.mel_filters, dtype=np.float32)
_window = np.hanning(SPECTRUM + 1)[:-1].astype(np.float32)


def log_mel(sound: Sound) -> NDArray[np.float32]:
    """log10 mel power, shape [frames, MELS], before Whisper's per-window normalisation."""
    half = SPECTRUM // 2
    padded = np.pad(sound, half, mode="reflect" if len(sound) > half else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, SPECTRUM)[::HOP]
    spectrum = np.fft.rfft(frames * _window, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log10(np.maximum(power @ _filters.T, 1e-10))


def to_16k(sound: Sound, ratio: tuple[int, int]) -> Sound:
    """Resample espeak-ng's output; another ratio than the exact one changes the voice."""
    return resample_poly(sound, *ratio).astype(np.float32)


def room(sound: Sound, rng: np.random.Generator) -> Sound:
    """The same sound in a small room: exponentially decaying noise as impulse response."""
    seconds = rng.uniform(0.08, 0.5)
    n = int(seconds * RATE)
    tail = rng.standard_normal(n).astype(np.float32) * np.exp(-6.9 * np.arange(n) / n).astype(
        np.float32
    )
    tail *= rng.uniform(0.02, 0.12)
    tail[0] = 1.0
    return fftconvolve(sound, tail)[: len(sound)].astype(np.float32)


def telephone(sound: Sound) -> Sound:
    """Band limit of an 8 kHz source."""
    return resample_poly(resample_poly(sound, 1, 2), 2, 1)[: len(sound)].astype(np.float32)


def codec(sound: Sound, rng: np.random.Generator) -> Sound:
    """Through a lossy codec as live platforms use them."""
    name, container = (("aac", "adts"), ("libopus", "ogg"), ("libmp3lame", "mp3"))[rng.integers(3)]
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as out:
        stream = out.add_stream(name, rate=RATE, layout="mono")
        stream.bit_rate = int(rng.choice([16_000, 24_000, 32_000, 48_000]))
        pcm = (sound[None] * 32767).clip(-32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
        frame.rate = RATE
        for packet in (*stream.encode(_resampled(frame, stream)), *stream.encode(None)):
            out.mux(packet)
    memory.seek(0)
    with av.open(memory) as source:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        decoded = (part for f in source.decode(audio=0) for part in resampler.resample(f))
        parts = [part.to_ndarray()[0] for part in decoded]
    return np.concatenate(parts).astype(np.float32) if parts else sound


def _resampled(frame: av.AudioFrame, stream: av.AudioStream) -> av.AudioFrame:
    return av.AudioResampler(stream.format, stream.layout, stream.rate).resample(frame)[0]


def distort(sound: Sound, rng: np.random.Generator) -> Sound:
    """Room, telephone band or codec on a share of the sentences."""
    kind = rng.random()
    if kind < 0.22:
        return room(sound, rng)
    if kind < 0.30:
        return telephone(sound)
    if kind < 0.34:
        return codec(sound, rng)
    return sound


def noise(seconds: float, rng: np.random.Generator) -> Sound:
    """Coloured noise with a slow swell: white, pink, brown, hum, or clicks."""
    n = int(seconds * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20.0)
    spectrum *= f ** -rng.uniform(0, 1.2)
    if rng.random() < 0.3:
        low = rng.uniform(50, 3000)
        spectrum *= (f > low) & (f < low * rng.uniform(2, 12))
    sound = np.fft.irfft(spectrum, n)
    sound /= np.abs(sound).max() + 1e-9
    if rng.random() < 0.3:
        sound += 0.5 * np.sin(2 * np.pi * rng.choice([50, 100, 120, 1000]) * np.arange(n) / RATE)
    if rng.random() < 0.2:
        sound[rng.integers(0, n, int(seconds * rng.uniform(0.5, 4)))] += 1.5
    knots = max(2, int(seconds * 2))
    swell = np.interp(np.arange(n), np.linspace(0, n, knots), rng.uniform(0.3, 1, knots))
    return (0.3 * sound * swell).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Tune:
    """What stays the same throughout a piece of music."""

    beat: float
    """Seconds."""
    key: float
    """Hertz."""
    scale: NDArray[np.int64]
    """Semitones above the key."""
    harmonics: NDArray[np.float64]
    """Strength of the first overtones."""


def music(seconds: float, rng: np.random.Generator) -> Sound:
    """A simple band: chords, a melody, a bass and drums in a random key, tempo and timbre."""
    out = np.zeros(int(seconds * RATE), np.float32)
    tune = _tune(rng)
    parts = rng.random(4) < [0.8, 0.8, 0.6, 0.6]
    for i in range(int(seconds / tune.beat) + 1):
        _play_beat(out, i, tune, parts, rng)
    if not parts.any():
        out += noise(seconds, rng)
    return (0.5 * out / (np.abs(out).max() + 1e-9)).astype(np.float32)


def _tune(rng: np.random.Generator) -> _Tune:
    beat, key = 60 / rng.uniform(70, 140), rng.uniform(110, 220)
    major = rng.random() < 0.6
    scale = [0, 2, 4, 7, 9, 12, 14, 16] if major else [0, 2, 3, 5, 7, 8, 10, 12]
    return _Tune(beat, key, np.array(scale), rng.uniform(0, 1, 6) / np.arange(1, 7))


def _play_beat(
    out: Sound, i: int, tune: _Tune, parts: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Add beat `i` to `out`, played by those of chords, melody, bass and drums that take part."""
    at, beat, key, scale = int(i * tune.beat * RATE), tune.beat, tune.key, tune.scale
    chords, melody, bass, drums = parts
    if chords and i % 4 == 0:
        root = rng.choice(scale)
        for step in (0, 4, 7):
            pitch = key * 2 ** ((root + step) / 12)
            _add(out, at, _note(pitch, 4 * beat, tune.harmonics, 0.6), 0.10)
    if melody and rng.random() < 0.8:
        pitch = key * 2 ** (1 + rng.choice(scale) / 12)
        length = beat * rng.choice([0.5, 1, 2])
        _add(out, at, _note(pitch, length, tune.harmonics, 3), 0.22)
    if bass:
        pitch = key / 2 * 2 ** (rng.choice(scale[:4]) / 12)
        _add(out, at, _note(pitch, beat, tune.harmonics[:2], 2), 0.2)
    if drums:
        _add(out, at, _drum(i, rng), 0.25)


def _drum(i: int, rng: np.random.Generator) -> Sound:
    """A bass drum on even beats, a snare on odd ones."""
    n = int(0.09 * RATE)
    hit = rng.standard_normal(n) if i % 2 else np.sin(2 * np.pi * 70 * np.arange(n) / RATE)
    return (hit * np.exp(-6 * np.arange(n) / n)).astype(np.float32)


def _note(frequency: float, seconds: float, harmonics: NDArray[np.float64], decay: float) -> Sound:
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum(a * np.sin(2 * np.pi * frequency * (k + 1) * t) for k, a in enumerate(harmonics))
    return (wave * np.exp(-decay * t) * np.minimum(1, t / 0.01)).astype(np.float32)


def _add(out: Sound, at: int, part: Sound, gain: float) -> None:
    end = min(len(out), at + len(part))
    if end > at:
        out[at:end] += gain * part[: end - at]
