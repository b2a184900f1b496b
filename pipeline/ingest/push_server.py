"""The server that media servers push to: chunks by HTTP POST, or messages of a WebSocket."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from pipeline.errors import BadInputError, StoreError
from pipeline.ingest.intake import Answer, Chunk, Intake, Taken
from pipeline.ingest.pushed import PushFormat
from pipeline.metrics import Metrics
from pipeline.store.push import PushRooms, token_sha256

log = logging.getLogger(__name__)

#: One chunk: half a minute of s16le at 16 kHz.
MAX_CHUNK_BYTES = 2**20
#: Chunks of one room that may be on their way at the same time.
MAX_AT_ONCE = 8
#: Bytes of a WebSocket message before its chunk: the number, big-endian.
SEQ_BYTES = 8

_STREAM = re.compile(r"[A-Za-z0-9._~-]{1,64}")
#: Tokens are looked up again after this long: a new one is in force by then.
_TOKEN_S = 5.0
_NOBODY = token_sha256("")
_STATUS = {
    Taken.ACCEPTED: HTTPStatus.ACCEPTED,
    Taken.DUPLICATE: HTTPStatus.OK,
    Taken.OUT_OF_ORDER: HTTPStatus.CONFLICT,
    Taken.OVER: HTTPStatus.GONE,
    Taken.BEHIND: HTTPStatus.SERVICE_UNAVAILABLE,
    Taken.UNUSABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
}
#: Close codes of a WebSocket: 4000 and the HTTP status.
_CLOSE = 4000
#: What is raised where the other side has left, does not listen, or was told goodbye already.
_LEFT = (WebSocketDisconnect, WebSocketDisconnected, TimeoutError)


@dataclass(frozen=True, slots=True)
class PushTimes:
    """How long a sender may take, in seconds."""

    body_s: float = 20.0
    """For one chunk."""
    idle_s: float = 30.0
    """Between two messages of a WebSocket, and for taking our answers."""


class Refused(Exception):  # noqa: N818 -- an answer, not a fault
    """Raised to answer with an error."""

    def __init__(
        self, status: HTTPStatus, reason: str, said: str, next_: int | None = None
    ) -> None:
        super().__init__(said)
        self.status = status
        self.reason = reason
        """For the metric."""
        self.next = next_

    def plain(self) -> dict[str, object]:
        """As it is sent."""
        body: dict[str, object] = {"error": self.reason, "reason": str(self)}
        return body if self.next is None else body | {"next": self.next}


@dataclass(slots=True)
class PushServer:
    """Answers senders; what they send goes to the intake."""

    intake: Intake
    rooms: PushRooms
    metrics: Metrics
    times: PushTimes = field(default_factory=PushTimes)
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Room → what its token hashes to, and until when (monotonic) that is believed."""
    _coming: Counter[str] = field(default_factory=Counter)
    """Room → its requests whose chunk is being read."""
    _sockets: dict[str, WebSocket] = field(default_factory=dict)
    """Room → the connection that pushes it now."""

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/push/{room}", self.resume, methods=["GET"]),
                Route("/push/{room}", self.chunk, methods=["POST"]),
                WebSocketRoute("/push/{room}", self.socket),
            ]
        )

    def refused(self, reason: str, who: str = "") -> None:
        """Count and log a refusal."""
        self.metrics.push_refusals.labels(reason).inc()
        log.warning("A push%s is refused: %s", who, reason)

    async def resume(self, request: Request) -> JSONResponse:
        """Which chunk of a stream comes next."""
        try:
            room, chunk = await self._sender(request)
        except Refused as refusal:
            return self._error(request, refusal)
        return JSONResponse({"next": self.intake.next(room, chunk.stream)})

    async def chunk(self, request: Request) -> JSONResponse:
        """Take one chunk."""
        try:
            room, chunk = await self._sender(request)
            with self._turn(room):
                data = await self._body(request)
            self.metrics.push_received_bytes.labels("http").inc(len(data))
            answer = self.intake.offer(replace(chunk, data=data))
            raise_refused(answer)
        except Refused as refusal:
            return self._error(request, refusal)
        log.debug("Room %s: chunk %d", room, chunk.seq)
        return JSONResponse({"next": answer.next}, _STATUS[answer.taken])

    @contextmanager
    def _turn(self, room: str) -> Iterator[None]:
        """Keep a room from having more than a few chunks on their way: each takes memory."""
        if self._coming[room] >= MAX_AT_ONCE:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many",
                f"send {MAX_AT_ONCE} chunks at once at most",
            )
        self._coming[room] += 1
        try:
            yield
        finally:
            self._coming[room] -= 1
            self._coming += Counter()  # forgets rooms that have none

    async def socket(self, websocket: WebSocket) -> None:
        """Take chunks until the sender leaves."""
        try:
            room, chunk = await self._sender(websocket)
        except Refused as refusal:
            await websocket.send_denial_response(self._error(websocket, refusal))
            return
        await websocket.accept()
        try:
            await self._replace(room, websocket)
            await self._converse(websocket, replace(chunk, last=False))
        except Refused as refusal:
            self.refused(refusal.reason, _who(websocket))
            with suppress(*_LEFT):
                await self._say(websocket, refusal.plain())
            await self._close(websocket, refusal.status, refusal.reason)
        except TimeoutError:
            self.refused("idle", _who(websocket))
            await self._close(websocket, HTTPStatus.REQUEST_TIMEOUT, "idle")
        except _LEFT:
            pass
        finally:
            if self._sockets.get(room) is websocket:
                del self._sockets[room]

    async def _converse(self, websocket: WebSocket, chunk: Chunk) -> None:
        next_ = self.intake.next(chunk.room, chunk.stream)
        await self._say(websocket, {"next": next_})
        asked_at = time.monotonic()
        while not chunk.last:
            async with asyncio.timeout(self.times.idle_s):
                message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            chunk = _message(chunk, message, self.intake)
            self.metrics.push_received_bytes.labels("websocket").inc(len(chunk.data))
            if time.monotonic() - asked_at > _TOKEN_S:
                await self._permit(chunk.room, websocket.headers)
                asked_at = time.monotonic()
            answer = self.intake.offer(chunk)
            while answer.taken is Taken.BEHIND:  # nothing more is read: the sender has to wait
                await asyncio.sleep(0.1)
                answer = self.intake.offer(chunk)
            raise_refused(answer)
            await self._say(websocket, {"next": answer.next})
        await websocket.close()

    async def _say(self, websocket: WebSocket, plain: dict[str, object]) -> None:
        async with asyncio.timeout(self.times.idle_s):
            await websocket.send_json(plain)

    async def _replace(self, room: str, websocket: WebSocket) -> None:
        """The newest connection of a room counts: an older one may hang without knowing it."""
        before, self._sockets[room] = self._sockets.get(room), websocket
        if before is not None:
            self.refused("replaced", _who(before))
            await self._close(before, HTTPStatus.CONFLICT, "replaced")

    async def _close(self, websocket: WebSocket, status: HTTPStatus, reason: str) -> None:
        with suppress(*_LEFT):
            async with asyncio.timeout(self.times.idle_s):
                await websocket.close(_CLOSE + status, reason)

    async def _sender(self, connection: HTTPConnection) -> tuple[str, Chunk]:
        """The room that a request may push to, and what it says of its chunk."""
        room = str(connection.path_params["room"])
        await self._permit(room, connection.headers)
        return room, _described(room, connection.query_params)

    async def _permit(self, room: str, headers: Headers) -> None:
        """Raise Refused unless the token is that of the room; an unknown room sounds the same."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token_sha256(token.strip()) if scheme.lower() == "bearer" else _NOBODY
        wanted = await self._wanted(room)
        if not hmac.compare_digest(given, wanted or _NOBODY) or not token or wanted is None:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "give the token of this room as Authorization: Bearer TOKEN",
            )

    async def _wanted(self, room: str) -> str | None:
        known = self._tokens.get(room)
        if known and time.monotonic() < known[1]:
            return known[0]
        try:
            found = await asyncio.to_thread(self.rooms.token_sha256, room)
        except StoreError as error:
            if known:  # what is sent meanwhile can wait for the records; it must not be refused
                return known[0]
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "store", "the records are away: try again"
            ) from error
        self._tokens.pop(room, None)
        if found is not None:  # unknown names are not kept: anybody can make up any number
            self._tokens[room] = (found, time.monotonic() + _TOKEN_S)
        return found

    async def _body(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "0")
        body = bytearray()
        try:
            async with asyncio.timeout(self.times.body_s):
                too_large = not declared.isdigit() or int(declared) > MAX_CHUNK_BYTES
                async for part in request.stream():
                    body += part
                    too_large = too_large or len(body) > MAX_CHUNK_BYTES
                    if too_large:
                        break
        except TimeoutError as error:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT, "slow_body", f"send a chunk in {self.times.body_s:g} s"
            ) from error
        except ClientDisconnect as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "cut", "the chunk is not complete") from error
        if too_large:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_large",
                f"send chunks of {MAX_CHUNK_BYTES} bytes at most",
            )
        return bytes(body)

    def _error(self, connection: HTTPConnection, refusal: Refused) -> JSONResponse:
        self.refused(refusal.reason, _who(connection))
        # Where the chunk was read, or there is none, the sender goes on in the same connection.
        headers = {} if refusal.next is not None else {"Connection": "close"}
        if refusal.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            headers["Retry-After"] = "2"
        elif refusal.status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(refusal.plain(), refusal.status, headers)


def raise_refused(answer: Answer) -> None:
    """Raise Refused unless the chunk was taken, now or before."""
    if answer.taken not in (Taken.ACCEPTED, Taken.DUPLICATE):
        raise Refused(_STATUS[answer.taken], answer.taken.value, answer.reason, answer.next)


def _message(chunk: Chunk, message: Mapping[str, object], intake: Intake) -> Chunk:
    """The chunk in a message of a WebSocket; a text ends the stream."""
    data = message.get("bytes")
    if data is None:
        if message.get("text") != "end":
            raise _bad("a text message is the word end")
        next_ = intake.next(chunk.room, chunk.stream)
        return replace(chunk, seq=next_, data=b"", last=True)
    if not isinstance(data, bytes) or len(data) < SEQ_BYTES:
        raise _bad(f"a message begins with its number in {SEQ_BYTES} bytes")
    return replace(chunk, seq=int.from_bytes(data[:SEQ_BYTES]), data=data[SEQ_BYTES:])


def _described(room: str, query: QueryParams) -> Chunk:
    """What the address says of a chunk. Raises Refused for what it must not say."""
    stream = query.get("stream", "")
    if not _STREAM.fullmatch(stream):
        raise _bad("stream is 1 to 64 letters, digits or one of . _ ~ -")
    numbers = {"seq": 0, "rate": 16_000, "channels": 1}
    for name, default in numbers.items():
        said = query.get(name, str(default))
        if not said.isascii() or not said.isdigit() or len(said) > 18:
            raise _bad(f"{name} is a whole number")
        numbers[name] = int(said)
    try:
        kind = query.get("format", "s16le")
        described = PushFormat(kind, numbers["rate"], numbers["channels"])  # type: ignore[arg-type]  # it checks
    except BadInputError as error:
        raise _bad(str(error)) from error
    last = query.get("last", "0") in ("1", "true")
    return Chunk(room, stream, numbers["seq"], b"", described, last)


def _bad(said: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "malformed", said)


def _who(connection: HTTPConnection) -> str:
    host = connection.client.host if connection.client else "?"
    return f" from {host} to room {str(connection.path_params['room'])[:64]!r}"
