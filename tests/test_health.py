"""The pages of a role: what it counts, whether its loop turns, whether it can work."""

from __future__ import annotations

import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.bus import Bus
from pipeline.errors import BusError, MissingError
from pipeline.health import STALLED_S, Health, serve_pages
from pipeline.metrics import Metrics
from pipeline.store import Store


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class OldMetrics(Metrics):
    """A process whose loop turned `age_s` ago."""

    age_s: float | None = None

    @property
    def loop_age_s(self) -> float | None:
        return self.age_s


@contextmanager
def served(metrics: Metrics, *needs: str, patience_s: float = 2.0) -> Iterator[tuple[Health, int]]:
    health = Health("asr", metrics, needs, patience_s)
    with serve_pages(metrics.registry, health, 0) as port:
        yield health, port


def test_the_page_shows_what_was_counted() -> None:
    """A scrape over HTTP carries names with unit and the values, without _created series."""
    metrics = Metrics()
    metrics.asr_segments.labels("transcribed").inc(3)
    metrics.queue_lag_entries.labels("segments").set(7)
    with served(metrics) as (_, port):
        code, page = get(port, "/metrics")
        assert get(port, "/")[0] == 404
    assert code == 200
    assert 'tingbo_asr_segments_total{outcome="transcribed"} 3.0' in page
    assert 'tingbo_queue_lag_entries{stream="segments"} 7.0' in page
    assert f'tingbo_build_info{{version="{__version__}"}} 1.0' in page
    assert "_created" not in page


def test_a_taken_port_is_one_sentence() -> None:
    """The operator learns which setting to change."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        reason = rf"cannot listen on 127\.0\.0\.1:{port} .* set metrics_port"
        with (
            pytest.raises(MissingError, match=reason),
            serve_pages(Metrics().registry, None, port),
        ):
            pass


@pytest.mark.parametrize(
    ("age_s", "code", "loop"),
    [
        (None, 200, "starting"),
        (0.0, 200, "turning"),
        (STALLED_S - 1, 200, "turning"),
        (STALLED_S + 1, 503, "stalled"),
    ],
)
def test_a_loop_that_hangs_is_not_alive(age_s: float | None, code: int, loop: str) -> None:
    """Only the loop decides: a role that waits for its model, or for Redis, is not restarted."""
    metrics = OldMetrics()
    metrics.age_s = age_s
    with served(metrics, "bus", "model") as (_, port):
        found, told = get(port, "/healthz")
    assert found == code
    assert json.loads(told)["loop"] == loop


def test_a_turn_of_the_loop_is_noted_for_the_probe_and_for_prometheus() -> None:
    """Both tell the same: the time of the last turn."""
    metrics = Metrics()
    assert Metrics().loop_age_s is None
    assert metrics.value("tingbo_loop_turned_timestamp_seconds") == 0
    metrics.loop_turned()
    assert metrics.loop_age_s is not None
    assert metrics.loop_age_s < STALLED_S
    assert metrics.value("tingbo_loop_turned_timestamp_seconds") > 1.7e9


def test_a_role_is_ready_when_all_it_needs_is_there(redis_url: str, database_url: str) -> None:
    """503 names what is not there yet; 200 after the model is loaded, with bus and store asked."""
    metrics = Metrics()
    with (
        Bus(redis_url, metrics) as bus,
        Store(database_url) as store,
        served(metrics, "bus", "records", "model") as (health, port),
    ):
        code, told = get(port, "/readyz")
        assert (code, json.loads(told)["checks"]) == (
            503,
            dict.fromkeys(("bus", "model", "records"), "is not there yet"),
        )
        health.watch("bus", bus.ping)
        health.watch("records", store.ping)
        health.have("model")
        code, told = get(port, "/readyz")
    assert code == 200
    assert json.loads(told) == {
        "role": "asr",
        "ready": True,
        "checks": {"bus": "ok", "records": "ok"},
    }


def test_what_went_away_is_named_in_its_own_sentence() -> None:
    """A bus that is gone makes the role not ready, and leaves it alive."""

    def gone() -> None:
        raise BusError("The bus at redis://h:1 cannot be reached (refused): start the server.")

    with served(Metrics(), "bus") as (health, port):
        health.watch("bus", gone)
        code, told = get(port, "/readyz")
        assert get(port, "/healthz")[0] == 200
    assert code == 503
    assert json.loads(told)["checks"]["bus"].startswith("The bus at redis://h:1 cannot be reached")


def test_a_check_that_hangs_is_told_and_not_asked_again() -> None:
    """/readyz answers while the database does not, and does not pile up threads."""
    asked, go_on = [], threading.Event()

    def hangs() -> None:
        asked.append(1)
        go_on.wait(30)

    with served(Metrics(), "records", patience_s=0.05) as (health, port):
        health.watch("records", hangs)
        answers = [get(port, "/readyz") for _ in range(3)]
        go_on.set()
    assert [code for code, _ in answers] == [503] * 3
    assert "does not answer within" in answers[0][1]
    assert asked == [1]


def test_a_check_with_a_fault_is_not_ready_and_is_asked_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A fault of ours in a check is told as one, and heals when the check does."""
    faults = [RuntimeError("unforeseen")]

    def check() -> None:
        if faults:
            raise faults.pop()

    hook, threading.excepthook = threading.excepthook, threading.__excepthook__
    try:
        with served(Metrics(), "bus") as (health, port):
            health.watch("bus", check)
            code, told = get(port, "/readyz")
            assert (code, "nobody foresaw" in told) == (503, True)
            assert get(port, "/readyz")[0] == 200
    finally:
        threading.excepthook = hook
    assert "unforeseen" in capfd.readouterr().err


def test_a_request_that_breaks_off_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Port scanners and clients that give up leave no traceback among the log lines."""
    with served(Metrics()) as (_, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            linger = struct.pack("ii", 1, 0)  # closing resets the connection
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.sendall(b"GET /metrics HTT")
        assert get(port, "/metrics")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_consumer_says_that_its_loop_turns(redis_url: str) -> None:
    """Every worker's loop is watched, also while there is nothing to do and while it fails."""
    from pipeline.consumer import Consumer
    from pipeline.streams import SEGMENTS

    metrics, stop = Metrics(), threading.Event()

    def step() -> None:
        stop.set()
        raise RuntimeError("unforeseen")

    with Bus(redis_url, metrics) as bus:
        bus.ensure_group(SEGMENTS, "asr")
        Consumer(bus, SEGMENTS, "asr", metrics).work(step, stop)
    assert metrics.loop_age_s is not None
    assert metrics.value("tingbo_worker_failures_total", stage="asr") == 1


def test_the_folder_is_not_part_of_the_page(tmp_path: Path) -> None:
    """The common page of `serve` has no probes of its own: each role has them."""
    from pipeline.metrics import shared_registry

    with serve_pages(shared_registry(tmp_path), None, 0) as port:
        assert get(port, "/metrics") == (200, "")
        assert get(port, "/readyz")[0] == 404
