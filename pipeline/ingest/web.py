"""HTTP for one source: every connection is checked, pinned, and bounded in time and size.

libav opens no connection of its own: it would follow redirects and playlists anywhere.
"""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import httpcore2

from pipeline import __version__
from pipeline.errors import BadInputError, TingboError
from pipeline.ingest import faults
from pipeline.ingest.faults import BrokenOff, Silence
from pipeline.ingest.reach import Reach

#: Ports of the schemes that media are fetched over.
PORTS = {"http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}

_HEADERS = (
    (b"User-Agent", f"tingbo/{__version__}".encode()),
    (b"Accept", b"*/*"),
    # Nothing is unpacked here: a small answer stays small.
    (b"Accept-Encoding", b"identity"),
)
_SAFE = "/%:@!$&'()*+,;=~-._"
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 8
#: Read while a source is being opened: a long film's index fits, an endless stream of text not.
_MAX_OPENING_BYTES = 64 * 2**20


@dataclass(slots=True)
class Patience:
    """Until when (monotonic) the source must say something more."""

    open_timeout_s: float
    read_timeout_s: float
    budget: int | None = _MAX_OPENING_BYTES
    """Bytes that may still be read before it is open; None once it is."""
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.open_timeout_s

    def opened(self) -> None:
        """From here on the read timeout counts."""
        self.budget = None
        self.renew()

    def renew(self) -> None:
        """Something came that counts."""
        self._until = time.monotonic() + self.read_timeout_s

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._until

    def left_s(self) -> float:
        """Seconds left, more than 0. Raises Silence when there are none."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise Silence
        return left_s

    def spend(self, size: int) -> None:
        """Account for bytes read. Raises BadInputError when a source is never open."""
        if self.budget is not None:
            self.budget -= size
            if self.budget < 0:
                raise BadInputError(
                    f"No sound was found in the first {_MAX_OPENING_BYTES >> 20} MB: "
                    "check that the address is that of a media stream."
                )


class Web:
    """Fetches what one source needs, over connections that are kept for its next request.

    Every method raises BadInputError for an address that may not be reached,
    SourceUnreachableError for one that refuses or answers with an error, and faults.Silence or
    faults.BrokenOff for one that stops.
    """

    def __init__(self, reach: Reach, patience: Patience) -> None:
        self.patience = patience
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=None,
            max_keepalive_connections=4,
            keepalive_expiry=30.0,
            network_backend=_Network(reach, patience),
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def fetch(
        self, url: str, begin: int = 0, end: int | None = None
    ) -> tuple[str, httpcore2.Response]:
        """The answer that has the bytes [begin, end), and its address after all redirects."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._ask(url, begin, end)
            location = header(response, b"location")
            if response.status not in _REDIRECTS or not location:
                break
            response.close()
            url = _redirected(url, location)
        else:
            raise faults.endless_redirects(url, _MAX_REDIRECTS)
        refusal = _refusal(url, response, partial=begin > 0 or end is not None)
        if refusal is not None:
            response.close()
            raise refusal
        return url, response

    def _ask(self, url: str, begin: int, end: int | None) -> httpcore2.Response:
        parts = split(url)
        headers = _headers(parts, begin, end)
        request = httpcore2.Request("GET", _address(parts), headers=headers)
        with translated(url):
            return self._pool.handle_request(request)


class Body:
    """What lies at an address, as a file that libav reads. Seeking asks the server again."""

    def __init__(self, web: Web, url: str, begin: int = 0, end: int | None = None) -> None:
        self.whole = True
        """False once it ended without a declared end: nobody knows whether that was meant."""
        self._web = web
        self._position = begin
        self._rest = b""
        self._response: httpcore2.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._framed = False
        self.name, response = web.fetch(url, begin, end)
        self._size = _total(response)
        self._ranges = response.status == 206 or header(response, b"accept-ranges") == "bytes"
        self._open(response)

    def peek(self, size: int) -> bytes:
        """The next bytes without moving on; fewer at the end."""
        while len(self._rest) < size and (piece := self._piece()):
            self._rest += piece
        return self._rest[:size]

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, as soon as there are any; none at the end."""
        piece = self._rest or self._piece()
        self._rest = piece[size:]
        self._position += min(size, len(piece))
        return piece[:size]

    def seekable(self) -> bool:
        """Whether the server gives parts of it."""
        return self._ranges and self._size is not None

    def tell(self) -> int:
        """Position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go elsewhere; the server is asked with the next `read`."""
        target = offset + (0, self._position, self._size or 0)[whence]
        if target != self._position:
            self.close()
            self._position = target
        return target

    def close(self) -> None:
        """Let go of the connection."""
        self._rest = b""
        response, self._response, self._pieces = self._response, None, iter(())
        if response is not None:
            response.close()

    def _open(self, response: httpcore2.Response) -> None:
        self._response = response
        self._pieces = iter(_pieces(response))
        self._framed = _is_framed(response)

    def _piece(self) -> bytes:
        response = self._response
        if response is None:
            if self._size is None or self._position >= self._size:
                return b""
            response = self._web.fetch(self.name, self._position)[1]
            self._open(response)
        with translated(self.name):
            piece = next(self._pieces, b"")
        if not piece:
            self.whole = self._framed
            # A live playlist is asked for every few seconds: its connection is to serve again.
            response.close()
        self._web.patience.spend(len(piece))
        return piece


class _Network(httpcore2.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, reach: Reach, patience: Patience) -> None:
        self._reach = reach
        self._patience = patience
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 -- `patience` says how long
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first checked address that answers."""
        *others, last = self._reach.addresses(host, port)
        options = (local_address, socket_options or ())
        for address in others:
            with suppress(httpcore2.ConnectError):
                return self._connected(address, port, *options)
        return self._connected(last, port, *options)

    def _connected(
        self,
        address: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION],
    ) -> httpcore2.NetworkStream:
        left_s = self._patience.left_s()
        connected = self._sockets.connect_tcp(address, port, left_s, local_address, socket_options)
        return _Stream(connected, self._patience)


class _Stream(httpcore2.NetworkStream):
    """A connection whose reads and writes end when patience does, however little comes at once."""

    def __init__(self, inner: httpcore2.NetworkStream, patience: Patience) -> None:
        self._inner = inner
        self._patience = patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 -- `patience` says
        return self._inner.read(max_bytes, self._patience.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 -- `patience` says
        self._inner.write(buffer, self._patience.left_s())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 -- `patience` says how long
    ) -> httpcore2.NetworkStream:
        left_s = self._patience.left_s()
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._patience)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """The HTTP library's errors as ours."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise Silence from error
    except httpcore2.ConnectError as error:
        raise faults.unreachable(url, _root(error)) from error
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise BrokenOff(str(error)) from error
    except httpcore2.LocalProtocolError as error:
        raise faults.malformed(url, str(error)) from error


def _root(error: BaseException) -> BaseException:
    """The first of a chain of errors: the HTTP library wraps those of the socket."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def split(url: str) -> SplitResult:
    """The parts of an address. Raises BadInputError when it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise faults.malformed(url, str(error)) from error
    if not parts.hostname or port == 0:
        raise faults.malformed(url, "it names no host")
    return parts


def place(parts: SplitResult) -> tuple[str, int]:
    """Host and port of an address."""
    return parts.hostname or "", parts.port or PORTS[parts.scheme]


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for all: it holds every certificate authority."""
    return httpcore2.default_ssl_context()


def _address(parts: SplitResult) -> httpcore2.URL:
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE + "?")
    return httpcore2.URL(
        scheme=parts.scheme, host=_ascii(parts.hostname or ""), port=parts.port, target=target
    )


def _ascii(host: str) -> bytes:
    try:
        return host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError as error:
        raise faults.malformed(host, "its host is no name") from error


def _headers(parts: SplitResult, begin: int, end: int | None) -> list[tuple[bytes, bytes]]:
    host = _ascii(parts.hostname or "")
    host = b"[%s]" % host if b":" in host else host
    port = b"" if parts.port in (None, PORTS[parts.scheme]) else b":%d" % (parts.port or 0)
    headers = [(b"Host", host + port), *_HEADERS]
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers.append((b"Authorization", b"Basic " + base64.b64encode(secret)))
    if begin or end is not None:
        last = b"" if end is None else b"%d" % (end - 1)
        headers.append((b"Range", b"bytes=%d-%s" % (begin, last)))
    return headers


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads; user and password stay with the address they were given for."""
    target = urljoin(url, location)
    if target.partition(":")[0].lower() not in ("http", "https"):
        raise faults.leads_elsewhere(url, target)
    return target


def _refusal(url: str, response: httpcore2.Response, *, partial: bool) -> TingboError | None:
    """Why the body is not what was asked for, or None."""
    if response.status not in (200, 206):
        return faults.http_fault(url, response.status)
    if partial and response.status != 206:
        return faults.no_ranges(url)
    if header(response, b"content-encoding").lower() not in ("", "identity"):
        return faults.compressed(url)
    return None


def header(response: httpcore2.Response, name: bytes) -> str:
    """Value of the first header of this (lower-case) name, empty without one."""
    values = (value for key, value in response.headers if key.lower() == name)
    return next(values, b"").decode("latin-1").strip()


def _total(response: httpcore2.Response) -> int | None:
    """Size of the whole that the answer is of."""
    whole = header(response, b"content-range").rpartition("/")[2]
    size = whole if response.status == 206 else header(response, b"content-length")
    return int(size) if size.isascii() and size.isdigit() else None


def _is_framed(response: httpcore2.Response) -> bool:
    """Whether the answer says where it ends."""
    return bool(header(response, b"content-length") or header(response, b"transfer-encoding"))


def _pieces(response: httpcore2.Response) -> Iterable[bytes]:
    stream = response.stream
    if not isinstance(stream, Iterable):
        raise TypeError("an asynchronous answer of a synchronous pool")
    return stream
