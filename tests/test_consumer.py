"""A worker's place at a stream: what is not the message's fault does not count against it."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from pipeline.bus import MAX_DELIVERIES, Bus
from pipeline.consumer import Consumer
from pipeline.errors import BusError, ClipStoreAwayError, StoreError
from pipeline.metrics import Metrics
from pipeline.records import SegmentKey, TranscriptMessage
from pipeline.streams import TRANSCRIPTS, Delivery

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)


def nobody(_delivery: Delivery[TranscriptMessage], reason: str) -> None:
    pytest.fail(f"given up: {reason}")


class Quick(threading.Event):
    """A stop that nobody waits for: pauses between attempts take no time."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0 if timeout else timeout)


@pytest.mark.parametrize("error", [StoreError, BusError, ClipStoreAwayError])
def test_a_store_that_is_away_for_long_makes_no_dead_letters(
    redis_url: str, error: type[Exception]
) -> None:
    """More failures than deliveries are allowed, then the message is answered as a first one."""
    metrics, stop = Metrics(), Quick()
    failures = MAX_DELIVERIES + 3
    answered: list[Delivery[TranscriptMessage]] = []
    with Bus(redis_url, metrics) as bus:
        bus.publish(TRANSCRIPTS, TranscriptMessage(SegmentKey("b", 0, 0), "r", AT))
        consumer = Consumer(bus, TRANSCRIPTS, "detect", metrics)
        attempts = 0

        def step() -> None:
            nonlocal attempts
            for delivery in consumer.read(10, 50, nobody):
                attempts += 1
                if attempts <= failures:
                    raise error("away")
                answered.append(delivery)
                consumer.ack([delivery.id])
                stop.set()

        consumer.work(step, stop)
        assert bus.stats(TRANSCRIPTS, "detect").total == 0
        assert bus.dead_letters(TRANSCRIPTS) == []
    assert [item.deliveries for item in answered] == [1]
    assert metrics.value("tingbo_worker_failures_total", stage="detect") == failures
