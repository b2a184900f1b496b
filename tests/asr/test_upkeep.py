"""A worker that is unfit takes no work and says why; one too old or too large starts anew."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.asr.upkeep import Limits, Upkeep, resident_mb
from pipeline.errors import ExitCode
from pipeline.metrics import Metrics
from pipeline.records import SpeechSegment, Transcript
from pipeline.settings import Settings, as_environment
from tests.asr.workers import Bench
from tests.fakes import ScriptedRecogniser

ROOT = Path(__file__).resolve().parents[2]


class Moody(ScriptedRecogniser):
    """Hears as long as it is told to."""

    deaf = False

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        if self.deaf:
            return [Transcript(s.start_ms, s.end_ms, "") for s in segments]
        return super().transcribe(segments)


class Clock:
    """Monotonic seconds that go when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Case:
    """A recogniser under upkeep with a clock of its own."""

    def __init__(self, limits: Limits) -> None:
        self.recogniser = Moody({0: "今天的面霜一罐"})
        self.clock, self.stop, self.metrics = Clock(), threading.Event(), Metrics()
        self.upkeep = Upkeep(self.recogniser, limits, self.stop, self.metrics, self.clock)

    def fit_at(self, seconds: float) -> bool:
        self.clock.now = seconds
        return self.upkeep.fit()


def test_the_canary_is_asked_every_hour() -> None:
    """Not more often: it costs a window."""
    case = Case(Limits())
    assert [case.fit_at(s) for s in (0, 3_599, 3_600, 3_601, 7_200)] == [True] * 5
    assert case.recogniser.batches == [1, 1]


def test_a_failing_canary_stops_the_work_until_it_is_understood_again() -> None:
    """Asked again each minute; the metric tells, and what it said is the reason."""
    case = Case(Limits())
    case.recogniser.deaf = True
    assert not case.fit_at(3_600)
    assert "scripted on cpu does not understand the canary clip" in str(case.upkeep.failure)
    assert case.metrics.value("tingbo_asr_canary_ok") == 0
    assert not case.fit_at(3_630)
    assert case.metrics.value("tingbo_asr_canary_failures_total") == 1
    case.recogniser.deaf = False
    assert case.fit_at(3_660)
    assert case.metrics.value("tingbo_asr_canary_ok") == 1
    assert case.upkeep.failure is None


def test_after_five_failures_the_process_ends() -> None:
    """Another process, or another machine, may have more luck."""
    case = Case(Limits())
    case.recogniser.deaf = True
    for minute in range(4):
        assert not case.fit_at(3_600 + 60 * minute)
        assert not case.stop.is_set()
    assert not case.fit_at(3_600 + 240)
    assert case.stop.is_set()
    assert case.upkeep.failure is not None


def test_many_segments_without_a_word_ask_the_canary_at_once() -> None:
    """An hour of empty transcripts would look like an hour of clean rooms."""
    case = Case(Limits())
    case.recogniser.deaf = True
    for _ in range(49):
        case.upkeep.heard(Transcript(0, 1_000, ""))
    case.upkeep.heard(Transcript(0, 1_000, "", dropped_text="谢谢"))
    for _ in range(49):
        case.upkeep.heard(Transcript(0, 1_000, ""))
    assert case.fit_at(10)
    case.upkeep.heard(Transcript(0, 1_000, ""))
    assert not case.fit_at(11)


def test_a_deaf_worker_leaves_its_segments_to_others(steady: Bench) -> None:
    """What it held is given back, and it stores nothing that would look clean."""
    recogniser = Moody({0: "今天的面霜一罐"})
    for seq in range(8):
        steady.send("a", seq, 2_000 * seq)
    limits = Limits(canary_every_s=0.0, canary_again_s=0.0)
    worker = steady.worker(recogniser, max_batch=2)
    worker.step()
    assert len(steady.texts("a")) == 2
    recogniser.deaf = True
    upkeep = Upkeep(recogniser, limits, steady.stop, steady.places.metrics)
    ender = threading.Timer(0.2, steady.stop.set)
    ender.start()
    worker.run(upkeep)
    ender.join()
    assert len(steady.texts("a")) == 2
    helper = steady.worker(ScriptedRecogniser({}), max_batch=8)
    while steady.waiting():
        helper.step()
    assert len(steady.texts("a")) == 8
    assert "does not understand" in str(upkeep.failure)


def test_a_worker_ends_after_its_hours() -> None:
    """0 is for ever."""
    case = Case(Limits(canary_every_s=1e9, recycle_after_s=7_200.0))
    assert case.fit_at(7_200)
    assert not case.fit_at(7_201)
    assert (case.stop.is_set(), case.upkeep.recycled) == (True, "it ran for 2 h")
    assert Case(Limits(canary_every_s=1e9)).fit_at(1e8)


@pytest.mark.skipif(resident_mb() == 0, reason="this system does not tell a process its memory")
def test_a_worker_ends_when_its_memory_grew() -> None:
    """Real memory: 120 MB more than at first, and 100 MB are allowed."""
    case = Case(Limits(growth_mb=100))
    assert case.fit_at(0)
    held = bytearray(os.urandom(1024) * 1024 * 120)
    assert not case.fit_at(60)
    assert len(held) > 0
    assert case.upkeep.recycled.startswith("its memory grew by 1")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_role_ends_with_its_own_code_when_it_wants_to_start_again(
    redis_url: str, tmp_path: Path
) -> None:
    """`tingbo asr` drains and ends with 5 after its time, and says so."""
    settings = Settings(
        data_dir=tmp_path, redis_url=redis_url, device="cpu", recycle_after_h=0.00001
    )
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "asr"],
        env=as_environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.AGAIN
    assert '"role":"asr"' in done.stdout
    assert "wants to be started again: it ran for 1e-05 h" in done.stderr
