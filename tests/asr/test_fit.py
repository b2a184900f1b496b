"""The size of a batch follows the device's memory: found by trying, halved when it runs out."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.asr.fit import is_out_of_memory, warm_up
from pipeline.asr.upkeep import Limits, Upkeep
from pipeline.records import SpeechSegment, Transcript
from tests.asr.random_whisper import MULTILINGUAL, write_random_whisper
from tests.asr.workers import Bench
from tests.fakes import ScriptedRecogniser

ROOT = Path(__file__).resolve().parents[2]


class Small(ScriptedRecogniser):
    """A device with room for so many windows; it fails as CTranslate2 does."""

    def __init__(self, room: int, script: dict[int, str] | None = None) -> None:
        super().__init__(script or {})
        self.room = room

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
        if len(segments) > self.room:
            raise RuntimeError("CUDA failed with error out of memory")
        return super().transcribe(segments)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mkl_malloc: failed to allocate memory"), True),
        (MemoryError("std::bad_alloc"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_faults(error: Exception, expected: bool) -> None:
    """Only lack of memory makes batches smaller for good."""
    assert is_out_of_memory(error) is expected


def test_warming_up_ends_where_memory_does() -> None:
    """Twice as many each time, up to what was asked for or what fits."""
    recogniser = Small(100)
    assert warm_up(recogniser, 12).limit == 12
    assert recogniser.batches == [1, 2, 4, 8, 12]
    assert warm_up(Small(5), 16).limit == 4
    with pytest.raises(RuntimeError, match="out of memory"):
        warm_up(Small(0), 16)


def test_a_slow_device_gets_small_batches() -> None:
    """A call of more than 5 s keeps its first segment waiting for nothing: 2 s a window are 2."""

    class Slow(ScriptedRecogniser):
        def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:
            time.sleep(2.0 * len(segments))
            return super().transcribe(segments)

    recogniser = Slow({})
    warmth = warm_up(recogniser, 16)
    assert warmth.limit == 2
    assert 1.9 < warmth.window_s < 2.4


def test_a_worker_halves_its_batches_and_remembers(steady: Bench) -> None:
    """Eight do not fit, two do: nothing is lost, and the next batches are of two at once."""
    recogniser = Small(2, {2_000 * seq: str(seq) for seq in range(10)})
    for seq in range(10):
        steady.send("a", seq, 2_000 * seq)
    worker = steady.worker(recogniser, max_batch=8)
    worker.step()
    assert recogniser.batches == [2, 2, 2, 2]
    worker.step()
    assert recogniser.batches == [2, 2, 2, 2, 2]
    assert steady.texts("a") == list("0123456789")
    value = steady.places.metrics.value
    assert value("tingbo_asr_batch_limit") == 2
    assert value("tingbo_asr_out_of_memory_total") == 2


def test_without_memory_for_one_the_process_asks_to_be_started_again(steady: Bench) -> None:
    """The segment is not lost: the next process has it."""
    recogniser = Small(0)
    steady.send("a", 0, 0)
    upkeep = Upkeep(recogniser, Limits(), steady.stop, steady.places.metrics)
    steady.worker(recogniser).run(upkeep)
    assert upkeep.recycled == "there is no memory for a single window"
    assert steady.waiting() == 1


@pytest.mark.slow
def test_real_lack_of_memory_on_the_cpu_is_survived(tmp_path: Path) -> None:
    """A real model under a real limit of memory: 8 windows do not fit, and all are heard."""
    folder = write_random_whisper(tmp_path / "model", MULTILINGUAL, length=5)
    code = f"""
import resource
import numpy as np
from pipeline.asr.fit import BatchFit
from pipeline.asr.hearing import Hearing
from pipeline.asr.model import open_recogniser
from pipeline.metrics import Metrics
from pipeline.records import SpeechSegment
from pipeline.streams import Delivery

recogniser = open_recogniser({str(folder)!r}, device="cpu", threads=1)
sound = SpeechSegment(0, 0, 2_000, np.full(32_000, 0.1, np.float32))
recogniser.transcribe([sound])
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
fit = BatchFit(8, Metrics())
hearing = Hearing(recogniser, fit, Metrics(), lambda segments, seconds: None)
windows = [[(Delivery(str(i), None), sound)] for i in range(8)]
heard = [item.id for item, _ in hearing.hear(windows)]
print(fit.limit, sorted(map(int, heard)) == list(range(8)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    limit, whole = done.stdout.split()
    assert (int(limit) < 8, whole) == (True, "True")
