"""What a stream makes libav open besides itself: playlists, pieces and keys of HLS."""

from __future__ import annotations

import io
import logging
from typing import Protocol

from pipeline.errors import BadInputError, SourceUnreachableError, TingboError
from pipeline.ingest import faults
from pipeline.ingest.faults import BrokenOff, Silence
from pipeline.ingest.playlist import MAGIC, read_playlist
from pipeline.ingest.web import Body, Web

#: Addresses that may be opened before there is sound: variants, their first pieces and keys.
_MAX_OPENINGS = 128
_ENCRYPTED = ("crypto+", "crypto:")
_BLOCK = 16

_log = logging.getLogger(__name__)


class Openable(Protocol):
    """What libav reads from."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Nested:
    """Opens for libav, over checked connections, what a playlist names."""

    def __init__(self, web: Web, main: str) -> None:
        self._web = web
        self._main = main
        self._playlists = {main}
        self._openings = 0
        self._failure: Exception | None = None
        """What ends the source; libav may go on for a while."""

    def __call__(self, url: str, flags: int, options: dict[str, str]) -> Openable:  # noqa: ARG002 -- libav's
        """Open `url` for reading.

        A piece that is missing is empty: libav goes on with the next, and the clock sees the hole.
        What is raised ends the source as soon as libav returns. Until then everything is empty,
        and when patience ends as well, libav sees the error again and looks at its own clock.
        """
        if self._failure is not None:
            if self._web.patience.over:
                raise self._failure  # the last one raised is the one that is told
            return io.BytesIO()
        try:
            return self._opened(url, options)
        except (BrokenOff, SourceUnreachableError) as error:
            if url in self._playlists or self._web.patience.budget is not None:
                self._failure = error
                raise
            _log.warning("%s is left out: %s", faults.shown(url), error)
            return io.BytesIO()
        except (TingboError, Silence) as error:
            self._failure = error
            raise

    def _opened(self, url: str, options: dict[str, str]) -> Openable:
        self._count()
        encrypted = url.startswith(_ENCRYPTED)
        address = url[len(_ENCRYPTED[0]) :] if encrypted else url
        if not address.lower().startswith(("http://", "https://")):
            raise faults.leads_elsewhere(self._main, address)
        begin, end = int(options.get("offset", 0)), options.get("end_offset")
        body = Body(self._web, address, begin, int(end) if end else None)
        if body.peek(len(MAGIC)) == MAGIC:
            self._playlists.add(url)
            return io.BytesIO(read_playlist(body))
        return Decrypted(body, options) if encrypted else Piece(body)

    def _count(self) -> None:
        """Raise BadInputError when a source opens one thing after another and is never open."""
        if self._web.patience.budget is not None:
            self._openings += 1
            if self._openings > _MAX_OPENINGS:
                raise faults.too_much(faults.shown(self._main), "too many parts without sound")


class Named(Openable, Protocol):
    """The same, under an address."""

    name: str


class Piece:
    """A piece of the sound. One that breaks off ends there: the next one follows."""

    def __init__(self, body: Named) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        try:
            return self._body.read(size)
        except BrokenOff as error:
            _log.warning("%s broke off: %s", faults.shown(self._body.name), error)
            return b""

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


class Decrypted:
    """A piece in AES-128-CBC with the key and vector that libav read from the playlist."""

    def __init__(self, body: Named, options: dict[str, str]) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.padding import PKCS7

        self._piece = Piece(body)
        try:
            key, vector = (bytes.fromhex(options.get(name, "")) for name in ("key", "iv"))
            self._cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        except ValueError as error:
            raise BadInputError(
                f"{faults.shown(body.name)} is encrypted in a way that cannot be read ({error}): "
                "give a stream without encryption."
            ) from error
        self._padding = PKCS7(8 * _BLOCK).unpadder()
        self._ended = False

    def read(self, size: int) -> bytes:
        """Some bytes, none at the end."""
        plain = b""
        while not plain and not self._ended:
            sealed = self._piece.read(max(_BLOCK, size - _BLOCK))
            self._ended = not sealed
            plain = self._opened(sealed)
        return plain

    def _opened(self, sealed: bytes) -> bytes:
        try:
            if sealed:
                return self._padding.update(self._cipher.update(sealed))
            return self._padding.update(self._cipher.finalize()) + self._padding.finalize()
        except ValueError as error:
            # Cut off, or sealed with another key: what could be read was given.
            _log.warning("an encrypted piece ends badly: %s", error)
            return b""

    def close(self) -> None:
        """Let go of the connection."""
        self._piece.close()
