"""Everything on this machine: sources in, alerts out, until they end or Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.alerts import Alert, alerts
from pipeline.bus import Bus
from pipeline.errors import TingboError
from pipeline.metrics import Metrics
from pipeline.processes import Role, Running, running, stoppable
from pipeline.settings import Settings
from pipeline.store import Store

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
        rooms = [
            live.roles.start(
                "ingest", source, "--room", f"room{number}", *window, *pace, lasting=False
            )
            for number, source in enumerate(sources, 1)
        ]
        if not sources:
            live.roles.start("ingest", *window)
        yield _listening(len(rooms), len(store.rooms.all()))
        pushed = live.settings.push_port
        if pushed:
            live.roles.start("push", *window).ready()
            yield f"Pushed rooms are taken on http://{live.settings.push_host}:{pushed}/push/ROOM."
        if live.settings.metrics_port:
            yield _pages(live)

        def finished() -> bool:
            live.roles.check()
            over = bool(rooms) and all(room.ended() is not None for room in rooms)
            return stop.is_set() or (over and not pushed)

        yield from alerts(bus, store, finished)
    yield from _failures(rooms)


def _failures(rooms: Sequence[Role]) -> Iterator[str]:
    """What the sources say that failed; raises TingboError when all did."""
    failed = [room for room in rooms if room.ended()]
    for room in failed:
        yield room.last_words()
    if failed and len(failed) == len(rooms):
        raise _failure(failed[-1])


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
