"""Decoded frames of any rate and layout to 16 kHz mono, the resampler's delay included."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from pipeline.records import SAMPLE_RATE, AudioChunk

# Without it the sum of the channels is louder than full scale: +3 dB for stereo, +11 dB for 5.1.
_OPTIONS = {"rematrix_maxval": "1.0"}

#: Frames are joined to this fraction of a second first: one call of the resampler for each AAC
#: frame costs more than the resampling.
_BLOCKS_PER_SECOND = 4


class Resampling:
    """Converts one uninterrupted run of frames that begins at `start_sample` of the media clock."""

    def __init__(self, start_sample: int) -> None:
        self._position = start_sample
        self._resampler = AudioResampler(
            format="flt", layout="mono", rate=SAMPLE_RATE, options=_OPTIONS
        )
        self._fifo = AudioFifo()
        self._shape: tuple[str, str, int] | None = None

    def fits(self, frame: AudioFrame) -> bool:
        """Whether `frame` has the format, layout and rate of the run."""
        return self._shape in {None, _shape(frame)}

    def feed(self, frame: AudioFrame) -> Iterator[AudioChunk]:
        """Sound that is ready after `frame`; a little stays behind until the next or `drain`."""
        self._shape = _shape(frame)
        frame.pts = None  # the media clock is kept outside
        self._fifo.write(frame)
        block = frame.sample_rate // _BLOCKS_PER_SECOND
        while (joined := self._fifo.read(block)) is not None:
            yield from self._converted(joined)

    def drain(self, end_sample: int) -> Iterator[AudioChunk]:
        """What stayed behind, so that the run ends exactly at `end_sample`."""
        rest = self._fifo.read() if self._fifo.samples else None
        if rest is not None:
            yield from self._converted(rest)
        tail = np.concatenate(
            [np.zeros(0, np.float32), *(_samples(out) for out in self._resampler.resample(None))]
        )
        # The resampler rounds up as the clock does; should it ever differ, the clock is right.
        wanted = max(0, end_sample - self._position)
        tail = np.pad(tail, (0, max(0, wanted - len(tail))))[:wanted]
        if len(tail):
            yield self._chunk(tail)

    def _converted(self, frame: AudioFrame) -> Iterator[AudioChunk]:
        for out in self._resampler.resample(frame):
            if out.samples:
                yield self._chunk(_samples(out))

    def _chunk(self, samples: NDArray[np.float32]) -> AudioChunk:
        chunk = AudioChunk(self._position, samples)
        self._position += len(samples)
        return chunk


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = frame.to_ndarray()[0]
    # One NaN of a damaged float stream would poison the state of the VAD for good.
    if not np.isfinite(samples.sum()):
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    np.clip(samples, -1.0, 1.0, out=samples)
    return samples
