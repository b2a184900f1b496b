"""The clip store: every speech segment once, as the recogniser heard it and the reviewer hears it.

Clips lie under one folder or fsspec URL, as `broadcast/epoch/seq.flac` (or `.opus`).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from pipeline.errors import ClipStoreAwayError, ClipStoreError
from pipeline.records import SAMPLE_RATE, SegmentKey

#: Bits per second of an Opus clip: speech stays clear, and a clip is a tenth of FLAC.
_OPUS_BIT_RATE = 24_000
_FULL_SCALE = 32_768

_REMEDIES = {
    errno.ENOSPC: "free some space or set clips_url to another disk",
    errno.EDQUOT: "raise the quota or set clips_url to another disk",
    errno.EACCES: "give this user write permission or set clips_url to another folder",
    errno.EPERM: "give this user write permission or set clips_url to another folder",
    errno.EROFS: "mount it writable or set clips_url to another folder",
}
_OTHER_REMEDY = "check the place or set clips_url to another one"


@dataclass(frozen=True, slots=True)
class StoredClip:
    """Where a clip lies and what it is."""

    uri: str
    sha256: str
    """Of the stored file, in hexadecimal."""
    bytes: int


class ClipStore:
    """Writes and reads clips below `url`. Threads may share it.

    Raises ClipStoreError, which names the place, the reason and the remedy, when the place cannot
    be opened, written or read.
    """

    def __init__(self, url: str, format: Literal["flac", "opus"] = "flac") -> None:  # noqa: A002
        self._url = url
        self._format = format
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ClipStoreError(
                f"The clip store {url} cannot be opened ({error}): "
                "install the package it needs or set clips_url to a folder."
            ) from error
        with self._faults():
            self._files.makedirs(self._root, exist_ok=True)

    def write(self, key: SegmentKey, samples: NDArray[np.float32]) -> StoredClip:
        """Store mono `samples` (−1…1, shape [n], n > 0, at SAMPLE_RATE) as the clip of `key`.

        Writing the same key again replaces the clip; a reader sees a whole clip or none.
        """
        return self.put(key, self.encode(samples))

    def encode(self, samples: NDArray[np.float32]) -> bytes:
        """File content of the clip that `write` would store."""
        return encode_clip(samples, self._format)

    def put(self, key: SegmentKey, data: bytes) -> StoredClip:
        """Store what `encode` gave as the clip of `key`."""
        path = f"{self._root}/{_folder(key.broadcast)}/{key.epoch}/{key.seq:06}.{self._format}"
        with self._faults():
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._put(path, data)
        uri = self._files.unstrip_protocol(path)
        return StoredClip(uri, hashlib.sha256(data).hexdigest(), len(data))

    @property
    def root_uri(self) -> str:
        """What every clip's URI begins with, before a slash."""
        return str(self._files.unstrip_protocol(self._root))

    def put_file(self, name: str, data: bytes) -> None:
        """Store a clip's file content under its name below the root, as `broadcast/epoch/seq`."""
        path = f"{self._root}/{name}"
        with self._faults():
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._put(path, data)

    def read(self, uri: str) -> NDArray[np.float32]:
        """Samples of a stored clip: mono, −1…1, shape [n], at SAMPLE_RATE."""
        data = self.read_file(uri)
        try:
            return decode_clip(data)
        except av.FFmpegError as error:
            raise ClipStoreError(
                f"The clip {uri} cannot be decoded ({error.strerror}): restore it from a backup."
            ) from error

    def read_file(self, uri: str) -> bytes:
        """File content of a stored clip."""
        path = str(self._files._strip_protocol(uri))  # noqa: SLF001 -- fsspec's public counterpart
        # A message is no reason to read any other file of this machine.
        if not path.startswith(f"{self._root}/") or ".." in Path(path).parts:
            raise ClipStoreError(
                f"The clip {uri} is not below {self._url}: set clips_url to where the clips are."
            )
        with self._faults():
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError as error:
                if not self._files.exists(self._root):  # as when a network disk is not mounted
                    raise ClipStoreAwayError(
                        f"The clip folder {self._url} is not there: mount it, or correct clips_url."
                    ) from error
                raise ClipStoreError(
                    f"The clip {uri} does not exist: restore it, or set clips_url to where it is."
                ) from error

    def _put(self, path: str, data: bytes) -> None:
        if not isinstance(self._files, LocalFileSystem):
            # An object store shows a new object only when it is complete.
            self._files.pipe_file(path, data)
            return
        part = Path(f"{path}.{secrets.token_hex(4)}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            remedy = _REMEDIES.get(error.errno or 0, _OTHER_REMEDY)
            raise ClipStoreAwayError(
                f"The clip folder {self._url} cannot be used ({reason}): {remedy}."
            ) from error


def encode_clip(samples: NDArray[np.float32], format: str) -> bytes:  # noqa: A002
    """File content of a clip. `samples`: mono, −1…1, shape [n], n > 0, at SAMPLE_RATE."""
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"a clip needs samples of shape [n], not {samples.shape}")
    scaled = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    file = io.BytesIO()
    # By default libav leaves 8 KB of room for tags in every FLAC file.
    options = {} if format == "opus" else {"metadata_header_padding": "0"}
    kind = "ogg" if format == "opus" else format
    with av.open(file, "w", format=kind, options=options) as container:
        stream: Any = container.add_stream(
            "libopus" if format == "opus" else format, rate=SAMPLE_RATE, layout="mono"
        )
        if format == "opus":
            stream.bit_rate = _OPUS_BIT_RATE
            stream.options = {"vbr": "constrained", "application": "voip"}
        frame = av.AudioFrame.from_ndarray(scaled.astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def decode_clip(data: bytes) -> NDArray[np.float32]:
    """Samples of a clip's file content: mono, −1…1, shape [n], at SAMPLE_RATE."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(io.BytesIO(data), "r") as container:
        frames = [
            out.to_ndarray()[0]
            for frame in (*container.decode(audio=0), None)
            for out in resampler.resample(frame)
        ]
    return np.concatenate(frames) if frames else np.empty(0, np.float32)


def _folder(broadcast: str) -> str:
    """Name of the folder of a broadcast, safe on every file system and free of collisions."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", broadcast)[:80].lstrip(".")
    if plain == broadcast:
        return plain
    return f"{plain}-{hashlib.sha256(broadcast.encode()).hexdigest()[:10]}"
