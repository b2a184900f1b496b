"""HLS playlists before libav sees them: bounded, and with nothing in them but web addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urljoin

from pipeline.errors import BadInputError
from pipeline.ingest import faults

#: How a playlist begins.
MAGIC = b"#EXTM3U"
#: Twelve hours in pieces of two seconds with long signed addresses.
MAX_BYTES = 4 * 2**20
_MAX_PIECES = 50_000
#: libav opens each of them before it knows which one is wanted.
_MAX_VARIANTS = 32

_URI = re.compile(r'(?<=[:,]URI=")[^"]*(?=")')
#: As libav ends them.
_LINE_END = re.compile("[\\r\\n\\0]+")
_SCHEMES = ("http:", "https:")


class Readable(Protocol):
    """What a playlist is read from."""

    name: str

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        ...


def read_playlist(body: Readable) -> bytes:
    """A whole playlist with absolute addresses.

    Raises BadInputError when it is larger than any, or names what is not on the web.
    """
    read = bytearray()
    while piece := body.read(65_536):
        read += piece
        if len(read) > MAX_BYTES:
            raise BadInputError(
                f"{faults.shown(body.name)} is refused: its playlist is larger than "
                f"{MAX_BYTES >> 20} MB; give a shorter one."
            )
    return "\n".join(_lines(read.decode("utf-8", "replace"), body.name)).encode()


def _lines(text: str, base: str) -> Iterator[str]:
    if text.count("#EXT-X-STREAM-INF") > _MAX_VARIANTS:
        raise faults.too_much(faults.shown(base), f"more than {_MAX_VARIANTS} variants")
    if text.count("#EXTINF") > _MAX_PIECES:
        raise faults.too_much(faults.shown(base), f"more than {_MAX_PIECES} pieces")
    for line in _LINE_END.split(text):
        stripped = line.strip()
        if stripped.startswith("#"):
            yield _URI.sub(lambda found: _absolute(found[0], base), stripped)
        elif stripped:
            yield _absolute(stripped, base)
    yield ""


def _absolute(address: str, base: str) -> str:
    try:
        target = urljoin(base, address)
    except ValueError as error:
        raise faults.malformed(address, str(error)) from error
    if not target.lower().startswith(_SCHEMES):
        raise faults.leads_elsewhere(base, target)
    return target
