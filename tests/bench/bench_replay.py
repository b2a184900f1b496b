"""Speed of a whole self-check of the bundled broadcast, and where its time goes.

The floor is the same broadcast through bare parts, one after the other: PyAV decoding and
resampling, and CTranslate2's `encode` and `generate` on the same segments.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio, pad_or_trim

from pipeline.asr.model import open_recogniser
from pipeline.detect import load_detector
from pipeline.ingest import SegmentOptions, SourceOptions, Vad, open_source, segments
from pipeline.records import SpeechSegment
from pipeline.replay import Ears, replay
from pipeline.reports.sound import SoundTrack
from pipeline.resources import resource
from pipeline.settings import Settings
from tests.bench.figures import Figure

BROADCAST = resource("models", "demo_broadcast", "broadcast.ogg")
RUNS = 3


def timed_replay(ears: Ears, *, page: bool) -> float:
    """× real time of one replay, with or without the sound for a page."""
    with open_source(str(BROADCAST), SourceOptions(5, 5)) as source, SoundTrack() as track:
        result = replay(source, ears, progress=lambda _: None, track=track if page else None)
    return result.duration_ms / result.elapsed_ms


def spoken(path: Path, options: SegmentOptions) -> list[SpeechSegment]:
    """The segments of the broadcast."""
    with open_source(str(path), SourceOptions(5, 5)) as source:
        found = segments(source.read(), Vad(), options)
        return [item for item in found if isinstance(item, SpeechSegment)]


def bare(ears: Ears, speech: list[SpeechSegment], duration_s: float) -> float:
    """× real time of decoding plus bare encode and generate."""
    model = WhisperModel(
        str(resource("models", "asr_demo", "weights")), device="cpu", compute_type="int8"
    )
    names = ("<|startoftranscript|>", "<|notimestamps|>")
    prompt = [model.hf_tokenizer.token_to_id(name) for name in names]
    frames = model.feature_extractor.nb_max_frames
    begin = time.monotonic()
    decode_audio(str(BROADCAST))
    for at in range(0, len(speech), ears.batch):
        part = speech[at : at + ears.batch]
        features = [pad_or_trim(model.feature_extractor(one.samples), frames) for one in part]
        model.model.generate(model.encode(np.stack(features)), [prompt] * len(part), beam_size=1)
    return duration_s / (time.monotonic() - begin)


def main() -> None:
    """Print the figures."""
    recogniser = open_recogniser("demo", device="cpu")
    options = SegmentOptions(recogniser.window_ms, 400, 200, 250)
    ears = Ears(recogniser, load_detector((), Settings().effective_classifier_dir), options)
    speech = spoken(BROADCAST, options)
    timed_replay(ears, page=False)  # loads what is loaded once
    plain = max(timed_replay(ears, page=False) for _ in range(RUNS))
    page = max(timed_replay(ears, page=True) for _ in range(RUNS))
    with open_source(str(BROADCAST), SourceOptions(5, 5)) as source:
        duration_s = (source.info.duration_ms or 0) / 1000
    floor = max(bare(ears, speech, duration_s) for _ in range(RUNS))
    Figure("replay, bundled model", plain, "× real time", floor, "≥ 15").report()
    Figure("replay with sound for a page", page, "× real time", floor).report()


if __name__ == "__main__":
    main()
