"""Metrics: names as documented, values as counted, one page to scrape."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import generate_latest

from pipeline import __version__
from pipeline.errors import MissingError
from pipeline.metrics import Metrics, serve_metrics


def test_the_page_shows_what_was_counted() -> None:
    """A scrape over HTTP carries names with unit and the values, without _created series."""
    metrics = Metrics()
    metrics.asr_segments.labels("transcribed").inc(3)
    metrics.queue_lag_entries.labels("segments").set(7)
    with (
        serve_metrics(metrics, 0) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        page = answer.read().decode()
    assert 'tingbo_asr_segments_total{outcome="transcribed"} 3.0' in page
    assert 'tingbo_queue_lag_entries{stream="segments"} 7.0' in page
    assert f'tingbo_build_info{{version="{__version__}"}} 1.0' in page
    assert "_created" not in page


def test_two_registries_do_not_share_values() -> None:
    """Each process (and each test) counts for itself."""
    one, other = Metrics(), Metrics()
    one.vad_speech_seconds.inc(2.5)
    assert one.value("tingbo_vad_speech_seconds_total") == 2.5
    assert other.value("tingbo_vad_speech_seconds_total") == 0.0


def test_no_histogram_has_a_room_label() -> None:
    """A thousand rooms would make a scrape take half a second."""
    metrics = Metrics()
    kinds = {family.name: family.type for family in metrics.registry.collect()}
    assert kinds["tingbo_stage_latency_seconds"] == "histogram"
    assert b'room="' not in generate_latest(metrics.registry)


def test_a_taken_port_is_one_sentence() -> None:
    """The operator learns which setting to change."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        reason = rf"cannot listen on 127\.0\.0\.1:{port} .* set metrics_port"
        with pytest.raises(MissingError, match=reason), serve_metrics(Metrics(), port):
            pass
