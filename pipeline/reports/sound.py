"""The sound of a recording as a page needs it: encoded small, and as a waveform.

Both are made while the recording is read, in constant memory, whatever its length.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from pipeline.records import SAMPLE_RATE, AudioChunk, ms_to_samples, samples_to_ms

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

#: A longer recording is not embedded: the page would no longer open swiftly (44 MB at 3 h).
MAX_EMBEDDED_MS = 3 * 3600 * 1000

# MP3, not AAC or Opus: every browser decodes it by itself, Chromium builds without licensed codecs
# and Safari before 18 included. A constant bit rate keeps a jump exact.
MIME_TYPE = "audio/mpeg"
BIT_RATE = 32_000

_FIRST_BUCKET = SAMPLE_RATE // 50
_MAX_BUCKETS = 1 << 18
_BLOCK = SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Sound:
    """What `SoundTrack` made of a recording."""

    duration_ms: int
    encoded: Path | None
    """MP3 file (`MIME_TYPE`), there until the track is closed; None when too long to embed."""
    peaks: bytes
    """Loudest magnitude of each bucket, 0…255."""
    bucket_ms: int


class Waveform:
    """Peaks over buckets of equal length; the buckets double when there would be too many."""

    def __init__(self) -> None:
        self.bucket = _FIRST_BUCKET
        """Samples in a bucket."""
        self._peaks = bytearray()
        self._rest: NDArray[np.float32] = np.empty(0, np.float32)

    def add(self, samples: NDArray[np.float32]) -> None:
        """Append samples, mono, −1…1, shape [n]."""
        samples = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(samples) // self.bucket * self.bucket
        self._append(samples[:whole])
        self._rest = samples[whole:].copy()
        # An even count only, so that two buckets always make one.
        while len(self._peaks) >= _MAX_BUCKETS and len(self._peaks) % 2 == 0:
            pairs = np.frombuffer(bytes(self._peaks), np.uint8).reshape(-1, 2)
            self._peaks = bytearray(pairs.max(axis=1).tobytes())
            self.bucket *= 2

    def finish(self) -> bytes:
        """All peaks; the last bucket may be a short one."""
        if len(self._rest):
            self._append(self._rest)
            self._rest = self._rest[:0]
        return bytes(self._peaks)

    def _append(self, samples: NDArray[np.float32]) -> None:
        if len(samples):
            rows = np.abs(samples).reshape(-1, min(self.bucket, len(samples)))
            loudest = np.nan_to_num(rows.max(axis=1), nan=0.0, posinf=1.0)
            self._peaks += np.ceil(np.clip(loudest, 0, 1) * 255).astype(np.uint8).tobytes()


class SoundTrack:
    """Encodes a recording and draws its waveform while its chunks pass; a context manager.

    Positions are those of the media clock: what has no sound becomes silence of the same length, so
    that a second of the player is a second of the transcript.
    """

    def __init__(self, *, max_embedded_ms: int = MAX_EMBEDDED_MS) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tingbo-sound-")
        self._encoder: _Mp3 | None = _Mp3(Path(self._folder.name) / "sound.mp3")
        self._waveform = Waveform()
        self._max_samples = ms_to_samples(max_embedded_ms)
        self._position = 0

    def __enter__(self) -> SoundTrack:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, chunk: AudioChunk) -> None:
        """Append a chunk; a hole before it becomes silence, what was already there is left out."""
        self._pad_to(chunk.start_sample)
        late = self._position - chunk.start_sample
        self._write(chunk.samples[late:])

    def finish(self, duration_ms: int = 0) -> Sound:
        """Pad to `duration_ms` and end. The file in the result lives until `close`."""
        self._pad_to(ms_to_samples(duration_ms))
        encoded = None
        if self._encoder is not None:
            # A recording without a single sample has nothing to play.
            encoded = self._encoder.finish() if self._position else None
        return Sound(
            duration_ms=samples_to_ms(self._position),
            encoded=encoded,
            peaks=self._waveform.finish(),
            bucket_ms=samples_to_ms(self._waveform.bucket),
        )

    def close(self) -> None:
        """Remove the encoded file."""
        self._drop_encoder()
        self._folder.cleanup()

    def _pad_to(self, sample: int) -> None:
        while self._position < sample:
            self._write(np.zeros(min(_BLOCK, sample - self._position), np.float32))

    def _write(self, samples: NDArray[np.float32]) -> None:
        self._position += len(samples)
        if self._position > self._max_samples:
            self._drop_encoder()
        elif self._encoder is not None:
            self._encoder.add(samples)
        self._waveform.add(samples)

    def _drop_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder.discard()
            self._encoder = None


class _Mp3:
    """An MP3 file that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = av.open(str(path), "w", format="mp3", options={"id3v2_version": "0"})
        self._stream = self._container.add_stream("libmp3lame", rate=SAMPLE_RATE)
        self._stream.layout = "mono"
        self._stream.format = "s16p"
        self._stream.bit_rate = BIT_RATE
        self._stream.options = {"compression_level": "7"}  # a third of the default's work

    def add(self, samples: NDArray[np.float32]) -> None:
        if not len(samples):
            return
        pcm = (np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16p", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> Path:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._path

    def discard(self) -> None:
        self._container.close()
        self._path.unlink(missing_ok=True)
