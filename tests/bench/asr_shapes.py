"""What Whisper costs on short segments: models of true shape with random weights, 30 tokens each.

    taskset -c 1 python -m tests.bench.asr_shapes                    tiny, small and large-v3-turbo
    python -m tests.bench.asr_shapes --models tiny --devices cpu     one of them
    python -m tests.bench.asr_shapes --batches 1 8 32 128            other sizes of a batch

The floor is what users do today: one WhisperModel.transcribe for each segment, beam 5, no word
times. Ours are batches over rooms, with word times as `tingbo asr` makes them. On the CPU the
figures are CPU time of one thread, which does not count what else the machine does; on CUDA they
are wall time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
import psutil

from pipeline.asr.fit import is_out_of_memory
from pipeline.asr.model import open_recogniser
from pipeline.asr.recogniser import WhisperRecogniser
from pipeline.capacity import UTILISATION
from pipeline.records import SAMPLE_RATE, SpeechSegment
from tests.asr.random_whisper import SHAPES, write_random_whisper
from tests.bench.figures import Figure

TOKENS = 30
SEGMENT_S = 6
#: A room makes so many windows a second: 60 % speech in segments of 6 s.
ROOM_WINDOWS_S = 0.1
#: Sizes of a batch that are worth a try; the encoder of a large model takes 11 s a window on a CPU.
BATCHES = {"cpu": (1, 4, 8, 16), "cuda": (1, 4, 8, 16, 32, 64)}
SLOW_BATCHES = (1, 4)
#: Rounds of one size; a slow one gets fewer.
ROUNDS, LONG_S, LEAST_ROUNDS = 12, 20.0, 2


@dataclass(frozen=True, slots=True)
class Bench:
    """One model on one device."""

    model: str
    device: str
    recogniser: WhisperRecogniser

    @property
    def clock(self) -> Callable[[], float]:
        """CPU time where the device is the CPU."""
        return time.process_time if self.device == "cpu" else time.perf_counter

    @property
    def batches(self) -> Sequence[int]:
        """Sizes to try."""
        slow = self.device == "cpu" and SHAPES[self.model].layers > 12
        return SLOW_BATCHES if slow else BATCHES[self.device]

    def times(self, call: Callable[[], object]) -> list[float]:
        """Seconds of each round, the first one left out."""
        call()
        found: list[float] = []
        while len(found) < ROUNDS and (sum(found) < LONG_S or len(found) < LEAST_ROUNDS):
            started = self.clock()
            call()
            found.append(self.clock() - started)
        return found


def segments(count: int) -> list[SpeechSegment]:
    """Noise of 6 s, each time another."""
    rng = np.random.default_rng(7)
    samples = 0.1 * rng.standard_normal((count, SEGMENT_S * SAMPLE_RATE), np.float32)
    return [SpeechSegment(i, 0, SEGMENT_S * 1000, row) for i, row in enumerate(samples)]


def memory_mb(device: str) -> float:
    """Memory of this process, on the card where that is what counts."""
    if device == "cuda" and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        answer = subprocess.run(query, capture_output=True, text=True, check=True)
        return float(answer.stdout.split()[0])
    return psutil.Process().memory_info().rss / 2**20


def one_by_one(bench: Bench) -> float:
    """Windows a second of WhisperModel.transcribe, one segment after the other."""
    model = bench.recogniser.whisper._model
    [segment] = segments(1)

    def call() -> int:
        # Random weights fail every threshold: without a fallback to other temperatures.
        found, _ = model.transcribe(segment.samples, language="zh", temperature=0.0)
        return sum(len(one.tokens) for one in found)

    print(f"{bench.model} on {bench.device}: {call()} tokens by transcribe()", flush=True)
    rate = 1 / statistics.median(bench.times(call))
    Figure(f"{bench.model} on {bench.device}, one by one: windows/s", rate, "1/s").report()
    return rate


def batched(bench: Bench, size: int, floor: float) -> None:
    """Figures of one size of a batch. Raises RuntimeError when there is no memory for it."""
    batch = segments(size)
    times = bench.times(lambda: bench.recogniser.transcribe(batch))
    rate = size / statistics.median(times)
    name = f"{bench.model} on {bench.device}, batch of {size}"
    aim = f"{rate * UTILISATION / ROOM_WINDOWS_S:.3g} rooms at {UTILISATION:.0%} load"
    Figure(f"{name}: windows/s", rate, "1/s", floor, aim).report()
    p95 = float(np.percentile(times, 95))
    Figure(f"{name}: p95 of a call", p95, "s").report()
    Figure(f"{name}: memory", memory_mb(bench.device), "MB").report()


def measure(model: str, device: str, folder: Path, batches: Sequence[int]) -> None:
    """All figures of one model on one device."""
    threads = 1 if device == "cpu" else 0
    recogniser = open_recogniser(str(folder), device=device, threads=threads)
    bench = Bench(model, device, recogniser)
    characters = len(recogniser.transcribe(segments(1))[0].text)
    print(f"{model} on {device}: {characters} characters by a batch of one", flush=True)
    floor = one_by_one(bench)
    for size in batches or bench.batches:
        try:
            batched(bench, size, floor)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print(f"{model} on {device}: no memory for a batch of {size}", flush=True)
            return


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    models = ["tiny", "small", "large-v3-turbo"]
    parser.add_argument("--models", nargs="+", default=models, choices=sorted(SHAPES))
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"])
    parser.add_argument("--batches", nargs="+", type=int, default=[])
    options = parser.parse_args()
    there = ["cpu", *(["cuda"] if ctranslate2.get_cuda_device_count() else [])]
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            # The prompt of four tokens counts as well.
            path = write_random_whisper(Path(folder) / model, SHAPES[model], length=TOKENS + 4)
            for device in options.devices or there:
                measure(model, device, path, options.batches)


if __name__ == "__main__":
    main()
