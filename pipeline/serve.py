"""Everything on this machine: sources in, alerts out, until they end or Ctrl-C."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.alerts import Alert, alerts
from pipeline.bus import Bus
from pipeline.errors import TingboError
from pipeline.metrics import Metrics
from pipeline.processes import Role, Roles, Running, running, stoppable
from pipeline.settings import Settings
from pipeline.store import Store

log = logging.getLogger(__name__)

#: How soon an ingester that ended may be started again.
_AGAIN_S = 3.0

_SYNTHETIC = (
    "The bundled speech model knows synthetic speech only: give --asr a real model for people."
)


def listen_to(
    settings: Settings, sources: Sequence[str], speed: float | None
) -> Iterator[Alert | str]:
    """Alerts as they are raised, and sentences for the operator.

    Ends on SIGINT and SIGTERM, and, unless rooms are pushed, when every source has ended and all
    is judged. A source that cannot be opened is named in a sentence and does not stop the others;
    when all failed, the last one's words are raised as TingboError. Without sources it listens to
    the monitored rooms and does not end by itself.
    """
    if sources and all(Path(source).exists() for source in sources):
        # Recordings are read faster than they are heard; nobody waits for them live.
        settings = replace(settings, shed_after_s=0.0)
    with (
        stoppable() as stop,
        running(settings) as live,
        Bus(
            str(live.settings.redis_url), Metrics(), partitions=live.settings.bus_partitions
        ) as bus,
        Store(live.settings.effective_database_url) as store,
    ):
        if live.asr.synthetic_only:
            yield _SYNTHETIC
        pace = [] if speed is None else ["--speed", str(speed)]
        window = ["--window-ms", str(live.asr.window_ms)]
        ingester = None if sources else _Ingester(live.roles, window)
        rooms = [
            live.roles.start("ingest", source, "--room", f"room{number}", *window, *pace)
            for number, source in enumerate(sources, 1)
        ]
        yield _listening(len(rooms), len(store.rooms.all()))
        pushed = live.settings.push_port
        if pushed:
            live.roles.start("push", *window).ready()
            yield f"Pushed rooms are taken on http://{live.settings.push_host}:{pushed}/push/ROOM."
        if live.settings.metrics_port:
            yield _pages(live)

        def finished() -> bool:
            live.roles.check()
            if ingester is not None:
                ingester.keep_running()
                return stop.is_set()
            over = not pushed and all(room.ended() is not None for room in rooms)
            return stop.is_set() or over

        yield from alerts(bus, store, finished)
    yield from _failures(rooms)


def _failures(rooms: Sequence[Role]) -> Iterator[str]:
    """What the sources say that failed; raises TingboError when all did."""
    failed = [room for room in rooms if room.ended()]
    for room in failed:
        yield room.last_words()
    if failed and len(failed) == len(rooms):
        raise _failure(failed[-1])


class _Ingester:
    """The process that listens to monitored rooms; one that dies is replaced, the rest goes on."""

    def __init__(self, roles: Roles, options: Sequence[str]) -> None:
        self._roles = roles
        self._options = options
        self._role = roles.start("ingest", *options)
        self._started_at = time.monotonic()

    def keep_running(self) -> None:
        """Start it again when it has ended; called several times a second."""
        if self._role.ended() is None or time.monotonic() - self._started_at < _AGAIN_S:
            return
        log.warning("%s It is started again.", self._role.last_words())
        self._role = self._roles.start("ingest", *self._options)
        self._started_at = time.monotonic()


def _listening(sources: int, rooms: int) -> str:
    if sources:
        return f"Listening to {sources} sources; Ctrl-C ends everything."
    if rooms:
        return f"Listening to {rooms} monitored rooms (tingbo rooms list); Ctrl-C ends everything."
    return "No room is monitored yet: tingbo rooms add URL adds one at any time. Ctrl-C ends."


def _pages(live: Running) -> str:
    host, port = live.settings.metrics_host, live.settings.metrics_port
    own = ", ".join(f"{name} {port}" for name, port in live.roles.pages())
    return (
        f"Metrics of all roles: http://{host}:{port}/metrics; /metrics, /healthz and /readyz of "
        f"each role by port: {own}."
    )


def _failure(room: Role) -> TingboError:
    error = TingboError("No source could be listened to.")
    error.exit_code = room.ended()  # type: ignore[assignment]
    return error
