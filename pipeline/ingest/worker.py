"""The ingest worker: one room or recording becomes clips, rows and messages."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import TingboError
from pipeline.ingest.listening import IngestOptions, Listening
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.recorder import Outlets, Recorder
from pipeline.ingest.source import open_source
from pipeline.wall_time import utc_now

#: How long a thread of an ingester may keep the others waiting (Python's default is 5 ms): a
#: hundred rooms decode at once, and whoever writes a row needs a dozen turns under SQLite's lock.
SWITCH_S = 0.0005

__all__ = ["SWITCH_S", "IngestOptions", "IngestResult", "IngestWorker", "Outlets"]


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a broadcast."""

    broadcast: str
    duration_ms: int
    """Length of its media clock, all of it in the ledger."""
    segments: int
    failure: TingboError | None
    """Why it ended early; None after a clean end or a stop."""


class IngestWorker:
    """Listens to one source; threads may share a worker, each `run` is its own broadcast.

    `stop` ends `run` with the next sound; a source that sends nothing is left after its timeout.
    """

    def __init__(
        self,
        outlets: Outlets,
        options: IngestOptions,
        stop: threading.Event,
        now: Callable[[], dt.datetime] = utc_now,
        outbox: Outbox | None = None,
    ) -> None:
        """`outbox` holds what live rooms say while the stores are away; recordings need none."""
        self._outlets = outlets
        self._options = options
        self._stop = stop
        self._now = now
        self._outbox = outbox

    def run(
        self, room: str, url: str, *, speed: float | None = None, broadcast: str | None = None
    ) -> IngestResult:
        """Listen to `url` until it ends or `stop` is set.

        `speed` plays a file as a live room, in media time per wall time; None reads it as fast as
        it goes. A live room that breaks off is opened again, each time as a new epoch. `broadcast`
        is the id to use; None makes one from the room and the time.

        Raises what `open_source` raises for the first connection, and ClipStoreError, BusError or
        StoreError when what was heard cannot be kept; the rest is then FAILED in the ledger.
        """
        with open_source(url, self._options.source) as source:
            started_at = self._now()
            name = broadcast or f"{room}-{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
            self._outlets.store.add_broadcast(room, name, started_at)
            listening = Listening(
                Recorder(self._outlets, room, name, self._outbox if source.info.live else None),
                self._outlets.metrics,
                self._options,
                self._stop,
                self._now,
                speed,
            )
            listening.listen(source)
        failure = source.failure
        if source.info.live:
            failure = listening.keep_listening(url, source)
        recorder = listening.recorder
        return IngestResult(name, recorder.end_ms, recorder.segments, failure)
