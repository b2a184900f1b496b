"""Every Prometheus name of tingbo, with its unit and labels.

One `Metrics` is built per process and passed to what counts. No histogram has a `room` label: a
thousand rooms would make each scrape take half a second.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from pipeline import __version__

_SEGMENT_SECONDS = (0.5, 1, 2, 3, 5, 8, 12, 20, 30)
_WORK_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_LATENCY_SECONDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)
_BATCH_SEGMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

#: Where prometheus_client looks for the folder that processes of one machine share their values by.
SHARED_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: How the values of a gauge in several processes become one; processes that ended do not count.
_Sharing = Literal["livesum", "livemax", "livemin", "livemostrecent"]


class Metrics:
    """The registry of one process and every instrument in it."""

    def __init__(self) -> None:
        # The _created series double the number of counters and nothing here reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client lacks it
        self.registry = CollectorRegistry()
        self._ingest()
        self._queue()
        self._asr()
        self._results()
        self._process()

    def _ingest(self) -> None:
        self.ingest_rooms = self._gauge(
            "ingest_rooms", "Rooms that an ingester listens to", "state"
        )
        self.rooms = self._gauge(
            "rooms", "Rooms on the list by state", "state", sharing="livemostrecent"
        )
        self.rooms_without_ingest = self._gauge(
            "rooms_without_ingest", "Rooms on the list that nobody holds", sharing="livemostrecent"
        )
        self.ledger_seconds = self._counter(
            "ledger_seconds", "Sound entered into the coverage ledger, in seconds", "kind"
        )
        self.ingest_audio_seconds = self._counter(
            "ingest_audio_seconds", "Sound decoded, in seconds", "protocol"
        )
        self.ingest_reconnects = self._counter(
            "ingest_reconnects", "Connections opened again", "protocol", "reason"
        )
        self.ingest_outbox_bytes = self._gauge(
            "ingest_outbox_bytes", "Clips of live rooms that wait for the stores"
        )
        self.ingest_outbox_refused = self._counter(
            "ingest_outbox_refused", "Deliveries of live rooms that could not be kept"
        )
        self.push_received_bytes = self._counter(
            "push_received_bytes", "Sound that was pushed to us", "protocol"
        )
        self.push_refusals = self._counter("push_refusals", "Pushes that were refused", "reason")
        self.vad_speech_seconds = self._counter("vad_speech_seconds", "Speech cut, in seconds")
        self.segment_duration_seconds = self._histogram(
            "segment_duration_seconds", "Length of speech segments", _SEGMENT_SECONDS
        )

    def _queue(self) -> None:
        self.queue_lag_entries = self._gauge(
            "queue_lag_entries",
            "Entries no consumer has read yet",
            "stream",
            sharing="livemostrecent",
        )
        self.queue_pending_entries = self._gauge(
            "queue_pending_entries",
            "Entries read and not answered yet",
            "stream",
            sharing="livemostrecent",
        )
        self.queue_oldest_entry_age_seconds = self._gauge(
            "queue_oldest_entry_age_seconds",
            "Age of the oldest entry without answer",
            "stream",
            sharing="livemostrecent",
        )
        self.queue_reclaimed_entries = self._counter(
            "queue_reclaimed_entries", "Entries taken over from a silent consumer", "stream"
        )
        self.queue_group_recreations = self._counter(
            "queue_group_recreations", "Consumer groups that had vanished", "stream"
        )
        self.queue_dead_letter_entries = self._gauge(
            "queue_dead_letter_entries",
            "Dead letters that wait for someone",
            "stream",
            sharing="livemostrecent",
        )
        self.queue_dead_letters = self._counter(
            "queue_dead_letters", "Entries given up", "stream", "reason"
        )
        self.queue_shed_entries = self._counter(
            "queue_shed_entries", "Segments left out under overload", "reason"
        )

    def _asr(self) -> None:
        self.asr_batch_size = self._histogram(
            "asr_batch_size", "Segments in one call of the recogniser", _BATCH_SEGMENTS
        )
        self.asr_inference_duration_seconds = self._histogram(
            "asr_inference_duration_seconds",
            "Time of one call of the recogniser",
            _WORK_SECONDS,
            "stage",
            "device",
        )
        self.asr_audio_seconds = self._counter(
            "asr_audio_seconds", "Sound transcribed, in seconds", "model", "device"
        )
        self.asr_segments = self._counter("asr_segments", "Segments by outcome", "outcome")
        self.asr_guards = self._counter(
            "asr_guards", "Transcripts a guard acted on, by its name", "guard"
        )
        self.asr_merged_segments = self._counter(
            "asr_merged_segments", "Segments heard in a window of their neighbour's"
        )
        self.asr_seconds_behind = self._gauge(
            "asr_seconds_behind",
            "How long ago what was heard last of a room was said",
            "room",
            sharing="livemax",
        )
        self.asr_backlog_seconds = self._gauge(
            "asr_backlog_seconds",
            "How long a segment said now will have to wait",
            sharing="livemax",
        )
        self.asr_batch_limit = self._gauge(
            "asr_batch_limit", "Windows that one call of the recogniser may hold"
        )
        self.asr_out_of_memory = self._counter(
            "asr_out_of_memory", "Calls of the recogniser that found no memory"
        )
        self.asr_canary_ok = self._gauge(
            "asr_canary_ok",
            "Whether the recogniser understood the canary clip last time",
            sharing="livemin",
        )
        self.asr_canary_failures = self._counter(
            "asr_canary_failures", "Times the canary clip was not understood"
        )
        self.asr_second_opinions = self._counter(
            "asr_second_opinions", "Clips with a finding heard again by a larger model"
        )

    def _results(self) -> None:
        self.findings = self._counter("findings", "Findings raised", "category", "verdict")
        self.rule_pack_reloads = self._counter(
            "rule_pack_reloads", "Changed rule packs, loaded or refused", "outcome"
        )
        self.worker_failures = self._counter(
            "worker_failures", "Failures caught by a worker's outer loop", "stage"
        )
        self.stage_latency_seconds = self._histogram(
            "stage_latency_seconds",
            "From the end of the segment to the stage's result",
            _LATENCY_SECONDS,
            "stage",
        )
        self.alert_latency_seconds = self._histogram(
            "alert_latency_seconds",
            "From the end of the utterance to the open case",
            _LATENCY_SECONDS,
            "severity",
        )
        self.review_queue_items = self._gauge(
            "review_queue_items",
            "Cases waiting for a reviewer",
            "severity",
            sharing="livemostrecent",
        )

    def _process(self) -> None:
        self._turned: float | None = None
        self.loop_turned_timestamp_seconds = self._gauge(
            "loop_turned_timestamp_seconds",
            "When the loop of the role last turned, 0 before its first turn",
            sharing="livemin",
        )
        build = self._gauge("build_info", "Version that runs", "version", sharing="livemax")
        build.labels(__version__).set(1)

    def loop_turned(self) -> None:
        """Say that the role's loop works: called on every turn, also on one that found no work."""
        self._turned = time.monotonic()
        self.loop_turned_timestamp_seconds.set_to_current_time()

    @property
    def loop_age_s(self) -> float | None:
        """Seconds since the loop last turned; None before its first turn."""
        return None if self._turned is None else time.monotonic() - self._turned

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="tingbo", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str, sharing: _Sharing = "livesum") -> Gauge:
        return Gauge(
            name,
            text,
            labels,
            namespace="tingbo",
            registry=self.registry,
            multiprocess_mode=sharing,
        )

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace="tingbo", registry=self.registry, buckets=buckets
        )

    def value(self, name: str, **labels: str) -> float:
        """Value of one series by its full name, 0 when it has not been touched."""
        return self.registry.get_sample_value(name, labels) or 0.0


class SharedValues:
    """What all processes of this machine that share `folder` count, as one page.

    Counters of a process that ended stay counted; its gauges are gone with the next look.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> list[Metric]:
        """As a collector of prometheus_client."""
        for file in self._folder.glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if not _alive(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        return list(self._files.collect())  # type: ignore[no-untyped-call]


def shared_registry(folder: Path) -> CollectorRegistry:
    """Registry of what the processes that share `folder` count."""
    registry = CollectorRegistry()
    registry.register(SharedValues(folder))
    return registry


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is someone else's
        return True
    return True
