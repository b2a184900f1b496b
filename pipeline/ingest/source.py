"""Opens files and live addresses with libav and gives their sound, 16 kHz mono, on the media clock.

Memory stays constant however long a source runs. Only whitelisted containers and protocols are
opened, so that an address or a playlist cannot reach other files of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from pipeline.errors import TingboError
from pipeline.ingest import faults
from pipeline.ingest.clock import FrameStamp, MediaClock, Tail
from pipeline.ingest.containers import (
    RATES_HZ,
    Opened,
    SourceOptions,
    codec_of,
    open_address,
    open_file,
)
from pipeline.ingest.faults import BrokenOff, Silence
from pipeline.ingest.replayed import Replays
from pipeline.ingest.resample import Resampling
from pipeline.records import AudioChunk, CoverageKind, Gap, samples_to_ms

__all__ = ["Source", "SourceInfo", "SourceOptions", "open_source", "source_of"]

REASON_CUT = "文件不完整，这一段没有声音数据"
REASON_VIDEO_ONLY = "声音轨道已结束，只剩画面"
REASON_BROKEN_OFF = "连接中断，这一段声音没有收到"

#: Containers whose declared track length can be believed.
_EXACT_LENGTH = {"mov,mp4,m4a,3gp,3g2,mj2", "flac", "wav"}


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says about its sound."""

    name: str
    """As it may be printed: addresses without credentials and query."""
    protocol: str
    """`file` or the scheme."""
    container: str
    codec: str
    sample_rate: int
    """Hz, as declared."""
    channels: int
    duration_ms: int | None
    """Declared length; None where there is none, as in a live room."""
    live: bool
    """An address without an end."""


def open_source(url: str, options: SourceOptions) -> Source:
    """Open a path or an http(s)/rtmp(s) address; use the result as a context manager.

    Raises BadInputError for what cannot be heard as it is, MissingError for what this user may
    not read, SourceUnreachableError for an address that does not answer with sound in time.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() == "file":
        path = _path(url) if separator else Path(url)
        return source_of(open_file(path, options), str(path), "file", options)
    if scheme.lower() not in faults.SCHEMES:
        raise faults.unsupported_scheme(url, scheme)
    opened = open_address(url, options)
    return source_of(opened, faults.shown(url), scheme.lower(), options)


def _path(url: str) -> Path:
    """The path of a file:// address. Raises BadInputError for one of another machine."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise faults.malformed(url, "it names a file of another machine")
    return Path(parts.path)


class Source:
    """An open recording or live room."""

    def __init__(self, opened: Opened, info: SourceInfo, options: SourceOptions) -> None:
        self.info = info
        self.failure: TingboError | None = None
        """Why `read` ended early; None while it runs and after a clean end."""
        self.replays: Replays | None = None
        """Knows what was heard over earlier connections; None hears everything."""
        self.heard_at = time.monotonic()
        """When sound last came, in monotonic seconds."""
        self._opened = opened
        self._container = opened.container
        self._track = _first_track(opened.container)
        self._options = options
        origin_us = self._container.start_time if info.duration_ms is not None else None
        longest_ms = info.duration_ms or 3_600_000
        self._clock = MediaClock(origin_us, longest_ms)
        self._resampling = Resampling(0)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or connection."""
        self._opened.close()

    def read(self) -> Iterator[AudioChunk | Gap]:
        """The sound and its gaps in order, without overlap, from 0 on the media clock.

        Does not raise when the source breaks: it gives a last gap where the length is known, ends,
        and `failure` says why.
        """
        try:
            for frame in self._frames():
                yield from self._heard(frame)
            if not self._opened.whole() and self.info.live:
                self.failure = self._interrupted("the server said nothing of an end")
        except av.FFmpegError as error:
            self.failure = self._fault(error)
        except BrokenOff as error:
            self.failure = self._interrupted(str(error))
        except Silence:
            self.failure = self._stalled()
        except TingboError as error:
            self.failure = error
        # What was decoded before a failure is heard, not lost.
        yield from self._drain(self._clock.position)
        heard_ms = samples_to_ms(self._clock.position)
        gaps = self._clock.finish(self._tails())
        yield from gaps
        if self.failure is None:
            self.failure = self._shortfall(heard_ms, gaps)

    def _heard(self, frame: AudioFrame) -> Iterator[AudioChunk | Gap]:
        start = self._clock.position
        gap = self._clock.place(_stamp(frame))
        if gap is not None or not self._resampling.fits(frame):
            yield from self._drain(start)
            if gap is not None:
                yield gap
                start = gap.end_sample
            self._resampling = Resampling(start)
        yield from self._resampling.feed(frame)

    def _drain(self, end_sample: int) -> Iterator[AudioChunk]:
        yield from self._resampling.drain(end_sample)

    def _frames(self) -> Iterator[AudioFrame]:
        self.heard_at = time.monotonic()
        self._renew()
        for packet in self._container.demux():
            if packet.stream_index == self._track.index:
                new = [packet] if self.replays is None else self.replays.unheard(packet)
                if not new:  # what is sent again is no silence either
                    self.heard_at = time.monotonic()
                    self._renew()
                for frame in chain.from_iterable(map(self._decoded, new)):
                    yield frame
                    self.heard_at = (
                        time.monotonic()
                    )  # after the yield: the consumer may take its time
                    self._renew()
            if not self.info.live:
                self._renew()
            # libav's own timeout starts anew with every packet, of pictures too.
            elif time.monotonic() - self.heard_at > self._options.read_timeout_s:
                raise self._stalled()

    def _renew(self) -> None:
        if self._opened.patience is not None:
            self._opened.patience.renew()

    def _decoded(self, packet: Packet[Stream]) -> list[AudioFrame]:
        try:
            frames = self._track.decode(packet)
        except av.FFmpegError:
            # One damaged packet is no end: the clock reports the hole at the next good one.
            self._clock.damage()
            return []
        for frame in frames:
            if frame.sample_rate not in RATES_HZ:
                raise faults.too_much(self.info.name, f"a sample rate of {frame.sample_rate} Hz")
        return [frame for frame in frames if frame.samples]

    def _fault(self, error: av.FFmpegError) -> TingboError:
        heard_ms = samples_to_ms(self._clock.position)
        if self.info.protocol == "file":
            return faults.broken(self.info.name, error, heard_ms)
        if isinstance(error, av.error.ExitError):
            return self._stalled()
        return self._interrupted(str(error.strerror))

    def _interrupted(self, reason: str) -> TingboError:
        return faults.interrupted(self.info.name, reason, samples_to_ms(self._clock.position))

    def _stalled(self) -> TingboError:
        heard_ms = samples_to_ms(self._clock.position)
        return faults.stalled(self.info.name, heard_ms, self._options.read_timeout_s)

    def _tails(self) -> Iterator[Tail]:
        whole_us = self._container.duration
        if not whole_us:
            return
        if self.info.protocol != "file":
            if self.failure is not None:
                yield Tail(self._start_us + whole_us, CoverageKind.LOST, REASON_BROKEN_OFF)
            return
        track_us = _track_length_us(self._container, self._track)
        if track_us is not None:
            yield Tail(self._start_us + track_us, CoverageKind.FAILED, REASON_CUT)
            if self._container.streams.video:
                yield Tail(self._start_us + whole_us, CoverageKind.LOST, REASON_VIDEO_ONLY)
        elif self.failure is not None or not self._clock.started:
            yield Tail(self._start_us + whole_us, CoverageKind.FAILED, REASON_CUT)

    @property
    def _start_us(self) -> int:
        return self._container.start_time or 0

    def _shortfall(self, heard_ms: int, gaps: tuple[Gap, ...]) -> TingboError | None:
        if not self._clock.started:
            return None if self.info.live else faults.undecodable(self.info.name)
        for gap in gaps:
            if gap.kind is CoverageKind.FAILED:
                declared_ms = samples_to_ms(gap.end_sample)
                return faults.cut_off(self.info.name, heard_ms, declared_ms)
        return None


def source_of(opened: Opened, name: str, protocol: str, options: SourceOptions) -> Source:
    """The sound of what was opened. Raises BadInputError when there is none to be heard."""
    try:
        info = _info(opened.container, name, protocol)
    except TingboError:
        opened.close()
        raise
    return Source(opened, info, options)


def _info(container: InputContainer, name: str, protocol: str) -> SourceInfo:
    if not container.streams.audio:
        raise faults.no_sound(name, tuple(stream.type for stream in container.streams))
    track = container.streams.audio[0]
    codec = codec_of(track)
    if codec is None:
        raise faults.no_decoder(name)
    if not track.rate:
        raise faults.unknown_rate(name, codec.name)
    return SourceInfo(
        name=name,
        protocol=protocol,
        container=container.format.name,
        codec=codec.name,
        sample_rate=track.rate,
        channels=track.channels,
        duration_ms=container.duration // 1000 if container.duration else None,
        live=protocol != "file" and not container.duration,
    )


def _first_track(container: InputContainer) -> AudioStream:
    """The first audio track; every other stream is switched off and costs no reading."""
    track = container.streams.audio[0]
    # Two threads per room are a hundred for fifty rooms, and buy nothing for sound.
    track.codec_context.thread_count = 1
    for stream in container.streams:
        if stream.index != track.index:
            stream.discard = Discard.all
    return track


def _stamp(frame: AudioFrame) -> FrameStamp:
    pts_us = None
    if frame.pts is not None and frame.time_base is not None:
        base: Fraction = frame.time_base
        pts_us = frame.pts * base.numerator * 1_000_000 // base.denominator
    return FrameStamp(pts_us, frame.samples, frame.sample_rate)


def _track_length_us(container: InputContainer, track: AudioStream) -> int | None:
    """Length of the track that the container vouches for, in µs; None where it only estimates."""
    name = container.format.name
    if name in _EXACT_LENGTH and track.duration is not None and track.time_base is not None:
        return int(track.duration * track.time_base * 1_000_000)
    if name.startswith("matroska"):
        return _tagged_us(track.metadata.get("DURATION", ""))
    if name == "flv":
        return container.duration
    return None


def _tagged_us(text: str) -> int | None:
    """Read Matroska's duration tag, e.g. 00:00:03.021000000."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = int(parts[0]), int(parts[1]), Fraction(parts[2])
    except (IndexError, ValueError):
        return None
    return int((hours * 3600 + minutes * 60 + seconds) * 1_000_000)
