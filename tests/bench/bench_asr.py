"""Recognition: windows a second on one core, against bare `encode` and `generate`, same batch.

    python -m tests.bench.bench_asr                      the bundled model
    python -m tests.bench.bench_asr --asr small          any model tingbo can open
    python -m tests.bench.bench_asr --asr random-small   random weights of that model's true shape

Random weights cost what trained ones cost, at some 25 tokens a window.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faster_whisper import decode_audio

from pipeline.asr.model import open_recogniser
from pipeline.asr.recogniser import WhisperRecogniser
from pipeline.records import SpeechSegment, samples_to_ms
from pipeline.resources import resource
from tests.asr.random_whisper import SHAPES, write_random_whisper
from tests.bench.figures import Figure

RANDOM = "random-"


def batch(size: int) -> list[SpeechSegment]:
    """The canary clip, each time a little quieter, so that no two windows are the same."""
    clip = decode_audio(str(resource("models", "asr_demo", "canary.flac")))
    end_ms = samples_to_ms(len(clip))
    return [
        SpeechSegment(i, 0, end_ms, np.asarray(clip * 0.97**i, np.float32)) for i in range(size)
    ]


def bare(
    recogniser: WhisperRecogniser, segments: list[SpeechSegment], *, align: bool
) -> Callable[[], object]:
    """One `encode`, `generate` and perhaps `align` of CTranslate2 on features that are ready."""
    whisper = recogniser.whisper
    features, frames = whisper.features(segments)
    prompts = [whisper.prompt(segment.language) for segment in segments]
    limit = whisper.token_limit(max(segment.end_ms for segment in segments))
    model = whisper._model

    def call() -> object:
        encoded = model.encode(features)
        results = model.model.generate(
            encoded,
            prompts,
            beam_size=1,
            max_length=2 * limit,
            suppress_tokens=whisper._suppressed,
        )
        if not align:
            return results
        tokens = [result.sequences_ids[0] for result in results]
        return model.model.align(encoded, prompts[0][:-1], tokens, frames)

    return call


def seconds(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median CPU seconds of each call on its one thread.

    The calls take turns, and CPU time does not count what else the machine does meanwhile.
    """
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, own in zip(calls, times, strict=True):
            started = time.process_time()
            call()
            if turn:  # the first round warms up
                own.append(time.process_time() - started)
    return [statistics.median(own) for own in times]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--asr", default="demo", metavar="NAME")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = options.asr
        if name.startswith(RANDOM):
            shape = SHAPES[name.removeprefix(RANDOM)]
            name = str(write_random_whisper(Path(folder) / name, shape, length=25))
        plain = open_recogniser(name, device="cpu", threads=1, word_times=False)
        timed = open_recogniser(name, device="cpu", threads=1)
        segments = batch(options.batch)
        calls = [
            bare(plain, segments, align=False),
            lambda: plain.transcribe(segments),
            bare(timed, segments, align=True),
            lambda: timed.transcribe(segments),
        ]
        floor, without, aligned_floor, with_words = seconds(calls, options.rounds)
        characters = [len(transcript.text) for transcript in plain.transcribe(segments)]
    print(f"{options.asr}: {options.batch} windows, characters of each {characters}")
    for label, own, bare_s, calls_of_floor in (
        ("", without, floor, "encode + generate"),
        (", word times", with_words, floor, "encode + generate"),
        (", word times", with_words, aligned_floor, "encode + generate + align"),
    ):
        name = f"{options.asr}{label}: windows/s on one core, floor {calls_of_floor}"
        aim = f"≥ 0.9 of the floor, is {bare_s / own:.2f}"
        Figure(name, options.batch / own, "1/s", options.batch / bare_s, aim).report()


if __name__ == "__main__":
    main()
