"""uvicorn with limits on what a client may take: time for its request, bytes, connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.errors import MissingError

_MAX_CONNECTIONS = 2_000
_MAX_HEAD_BYTES = 16_384
_GRACE_S = 5


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and how patiently."""

    host: str
    port: int
    max_message_bytes: int
    """Of a WebSocket."""
    head_s: float = 10.0
    """For a whole request head, from the connection or the head's first byte on."""


class PatientProtocol(H11Protocol):
    """HTTP of a connection that is closed when a request head takes too long.

    uvicorn itself waits for one for ever.
    """

    def __init__(
        self, *arguments: Any, refused: Callable[[str], None], head_s: float, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._refused = refused
        self._head_s = head_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, or rest once the head is there."""
        super().data_received(data)
        upgraded = self.transport.get_protocol() is not self
        if upgraded or self.conn.their_state is not h11.IDLE:
            self._rest()
        elif self._timer is None and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self._head_s, self._give_up)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self._refused("slow_head")
        self.transport.close()


def serve(
    app: Starlette,
    listen: Listen,
    stop: Event,
    *,
    refused: Callable[[str], None],
    ready: Callable[[], None],
    turned: Callable[[], None],
) -> None:
    """Answer until `stop` is set; `ready` is called once, `refused` for connections given up.

    `turned` is called several times a second, also while nobody sends anything.

    Raises MissingError when the port cannot be had.
    """
    try:
        listening = socket.create_server((listen.host, listen.port), backlog=512)
    except (OSError, OverflowError) as error:
        raise MissingError(
            f"Pushed rooms cannot be taken on {listen.host}:{listen.port} ({error}): "
            "set push_port to a free port."
        ) from error
    config = uvicorn.Config(
        app,
        http=partial(PatientProtocol, refused=refused, head_s=listen.head_s),  # type: ignore[arg-type]  # it only calls it
        ws="websockets-sansio",
        ws_max_size=listen.max_message_bytes,
        ws_max_queue=4,
        ws_per_message_deflate=False,  # a small message stays small
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
    )
    with listening:
        asyncio.run(_serve(uvicorn.Server(config), listening, stop, ready, turned))


async def _serve(
    server: uvicorn.Server,
    listening: socket.socket,
    stop: Event,
    ready: Callable[[], None],
    turned: Callable[[], None],
) -> None:
    async def watch() -> None:
        while not server.started:
            await asyncio.sleep(0.05)
        ready()
        while not stop.is_set():
            turned()
            await asyncio.sleep(0.2)
        server.should_exit = True

    watching = asyncio.create_task(watch())
    await server.serve(sockets=[listening])
    watching.cancel()
