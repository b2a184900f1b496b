"""Opens files and addresses with libav, and refuses what claims more than any broadcast has.

libav reads files by itself. Of addresses it is handed the bytes, except of RTMP, which gets a
checked numeric address to connect to.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult

import av
from av.codec import CodecContext
from av.container.input import InputContainer
from av.stream import Stream

from pipeline.errors import TingboError
from pipeline.ingest import faults
from pipeline.ingest.faults import BrokenOff, Silence
from pipeline.ingest.nested import Nested
from pipeline.ingest.playlist import MAGIC, read_playlist
from pipeline.ingest.reach import Reach
from pipeline.ingest.relay import TlsRelay
from pipeline.ingest.web import Body, Patience, Web, place, split
from pipeline.settings import Settings

#: What a stream may claim. More costs memory and time, and no live room has it.
MAX_TRACKS = 64
MAX_CHANNELS = 32
RATES_HZ = range(4_000, 384_001)
MAX_LENGTH_MS = 31 * 86_400_000

_TOO_LARGE = "an index that needs more memory than a source may take"
_LIMITS = {
    "max_streams": str(MAX_TRACKS + 1),
    "max_pixels": str(8192 * 4320),
    "threads": "1",
}
# No subtitle, playlist, image or concat demuxers: text is not media, and a playlist on disk could
# name other files.
_FILE_OPTIONS = _LIMITS | {
    "protocol_whitelist": "file",
    "format_whitelist": (
        "mov,matroska,webm,flv,live_flv,mpegts,mpeg,wav,w64,mp3,ogg,aac,flac,avi,asf,aiff,caf,amr"
    ),
}
_WEB_OPTIONS = _LIMITS | {
    # For the names only: every one of them is opened by `Nested`.
    "protocol_whitelist": "http,https,crypto",
    "format_whitelist": "hls,flv,live_flv,mpegts,mov,matroska,webm,mp3,aac,ogg,wav,flac,mpeg",
}
_STREAM_OPTIONS = _LIMITS | {
    "protocol_whitelist": "",
    "format_whitelist": "flv,live_flv,mpegts,mov,matroska,webm,mp3,aac,ogg,wav,flac,mpeg",
    "probesize": "1000000",
}
_HLS_OPTIONS = _WEB_OPTIONS | {"http_persistent": "0", "http_multiple": "0"}
_RTMP_OPTIONS = _LIMITS | {
    "protocol_whitelist": "rtmp,tcp",
    "format_whitelist": "flv,live_flv",
}
# Enough to see the sound of most live rooms at once; the full probe follows where it is not.
# Not with fflags=nobuffer: that throws away the sound that was read for the probe.
_QUICK_PROBE = {"probesize": "65536", "analyzeduration": "500000"}


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How long to wait for a source, and where it may lie."""

    open_timeout_s: float
    read_timeout_s: float
    """Without new sound for this long, an open stream counts as stalled."""
    allowed_dirs: tuple[Path, ...] | None = None
    """Folders that files must lie in; None allows every file."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts and networks that may be private."""
    typed: bool = True
    """The operator typed the address: its host and port may be private. Where it leads may not."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        allowed_dirs: tuple[Path, ...] | None = None,
        *,
        typed: bool = True,
    ) -> SourceOptions:
        """What the settings say; the folders, and who gave the address, the caller knows."""
        return cls(
            settings.open_timeout_s,
            settings.read_timeout_s,
            allowed_dirs,
            settings.allowed_media_hosts,
            typed,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A container and the connections that it reads from."""

    container: InputContainer
    patience: Patience | None = None
    """Of an http(s) address."""
    whole: Callable[[], bool] = lambda: True
    """Whether a stream that ended said so."""
    connections: Web | TlsRelay | None = None

    def close(self) -> None:
        """Let go of file or connections."""
        self.container.close()
        if self.connections is not None:
            self.connections.close()


def open_file(path: Path, options: SourceOptions) -> Opened:
    """Open a file. Raises BadInputError or MissingError with the reason."""
    refusal = faults.unusable_file(path, options.allowed_dirs)
    if refusal is not None:
        raise refusal
    # What was checked is opened, not what a link leads to by now.
    real = path.resolve() if options.allowed_dirs is not None else path
    try:
        # The prefix keeps a name such as "a:b.mp4" from being read as a protocol.
        container = av.open(f"file:{real}", container_options=_FILE_OPTIONS, options=_LIMITS)
    except MemoryError as error:  # libav's own, of an allocation that was refused
        raise faults.too_much(str(path), _TOO_LARGE) from error
    except av.FFmpegError as error:
        raise faults.file_fault(path) from error
    return _checked(Opened(container), str(path))


def open_address(url: str, options: SourceOptions) -> Opened:
    """Open an http(s) or rtmp(s) address.

    Raises BadInputError for one that may not be reached or claims too much, and
    SourceUnreachableError for one that does not answer with sound in time.
    """
    parts = split(url)
    reach = Reach(options.allowed_hosts)
    if options.typed:
        reach = reach.with_host(*place(parts))
    opened = _once(url, reach, options, _QUICK_PROBE)
    if _needs_full_probe(opened.container):
        opened.close()
        opened = _once(url, reach, options, {})
    return _checked(opened, faults.shown(url))


class Readable(Protocol):
    """Bytes that come, without a way back."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        ...


def open_stream(stream: Readable, name: str) -> Opened:
    """Open a container of which the bytes come one after the other.

    Raises BadInputError for what holds no sound or claims too much.
    """
    try:
        container = av.open(
            stream,
            "r",
            container_options=_STREAM_OPTIONS,
            options=_LIMITS,
            io_open=_refuse,
        )
    except MemoryError as error:
        raise faults.too_much(name, _TOO_LARGE) from error
    except av.FFmpegError as error:
        raise faults.no_container(name) from error
    return _checked(Opened(container), name)


def _refuse(url: str, flags: int, options: dict[str, str]) -> io.BytesIO:  # noqa: ARG001 -- libav's
    """What is sent to us opens nothing else."""
    raise faults.leads_elsewhere("push", url)


def _once(url: str, reach: Reach, options: SourceOptions, probe: Mapping[str, str]) -> Opened:
    began = time.monotonic()
    try:
        if url.partition(":")[0].lower().startswith("http"):
            return _over_http(url, reach, options, probe)
        return _over_rtmp(url, reach, options, probe)
    except (Silence, av.error.ExitError) as error:
        raise faults.silent(url, options.open_timeout_s) from error
    except BrokenOff as error:
        raise faults.broken_before_sound(url, str(error)) from error
    except MemoryError as error:
        raise faults.too_much(faults.shown(url), _TOO_LARGE) from error
    except av.FFmpegError as error:
        # TLS reports the interrupted handshake as an input/output error.
        if time.monotonic() - began >= options.open_timeout_s:
            raise faults.silent(url, options.open_timeout_s) from error
        raise faults.rtmp_fault(url, error) from error


def _over_http(url: str, reach: Reach, options: SourceOptions, probe: Mapping[str, str]) -> Opened:
    patience = Patience(options.open_timeout_s, options.read_timeout_s)
    with ExitStack() as undo:
        web = undo.enter_context(closing(Web(reach, patience)))
        body = Body(web, url)
        is_playlist = body.peek(len(MAGIC)) == MAGIC
        container = av.open(
            _NamedBytes(read_playlist(body), body.name) if is_playlist else body,
            "r",
            format="hls" if is_playlist else None,
            container_options=(_HLS_OPTIONS if is_playlist else _WEB_OPTIONS) | dict(probe),
            options=_LIMITS,
            timeout=(options.open_timeout_s, options.read_timeout_s),
            io_open=Nested(web, body.name),
        )
        undo.pop_all()  # the connections live as long as the container
    patience.opened()
    return Opened(container, patience, lambda: is_playlist or body.whole, web)


class _NamedBytes(io.BytesIO):
    """A playlist that was read, under the address it came from."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _over_rtmp(url: str, reach: Reach, options: SourceOptions, probe: Mapping[str, str]) -> Opened:
    parts = split(url)
    host, port = place(parts)
    numeric = reach.addresses(host, port)[0]
    with ExitStack() as undo:
        relay = None
        if parts.scheme.lower() == "rtmps":
            try:
                relay = TlsRelay(host, port, numeric, options.open_timeout_s)
                undo.callback(relay.close)
            except TimeoutError as error:
                raise Silence from error
            except OSError as error:
                raise faults.unreachable(url, error) from error
            numeric, port = "127.0.0.1", relay.port
        login, at, _ = parts.netloc.rpartition("@")
        bracketed = f"[{numeric}]" if ":" in numeric else numeric
        pinned = parts._replace(scheme="rtmp", netloc=f"{login}{at}{bracketed}:{port}")
        container = av.open(
            pinned.geturl(),
            container_options=_RTMP_OPTIONS | {"rtmp_tcurl": _application_url(parts)} | dict(probe),
            options=_LIMITS,
            timeout=(options.open_timeout_s, options.read_timeout_s),
        )
        undo.pop_all()  # the relay lives as long as the container
    return Opened(container, connections=relay)


def _application_url(parts: SplitResult) -> str:
    """What the server is told it was called by: servers of several hosts tell them apart by it."""
    first, _, rest = parts.path.lstrip("/").partition("/")
    second, slash, _ = rest.partition("/")
    # libav reads rtmp://host/app/instance/stream the same way.
    application = f"{first}/{second}" if slash and ":" not in second else first
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{application}"


def _needs_full_probe(container: InputContainer) -> bool:
    tracks = container.streams.audio
    return not tracks or (codec_of(tracks[0]) is not None and not tracks[0].rate)


def codec_of(stream: Stream) -> CodecContext | None:
    """The decoder's context, None where libav has no decoder."""
    # The stubs do not say that it can be None.
    return stream.codec_context


def _checked(opened: Opened, name: str) -> Opened:
    refusal = _excess(opened.container, name)
    if refusal is not None:
        opened.close()
        raise refusal
    return opened


def _excess(container: InputContainer, name: str) -> TingboError | None:
    """What the container claims that no broadcast has, or None."""
    tracks = len(container.streams)
    if tracks > MAX_TRACKS:
        return faults.too_much(name, f"more than {MAX_TRACKS} tracks")
    if container.duration and container.duration // 1000 > MAX_LENGTH_MS:
        return faults.too_much(name, f"a declared length of {container.duration // 10**6} s")
    for track in container.streams.audio[:1]:
        if codec_of(track) is None:
            continue
        if track.rate and track.rate not in RATES_HZ:
            return faults.too_much(name, f"a sample rate of {track.rate} Hz")
        if track.channels > MAX_CHANNELS:
            return faults.too_much(name, f"{track.channels} channels")
    return None
