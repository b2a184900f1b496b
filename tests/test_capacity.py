"""The calculator's arithmetic, and that it knows what it does not know."""

from __future__ import annotations

import json

import pytest

from pipeline.capacity import Wish, capacity, figures
from pipeline.cli import main
from pipeline.errors import BadInputError

TABLE = {
    "measured_on": "2026-11-25",
    "talk": {"speech_share": 0.5, "segment_s": 5.0},
    "ingest": {"cpu_ms_per_s": 7.0, "memory_mb_per_room": 4.0, "network_mbit_per_room": 2.0},
    "stages": {"asr_cpu_ms_per_segment": 3.0, "detect_cpu_ms_per_segment": 4.0},
    "storage": {
        "flac_bytes_per_speech_s": 10_000,
        "opus_bytes_per_speech_s": 1_000,
        "sql_bytes_per_segment": 2_000,
        "redis_bytes_per_message": 500,
    },
    "speech": [{"model": "small", "device": "cpu", "windows_per_s": 2.0, "memory_mb": 600}],
}


def test_a_hundred_rooms_take_what_the_figures_say() -> None:
    """10 segments a second; at 2 windows a second and core, busy for 70 %, that is 8 cores."""
    needed = capacity(Wish(100, "small", "cpu"), TABLE)
    assert needed.segments_per_s == 10.0
    assert needed.asr_units == 8
    assert needed.asr_busy == pytest.approx(10 / 16)
    assert needed.ingest_processes == 1
    assert needed.ingest_cores == pytest.approx(1.0)
    assert needed.detect_cores == pytest.approx(0.1)
    assert needed.memory_gb == pytest.approx(1.0)
    assert needed.network_mbit_s == 200
    assert needed.clips_flac_gb_per_hour == pytest.approx(1.8)
    assert needed.clips_opus_gb_per_hour == pytest.approx(0.18)
    assert needed.sql_gb_per_hour == pytest.approx(0.072)
    assert needed.redis_mb == pytest.approx(0.3)


def test_a_hundred_and_one_rooms_take_a_second_process() -> None:
    """A crash of libav ends no more than a hundred rooms."""
    assert capacity(Wish(101, "small", "cpu"), TABLE).ingest_processes == 2


def test_how_hosts_talk_can_be_said() -> None:
    """More speech in longer segments: the ratio counts."""
    needed = capacity(Wish(100, "small", "cpu", speech_share=0.8, segment_s=8.0), TABLE)
    assert needed.segments_per_s == 10.0


def test_a_model_nobody_measured_is_refused_unless_the_user_did() -> None:
    """No number is made up for a GPU that was never seen."""
    with pytest.raises(BadInputError, match=r"small was not measured on cuda \(measured: small on"):
        capacity(Wish(10, "small", "cuda"), TABLE)
    needed = capacity(Wish(1000, "small", "cuda", windows_per_s=50.0), TABLE)
    assert needed.asr_units == 3


def test_every_shipped_figure_says_how_it_was_measured() -> None:
    """A figure without a command is no figure."""
    table = figures()
    assert table["speech"]
    assert all(one["command"].startswith("python -m tests.bench") for one in table["speech"])
    assert all(one["windows_per_s"] > 0 and one["memory_mb"] > 0 for one in table["speech"])


def test_the_command_prints_and_tells_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The table for people, the same numbers as JSON, and 2 for what was never measured."""
    with pytest.raises(SystemExit) as ended:
        main(["capacity", "--rooms", "50"])
    assert ended.value.code == 0
    assert "speech model" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["capacity", "--rooms", "50", "--json"])
    assert json.loads(capsys.readouterr().out)["segments_per_s"] == 5.0
    with pytest.raises(SystemExit) as ended:
        main(["capacity", "--rooms", "50", "--model", "none-such"])
    assert ended.value.code == 2
    assert "was not measured" in capsys.readouterr().err
