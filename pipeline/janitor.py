"""The janitor: keeps the streams short, publishes lost messages again, and says how things stand.

One process does it, not every worker: these gauges are of the whole installation. Several do no
harm: they say the same, and trim and publish what may be trimmed and published twice.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Gauge

from pipeline.bus import Bus
from pipeline.errors import BusError, StoreError
from pipeline.metrics import Metrics
from pipeline.orphans import Orphans
from pipeline.store import Store
from pipeline.streams import CASES, SEGMENTS, STREAMS, TRANSCRIPTS, Stream
from pipeline.wall_time import utc_now

log = logging.getLogger(__name__)

#: Pause between two rounds.
ROUND_S = 2.0
#: Rounds between two looks for lost messages: they cost a search in SQL.
_ORPHANS_EVERY = 30

#: Announcements of cases are gone after this; the cases are rows.
_NEWS_S = 24 * 3600.0

#: Who answers what is in a stream.
GROUPS: tuple[tuple[Stream[Any], str], ...] = ((SEGMENTS, "asr"), (TRANSCRIPTS, "detect"))


@dataclass(slots=True)
class Janitor:
    """Works in rounds until `stop` is set; a bus or database that is away is waited for."""

    bus: Bus
    store: Store
    metrics: Metrics
    stop: threading.Event
    now: Callable[[], dt.datetime] = utc_now
    _rounds: int = 0
    _orphans: Orphans = field(init=False)
    _labels: dict[Gauge, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._orphans = Orphans(self.bus, self.store)

    def run(self) -> None:
        """Work until `stop` is set."""
        while not self.stop.is_set():
            began = time.monotonic()
            self.step()
            self.metrics.loop_turned()
            self.stop.wait(max(0.0, began + ROUND_S - time.monotonic()))

    def step(self) -> None:
        """One round; a part that fails is logged and does not keep the others back."""
        parts = [self.trim, self.report_backlog, self.report_rooms, self.report_cases]
        if self._rounds % _ORPHANS_EVERY == 0:
            parts.append(self.find_orphans)
        self._rounds += 1
        for part in parts:
            try:
                part()
            except (BusError, StoreError) as error:
                log.warning("%s", error)
                self.metrics.worker_failures.labels("janitor").inc()

    def trim(self) -> None:
        """Remove the messages that every group has answered."""
        for stream in STREAMS:
            self.bus.trim(stream)
        # Where nobody waits for cases, no group says that they were read.
        self.bus.expire(CASES, _NEWS_S)

    def report_backlog(self) -> None:
        """What each stage still has to do, and what was given up."""
        for stream, group in GROUPS:
            self.bus.stats(stream, group)
        for stream in STREAMS:
            waiting = self.bus.count_dead_letters(stream)
            self.metrics.queue_dead_letter_entries.labels(stream.name).set(waiting)

    def report_rooms(self) -> None:
        """The list of rooms by state, and how many of them nobody listens to."""
        states, unattended = self.store.rooms_by_state(self.now())
        self._publish(self.metrics.rooms, states)
        self.metrics.rooms_without_ingest.set(unattended)

    def report_cases(self) -> None:
        """Cases that wait for a reviewer, by how bad they are."""
        self._publish(self.metrics.review_queue_items, self.store.waiting_cases())

    def _publish(self, gauge: Gauge, values: Mapping[str, int]) -> None:
        """Set every label of `values`; one that is no longer among them is 0."""
        known = self._labels.setdefault(gauge, set())
        known.update(values)
        for label in known:
            gauge.labels(label).set(values.get(label, 0))

    def find_orphans(self) -> None:
        """Publish again what the bus has lost."""
        self._orphans.publish_again(self.now())
