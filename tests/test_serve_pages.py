"""`tingbo serve` with metrics: one page that adds up, and the pages of each role."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.resources import resource
from pipeline.settings import Settings, as_environment

PORTS = 6


def free_ports() -> int:
    """The first of some neighbouring ports that nobody listens on."""
    for base in range(21_000, 30_000, PORTS):
        with ExitStack() as stack:
            try:
                for port in range(base, base + PORTS):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    pytest.fail("no free ports")


def get(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())


def value(page: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, flags=re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_serve_shows_all_roles_on_one_page(tmp_path: Path) -> None:
    """What ingest, asr, detect and janitor count stands on the common page; each role is ready."""
    base = free_ports()
    settings = replace(Settings(), data_dir=tmp_path, metrics_port=base, log_format="json")
    media = resource("models", "demo_broadcast", "broadcast.ogg")
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "serve", str(media), "--speed", "4"],
        env=as_environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as serve:  # fmt: skip
        try:
            assert serve.stderr is not None
            said = next(line for line in serve.stderr if line.startswith("Metrics of all roles"))
            roles = {
                name: int(port) for name, port in re.findall(r"(\w+) (\d+)", said.split(":")[-1])
            }
            assert set(roles) == {"asr", "detect", "janitor", "ingest"}
            deadline, page = time.monotonic() + 200, ""
            wanted = (
                "tingbo_vad_speech_seconds_total",
                'tingbo_asr_segments_total{outcome="text"}',
                'tingbo_stage_latency_seconds_count{stage="detect"}',
            )
            while time.monotonic() < deadline and not all(value(page, one) for one in wanted):
                assert serve.poll() is None
                time.sleep(0.5)
                page = get(base, "/metrics")
            assert all(value(page, one) for one in wanted)
            assert 'tingbo_queue_lag_entries{stream="segments"}' in page
            assert "pid=" not in page
            for name, port in roles.items():
                told = json.loads(get(port, "/readyz"))
                assert (told["role"], told["ready"]) == (name, True)
                assert json.loads(get(port, "/healthz"))["loop"] == "turning"
        finally:
            serve.send_signal(signal.SIGINT)
            serve.wait(60)
