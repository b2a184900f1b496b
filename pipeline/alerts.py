"""Cases as they are opened, read from the bus."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.bus import CASES, SEGMENTS, TRANSCRIPTS, Bus, consumer_name
from pipeline.records import Case
from pipeline.store import Store

#: Consumer group of whoever prints alerts.
GROUP = "alerts"
_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class Alert:
    """A case as it was raised."""

    case: Case
    latency_ms: int
    """Wall time from the end of the utterance to the moment this process knew of the case."""


def alerts(bus: Bus, store: Store, finished: Callable[[], bool]) -> Iterator[Alert]:
    """Cases as they come, until `finished` says so and everything before them is judged.

    `finished` is asked several times a second and may raise to end the wait.
    """
    consumer = consumer_name()
    while True:
        done = finished() and _idle(bus)
        batch = bus.read_batch(CASES, GROUP, consumer, 16, _WAIT_MS)
        for delivery in batch:
            case = store.case(delivery.record.case)
            if case is not None:
                age = dt.datetime.now(dt.UTC) - delivery.record.at
                yield Alert(case, int(age.total_seconds() * 1000))
        bus.ack(CASES, GROUP, [delivery.id for delivery in batch])
        if done and not batch:
            return


def _idle(bus: Bus) -> bool:
    """Whether nothing waits or is in hand; looked at twice, for what is between two streams."""
    for _ in range(2):
        if bus.stats(SEGMENTS, "asr").total or bus.stats(TRANSCRIPTS, "detect").total:
            return False
        time.sleep(_WAIT_MS / 1000)
    return True
