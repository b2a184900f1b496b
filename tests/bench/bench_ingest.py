"""Ingest and VAD: CPU time per second of sound, and memory per hour of recording.

    python -m tests.bench.bench_ingest [SECONDS]

SECONDS is the length of the recording that is made for it, 44.1 kHz stereo AAC in FLV: one third
speech, the rest music and silence. CPU time is that of the whole process, the median of three
runs; memory is sampled after the first quarter of a run and at its end.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil

from pipeline.ingest import SegmentOptions, SourceOptions, Vad, open_source, segments
from pipeline.ingest.vad import FRAME, model_path
from pipeline.records import SAMPLE_RATE, AudioChunk, SpeechSegment
from tests.bench.figures import Figure
from tests.ingest.media import chords, silence, speech, write

RATE = 44_100
SOURCE = SourceOptions(open_timeout_s=10, read_timeout_s=10)
SEGMENTS = SegmentOptions(window_ms=10_000, min_silence_ms=400, pad_ms=200, min_speech_ms=250)


def recording(folder: Path, seconds: int) -> Path:
    """A made-up broadcast of this length."""
    part = np.concatenate([speech(), silence(0.8), chords(4.0), silence(1.8)])
    times = np.arange(seconds * RATE) * (SAMPLE_RATE / RATE)
    positions = np.arange(len(part))
    sound = np.interp(times % len(part), positions, part).astype(np.float32)
    return write(folder / "bench.flv", sound, RATE, layout="stereo")


def cpu_ms(work: Callable[[], object], seconds: float) -> float:
    """CPU ms that `work` takes for one second of sound; the median of three runs."""
    took = []
    for _ in range(3):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) * 1000 / seconds)
    return statistics.median(took)


def decode(path: Path) -> list[AudioChunk]:
    """Our decoding and resampling."""
    with open_source(str(path), SOURCE) as source:
        return [item for item in source.read() if isinstance(item, AudioChunk)]


def decode_bare(path: Path | str) -> None:
    """The same with nothing but PyAV, frame by frame."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        track.codec_context.thread_count = 1
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        for frame in container.decode(track):
            for out in resampler.resample(frame):
                out.to_ndarray()
        for out in resampler.resample(None):
            out.to_ndarray()


def detect(chunks: list[AudioChunk]) -> None:
    """Our streaming detector, fed as ingest feeds it."""
    vad, rest = Vad(), np.zeros(0, np.float32)
    for chunk in chunks:
        sound = np.concatenate([rest, chunk.samples])
        whole = len(sound) // FRAME * FRAME
        vad.probabilities(sound[:whole].reshape(-1, FRAME))
        rest = sound[whole:]


def detector_bare(frames: np.ndarray) -> Callable[[], object]:
    """The network on all frames in one call."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network = onnxruntime.InferenceSession(
        str(model_path()), providers=["CPUExecutionProvider"], sess_options=options
    )
    state = np.zeros((1, 1, 128), np.float32)
    context = np.concatenate([np.zeros((1, 64), np.float32), frames[:-1, -64:]])
    inputs = np.concatenate([context, frames], axis=1)
    return lambda: network.run(None, {"input": inputs, "h": state, "c": state})


def ingest(path: Path) -> int:
    """Everything from the file to the segments; their number."""
    with open_source(str(path), SOURCE) as source:
        items = segments(source.read(), Vad(), SEGMENTS)
        return sum(isinstance(item, SpeechSegment) for item in items)


def growth_mb_per_hour(path: Path, seconds: int) -> float:
    """By how much the memory of the process grows, per hour of recording."""
    process = psutil.Process()
    early = late = 0
    with open_source(str(path), SOURCE) as source:
        for item in segments(source.read(), Vad(), SEGMENTS):
            if not early and item.end_ms > seconds * 250:
                early = int(process.memory_info().rss)
        late = int(process.memory_info().rss)
    return (late - early) / 2**20 / (seconds * 0.75 / 3600)


def main(seconds: int) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        path = recording(Path(folder), seconds)
        print(f"{seconds} s of sound, {ingest(path)} segments")  # also the warm-up
        growth = growth_mb_per_hour(path, seconds)
        chunks = decode(path)
        sound = np.concatenate([chunk.samples for chunk in chunks])
        frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)

        decoding = cpu_ms(lambda: decode(path), seconds)
        decoding_bare = cpu_ms(lambda: decode_bare(path), seconds)
        detecting = cpu_ms(lambda: detect(chunks), seconds)
        detecting_bare = cpu_ms(detector_bare(frames), seconds)
        whole = cpu_ms(lambda: ingest(path), seconds)
    unit = "CPU ms per s of sound"
    Figure("decode and resample", decoding, unit, decoding_bare).report()
    Figure("VAD", detecting, unit, detecting_bare).report()
    floor = decoding_bare + detecting_bare
    Figure("ingest and VAD", whole, unit, floor, aim="≤ 5").report()
    Figure("ingest and VAD ÷ floor", whole / floor, "×").report()
    Figure("memory growth", growth, "MB per hour of recording", aim="flat").report()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
