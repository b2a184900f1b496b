"""A stream that is sent to us: its chunks in order, and the sound in them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import av
import numpy as np

from pipeline.errors import BadInputError, TingboError
from pipeline.ingest.containers import SourceOptions, open_stream
from pipeline.ingest.resample import Resampling
from pipeline.ingest.source import Source, SourceInfo, source_of
from pipeline.records import SAMPLE_RATE, AudioChunk, Gap

#: Bytes of one room that may wait to be listened to: two minutes of s16le at 16 kHz.
PIPE_BYTES = 4 * 2**20
#: What PCM may be declared as.
PCM_RATES_HZ = range(8_000, 96_001)
PCM_CHANNELS = range(1, 9)
#: PCM is taken out of the pipe in pieces of up to a quarter of a second.
_PIECES_PER_SECOND = 4


@dataclass(frozen=True, slots=True)
class PushFormat:
    """What the bytes of a stream are."""

    kind: Literal["s16le", "container"] = "s16le"
    rate: int = SAMPLE_RATE
    """Hz, of s16le."""
    channels: int = 1
    """Interleaved, of s16le."""

    def __post_init__(self) -> None:
        if self.kind not in ("s16le", "container"):
            raise BadInputError(f"Format {self.kind!r} is unknown: send s16le or container.")
        if self.rate not in PCM_RATES_HZ:
            raise BadInputError(f"A rate of {self.rate} Hz is not taken: send 8000 to 96000.")
        if self.channels not in PCM_CHANNELS:
            raise BadInputError(f"{self.channels} channels are not taken: send 1 to 8.")


class Pipe:
    """Bytes on their way from the network to the one thread that listens; bounded."""

    def __init__(self, name: str, idle_s: float, limit: int = PIPE_BYTES) -> None:
        self.name = name
        """As libav shows it."""
        self._idle_s = idle_s
        self._limit = limit
        self._parts: deque[bytes] = deque()
        self._size = 0
        self.finished = False
        """Nothing more is taken: who reads may have seen the end."""
        self._changed = threading.Condition()

    def put(self, data: bytes) -> bool:
        """Append bytes; False, and nothing happens, while too much waits or once it is finished."""
        with self._changed:
            if self.finished:
                return False
            if self._size and self._size + len(data) > self._limit:
                return False
            if data:
                self._parts.append(data)
                self._size += len(data)
            self._changed.notify()
        return True

    def finish(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self.finished = True
            self._changed.notify()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, waited for; none once it is finished or nothing came for long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._parts or self.finished, self._idle_s):
                self.finished = True
            if not self._parts:
                return b""
            part = self._parts.popleft()
            if len(part) > size:
                self._parts.appendleft(part[size:])
                part = part[:size]
            self._size -= len(part)
            return part


@dataclass(slots=True)
class PushStream:
    """One stream of a room: the chunks 0, 1, 2, … of one recording or encoder run."""

    id: str
    """The sender's choice; another one is another stream."""
    format: PushFormat
    pipe: Pipe
    next: int = 0
    """Number of the chunk that is taken next."""
    began_at: float = field(default_factory=time.monotonic)
    last_at: float = field(default_factory=time.monotonic)
    """When (monotonic) it began, and when its last chunk came."""
    ended: bool = False
    """The sender said that it is complete."""
    over: bool = False
    """Nothing more is taken."""
    failure: str = ""
    """Why it could not be heard."""


class PcmSound:
    """Samples as they are sent, on the media clock by their count."""

    failure: TingboError | None = None

    def __init__(self, room: str, stream: PushStream) -> None:
        said = stream.format
        self.info = SourceInfo(
            name=f"push:{room}",
            protocol="push",
            container="s16le",
            codec="pcm_s16le",
            sample_rate=said.rate,
            channels=said.channels,
            duration_ms=None,
            live=True,
        )
        self._format = said
        self._pipe = stream.pipe

    def read(self) -> Iterator[AudioChunk | Gap]:
        """The sound in order, from 0 on the media clock, to the end of the stream."""
        said = self._format
        if (said.rate, said.channels) == (SAMPLE_RATE, 1):
            position = 0
            for samples in self._samples():
                yield AudioChunk(position, samples[:, 0].astype(np.float32) / np.float32(32_768))
                position += len(samples)
            return
        resampling, count = Resampling(0), 0
        for samples in self._samples():
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)[None] / 32_768),
                format="flt",
                layout="mono",
            )
            frame.sample_rate = said.rate
            yield from resampling.feed(frame)
            count += len(samples)
        yield from resampling.drain(-(-count * SAMPLE_RATE // said.rate))

    def close(self) -> None:
        """Nothing to let go of."""

    def _samples(self) -> Iterator[np.ndarray[tuple[int, int], np.dtype[np.int16]]]:
        """Whole samples, shape [n, channels]; a chunk may end within one."""
        width = 2 * self._format.channels
        piece = self._format.rate // _PIECES_PER_SECOND * width
        rest = b""
        while data := self._pipe.read(piece):
            data = rest + data
            whole = len(data) // width * width
            rest = data[whole:]
            if whole:
                yield np.frombuffer(data[:whole], "<i2").reshape(-1, self._format.channels)


def open_pushed(room: str, stream: PushStream, options: SourceOptions) -> PcmSound | Source:
    """The sound of a stream. Raises BadInputError for bytes that hold none."""
    if stream.format.kind == "s16le":
        return PcmSound(room, stream)
    # How long a sender may pause is said by the pipe.
    options = replace(options, read_timeout_s=float("inf"))
    name = f"push:{room}"
    return source_of(open_stream(stream.pipe, name), name, "push", options)
