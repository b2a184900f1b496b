"""Metrics: names as documented, values as counted, added up over the processes of a machine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from pipeline.metrics import SHARED_FOLDER_VARIABLE, Metrics, shared_registry
from pipeline.settings import Settings, as_environment
from tests.conftest import absent

#: What a name may end with: base units, or what is counted where there is no unit.
UNITS = ("_seconds", "_entries", "_items", "_rooms", "_size", "_bytes", "_info", "_ratio")


def instruments(metrics: Metrics) -> list[MetricWrapperBase]:
    return [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]


def filled() -> Metrics:
    """Metrics in which every instrument has a value, so that the page shows all of them."""
    metrics = Metrics()
    for one in instruments(metrics):
        child = one.labels(*["x"] * len(one._labelnames)) if one._labelnames else one
        if one._type == "counter":
            child.inc()  # type: ignore[attr-defined]  # of a counter
        elif one._type == "gauge":
            child.set(1)  # type: ignore[attr-defined]  # of a gauge
        else:
            child.observe(1)  # type: ignore[attr-defined]  # of a histogram
    return metrics


def test_two_registries_do_not_share_values() -> None:
    """Each process (and each test) counts for itself."""
    one, other = Metrics(), Metrics()
    one.vad_speech_seconds.inc(2.5)
    assert one.value("tingbo_vad_speech_seconds_total") == 2.5
    assert other.value("tingbo_vad_speech_seconds_total") == 0.0


@pytest.mark.parametrize("one", instruments(Metrics()), ids=lambda one: str(one._name))
def test_names_follow_the_rules(one: MetricWrapperBase) -> None:
    """Namespace, small letters, base units, no colon; counters end in _total on the page."""
    name = one._name
    assert re.fullmatch(r"tingbo(_[a-z0-9]+)+", name)
    assert not name.endswith(("_total", "_ms", "_milliseconds", "_minutes", "_kb"))
    assert "_ms_" not in name
    if one._type == "histogram":
        assert name.endswith(UNITS)
    # A sentence of help without a full stop; it says what is counted.
    assert re.fullmatch(r"[A-Z].{10,}[^.]", one._documentation)


@pytest.mark.parametrize("one", instruments(Metrics()), ids=lambda one: str(one._name))
def test_labels_are_few_and_never_a_room(one: MetricWrapperBase) -> None:
    """A histogram by room of a thousand rooms would make a scrape take half a second."""
    allowed = {
        *("stream", "state", "kind", "protocol", "reason", "stage", "device", "model"),
        *("outcome", "guard", "category", "verdict", "severity"),
        *("room", "version"),
    }
    assert set(one._labelnames) <= allowed
    if one._type != "gauge":
        assert "room" not in one._labelnames
    assert len(one._labelnames) <= 2


@pytest.mark.parametrize("one", instruments(Metrics()), ids=lambda one: str(one._name))
def test_gauges_of_ended_processes_do_not_count(one: MetricWrapperBase) -> None:
    """Every gauge says how processes add up, without a label `pid`."""
    if one._type == "gauge":
        assert one._multiprocess_mode.startswith("live")  # type: ignore[attr-defined]  # of a gauge
        assert one._multiprocess_mode != "liveall"  # type: ignore[attr-defined]  # of a gauge


def test_promtool_accepts_the_page() -> None:
    """Prometheus' own linter has nothing to say about the names, types and help texts."""
    promtool = shutil.which("promtool") or absent("promtool (Debian: prometheus)")
    page = generate_latest(filled().registry)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)


WORKER = """
import sys
from pipeline.metrics import Metrics
metrics = Metrics()
metrics.asr_segments.labels("text").inc(int(sys.argv[1]))
metrics.ingest_rooms.labels("live").set(int(sys.argv[1]))
metrics.queue_lag_entries.labels("segments").set(int(sys.argv[1]))
metrics.segment_duration_seconds.observe(4)
print("counted", flush=True)
sys.stdin.read()
"""


@contextmanager
def counting(folder: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that counts `number` segments and rooms, and then waits."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(number)],
        env={**as_environment(Settings()), SHARED_FOLDER_VARIABLE: str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        try:
            yield process
        finally:
            process.kill()


def test_processes_of_a_machine_add_up(tmp_path: Path) -> None:
    """One page for all roles; after kill -9 of one its counts stay and its rooms are gone."""
    registry = shared_registry(tmp_path)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"tingbo_{name}", labels)

    with counting(tmp_path, 2) as first, counting(tmp_path, 5):
        assert value("asr_segments_total", outcome="text") == 7
        assert value("ingest_rooms", state="live") == 7
        assert value("queue_lag_entries", stream="segments") == 5
        assert value("segment_duration_seconds_count") == 2
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        assert value("asr_segments_total", outcome="text") == 7
        assert value("ingest_rooms", state="live") == 5
