"""The border to libav: its errors become one sentence with the thing, the reason and the remedy.

Addresses are shown without user, password and query, because tokens travel there.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import av

from pipeline.errors import (
    BadInputError,
    MissingError,
    OfflineError,
    SourceUnreachableError,
    StalledError,
    TingboError,
)

SCHEMES = ("http", "https", "rtmp", "rtmps")
FORMATS = "mp4, m4a, mov, mkv, flv, ts, wav, mp3, ogg or webm"

_HTTP_REMEDIES = {
    401: "answered 401 Unauthorized: give an address with valid credentials",
    403: "answered 403 Forbidden: its signature may be out of date, renew it",
    404: "answered 404 Not Found: check the address, or wait until the room is live",
    429: "answered 429 Too Many Requests: wait, or open fewer rooms",
}


class Silence(Exception):  # noqa: N818 -- no error by itself: what it means depends on when
    """Raised by a connection when nothing came in the time there was."""


class BrokenOff(Exception):  # noqa: N818 -- as above
    """Raised by a connection that ended before its end, with the reason."""


def shown(url: str) -> str:
    """`url` as it may be printed: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no address; its beginning tells which one was meant
        return url.partition("?")[0].rpartition("@")[2][:80]
    if parts.scheme not in SCHEMES:
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def clock_time(ms: int) -> str:
    """`ms` as h:mm:ss."""
    seconds = ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def unsupported_scheme(url: str, scheme: str) -> BadInputError:
    """For an address that is neither a file nor one of SCHEMES."""
    return BadInputError(
        f"{url.partition('?')[0]} begins with {scheme}://, which tingbo does not open: "
        f"use a file or an address with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}."
    )


def unusable_file(path: Path, allowed_dirs: tuple[Path, ...] | None) -> TingboError | None:
    """Why `path` need not even be opened, or None."""
    if allowed_dirs is not None and not _is_below(path, allowed_dirs):
        return BadInputError(
            f"{path} lies outside the folders that rooms may read: "
            "move it, or add its folder to allowed_media_dirs."
        )
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device never ends
        kind = "folder" if path.is_dir() else "pipe or a device"
        return BadInputError(f"{path} is a {kind}: name one media file.")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError:
        return BadInputError(f"{path} does not exist: check the name and the folder you are in.")
    except OSError as error:
        return _unreadable(path, error)
    if not first:
        return BadInputError(f"{path} is empty (0 bytes): copy or download it again.")
    return None


def _unreadable(path: Path, error: OSError) -> TingboError:
    if isinstance(error, PermissionError):
        return MissingError(f"{path} cannot be read: give this user permission to read it.")
    return BadInputError(f"{path} cannot be read ({error.strerror}): check the disk or the name.")


def file_fault(path: Path) -> TingboError:
    """Why libav could not open `path`."""
    if _mp4_without_index(path):
        return BadInputError(
            f"{path} is cut off: the index at the end of the file (moov) is missing; "
            "copy or export it again."
        )
    return BadInputError(
        f"{path} is not a media file that can be read, whatever its name says: "
        f"give a file of {FORMATS}."
    )


def http_fault(url: str, status: int) -> SourceUnreachableError:
    """For an answer with an error."""
    if status >= 500:
        remedy = "answered with an HTTP server error: try again later"
    else:
        remedy = _HTTP_REMEDIES.get(
            status, f"answered with an HTTP client error ({status}): check the address"
        )
    kind = OfflineError if status in (404, 410) else SourceUnreachableError
    return kind(f"{shown(url)} {remedy}.")


def unreachable(url: str, reason: BaseException) -> SourceUnreachableError:
    """For an address that no connection could be made to."""
    if isinstance(reason, ConnectionRefusedError):
        return SourceUnreachableError(
            f"{shown(url)} refused the connection: check host and port, and that the server runs."
        )
    return SourceUnreachableError(
        f"{shown(url)} cannot be reached ({reason}): check the address and the network."
    )


def silent(url: str, timeout_s: float) -> OfflineError:
    """For an address that did not answer with sound in time."""
    return OfflineError(
        f"{shown(url)} sent no sound within {timeout_s:g} s: the room may be offline, "
        "try again when it is live or raise open_timeout_s."
    )


def broken_before_sound(url: str, reason: str) -> OfflineError:
    """For an address whose connection ended before there was any sound."""
    return OfflineError(
        f"{shown(url)} closed the connection without sound ({reason}): "
        "check the address, or wait until the room is live."
    )


def not_media(url: str) -> SourceUnreachableError:
    """For an address under which there is something else."""
    return SourceUnreachableError(
        f"{shown(url)} does not answer with a media stream: check the address."
    )


def endless_redirects(url: str, limit: int) -> BadInputError:
    """For an address that leads on and on."""
    return BadInputError(
        f"{shown(url)} redirects more than {limit} times: give the address of the stream itself."
    )


def leads_elsewhere(url: str, target: str) -> BadInputError:
    """For an address that leads to something that is not fetched."""
    kind = target.partition(":")[0][:20] if ":" in target else "nothing"
    return BadInputError(
        f"{shown(url)} leads to an address of the kind {kind!r}, which tingbo does not open from "
        "there: give an http or https stream."
    )


def compressed(url: str) -> BadInputError:
    """For a server that packs what was asked for as it is."""
    return BadInputError(
        f"{shown(url)} answers with packed bytes (Content-Encoding), which are not unpacked: "
        "have the server send them as they are."
    )


def no_ranges(url: str) -> SourceUnreachableError:
    """For a server that gave parts of a file and no longer does."""
    return SourceUnreachableError(
        f"{shown(url)} does not give a part of the file when asked: try again, or download it."
    )


def malformed(url: str, reason: str) -> BadInputError:
    """For what is no address."""
    return BadInputError(f"{shown(url)} is no address ({reason}): check how it is written.")


def too_much(name: str, what: str) -> BadInputError:
    """For media that claim more than any broadcast has."""
    return BadInputError(
        f"{name} is refused: it has {what}; convert it to an ordinary stereo recording."
    )


def rtmp_fault(url: str, error: av.FFmpegError) -> SourceUnreachableError:
    """Why libav could not open an RTMP address that it had the time for."""
    if isinstance(error, av.error.ConnectionRefusedError):
        return unreachable(url, ConnectionRefusedError())
    if isinstance(error, av.error.ConnectionResetError | av.error.EOFError):
        return broken_before_sound(url, str(error.strerror))
    if isinstance(error, av.error.InvalidDataError):
        return not_media(url)
    return unreachable(url, OSError(error.strerror))


def no_container(name: str) -> BadInputError:
    """For a pushed stream that is nothing known."""
    return BadInputError(
        f"{name} is not a media stream that can be read from its beginning: "
        "send flv, ts, mkv, webm, ogg, mp3, aac, wav, flac or fragmented mp4."
    )


def no_sound(name: str, tracks: tuple[str, ...]) -> BadInputError:
    """For a container without an audio track."""
    holds = f"only {', '.join(tracks)}" if tracks else "no track at all"
    return BadInputError(f"{name} has no audio track ({holds}): give a recording with sound.")


def unknown_rate(name: str, codec: str) -> BadInputError:
    """For a track that declares no sample rate and does not decode."""
    return BadInputError(
        f"{name} declares {codec} sound at 0 Hz and none of it decodes: "
        "record it again, or convert it from the original."
    )


def no_decoder(name: str) -> BadInputError:
    """For a codec that the bundled libav does not know."""
    return BadInputError(
        f"{name} has sound in a codec that cannot be decoded here: convert it to AAC."
    )


def undecodable(name: str) -> BadInputError:
    """For a track of which not one frame decodes."""
    return BadInputError(
        f"{name} has an audio track of which nothing could be decoded: copy or export it again."
    )


def cut_off(name: str, heard_ms: int, declared_ms: int) -> BadInputError:
    """For a file that ends before its declared end."""
    return BadInputError(
        f"{name} is cut off: its sound ends at {clock_time(heard_ms)} of "
        f"{clock_time(declared_ms)}; copy or export it again."
    )


def broken(name: str, error: av.FFmpegError, heard_ms: int) -> BadInputError:
    """For a file that stops being readable."""
    return BadInputError(
        f"{name} cannot be read beyond {clock_time(heard_ms)} ({error.strerror}): "
        "copy or export it again."
    )


def stalled(name: str, heard_ms: int, timeout_s: float) -> StalledError:
    """For a stream that stays open and brings no more sound."""
    return StalledError(
        f"{name} sent no sound for {timeout_s:g} s after {clock_time(heard_ms)}: "
        "check the room, or raise read_timeout_s."
    )


def interrupted(name: str, reason: str, heard_ms: int) -> SourceUnreachableError:
    """For a stream whose connection broke."""
    return SourceUnreachableError(
        f"{name} broke off at {clock_time(heard_ms)} ({reason}): "
        "check the room and the network, then open it again."
    )


def _is_below(path: Path, folders: tuple[Path, ...]) -> bool:
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder.resolve()) for folder in folders)


def _mp4_without_index(path: Path) -> bool:
    """Whether `path` begins as an MP4 and has no `moov` box: what a broken copy leaves behind."""
    seen = set()
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, kind = int.from_bytes(header[:4]), header[4:]
            if size == 1:
                size = int.from_bytes(file.read(8))
                file.seek(-8, 1)
            seen.add(kind)
            if size < 8:
                break
            file.seek(size - 8, 1)
    return b"ftyp" in seen and b"moov" not in seen
