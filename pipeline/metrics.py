"""Every Prometheus name of tingbo, with its unit and labels.

One `Metrics` is built per process and passed to what counts. No histogram has a `room` label: a
thousand rooms would make each scrape take half a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from pipeline import __version__
from pipeline.errors import MissingError

_SEGMENT_SECONDS = (0.5, 1, 2, 3, 5, 8, 12, 20, 30)
_WORK_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_LATENCY_SECONDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)
_BATCH_SEGMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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

    def _ingest(self) -> None:
        self.ingest_rooms = self._gauge("ingest_rooms", "Rooms by state", "state")
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
        self.vad_speech_seconds = self._counter("vad_speech_seconds", "Speech cut, in seconds")
        self.segment_duration_seconds = self._histogram(
            "segment_duration_seconds", "Length of speech segments", _SEGMENT_SECONDS
        )

    def _queue(self) -> None:
        self.queue_lag_entries = self._gauge(
            "queue_lag_entries", "Entries no consumer has read yet", "stream"
        )
        self.queue_pending_entries = self._gauge(
            "queue_pending_entries", "Entries read and not answered yet", "stream"
        )
        self.queue_oldest_entry_age_seconds = self._gauge(
            "queue_oldest_entry_age_seconds", "Age of the oldest entry without answer", "stream"
        )
        self.queue_reclaimed_entries = self._counter(
            "queue_reclaimed_entries", "Entries taken over from a silent consumer", "stream"
        )
        self.queue_group_recreations = self._counter(
            "queue_group_recreations", "Consumer groups that had vanished", "stream"
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
            "review_queue_items", "Cases waiting for a reviewer", "severity"
        )
        self._gauge("build_info", "Version that runs", "version").labels(__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="tingbo", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="tingbo", registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace="tingbo", registry=self.registry, buckets=buckets
        )

    def value(self, name: str, **labels: str) -> float:
        """Value of one series by its full name, 0 when it has not been touched."""
        return self.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def serve_metrics(metrics: Metrics, port: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve the Prometheus page on `host:port` and give the port (a free one when `port` is 0).

    Raises MissingError when the port cannot be had.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except (OSError, OverflowError) as error:
        raise MissingError(
            f"The metrics page cannot listen on {host}:{port} ({error}): "
            "set metrics_port to a free port or to 0."
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
