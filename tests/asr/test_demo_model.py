"""The bundled model through the real path: it understands its clip, and nothing in silence."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper import decode_audio
from numpy.typing import NDArray

from pipeline.asr import Recogniser
from pipeline.asr.canary import error_rate
from pipeline.records import SpeechSegment, samples_to_ms
from pipeline.resources import resource


def segment(samples: NDArray[np.float32], start_ms: int = 0) -> SpeechSegment:
    return SpeechSegment(0, start_ms, start_ms + samples_to_ms(len(samples)), samples)


@pytest.fixture(scope="module")
def clip() -> NDArray[np.float32]:
    return np.asarray(decode_audio(str(resource("models", "asr_demo", "canary.flac"))), np.float32)


@pytest.fixture(scope="module")
def expected() -> str:
    return resource("models", "asr_demo", "canary.txt").read_text(encoding="utf-8").strip()


def test_it_says_what_it_is(demo_recogniser: Recogniser) -> None:
    """Name, window and that it knows synthetic speech only."""
    assert demo_recogniser.name == "demo"
    assert demo_recogniser.synthetic_only
    assert demo_recogniser.window_ms == 10_000


def test_words_lie_where_the_speech_is(
    demo_recogniser: Recogniser, clip: NDArray[np.float32], expected: str
) -> None:
    """Half a second of silence before and after: the words lie between, in simplified Chinese."""
    [transcript] = demo_recogniser.transcribe([segment(clip, 60_000)])
    assert error_rate(transcript.text, expected) <= 0.2
    assert transcript.guards == ()
    end_ms = 60_000 + samples_to_ms(len(clip))
    # The first and the last word may lean on the silence beside them.
    assert all(60_300 <= word.start_ms <= end_ms - 500 for word in transcript.words[1:-1])
    spread = transcript.words[-2].start_ms - transcript.words[1].start_ms
    assert spread > 0.6 * (end_ms - 60_000 - 1_000)


def test_a_batch_gives_what_each_gives_alone(
    demo_recogniser: Recogniser, clip: NDArray[np.float32]
) -> None:
    """Which rooms share a batch changes no one's text."""
    segments = [segment(clip), segment(clip[: len(clip) // 2]), segment(0.3 * clip)]
    alone = [demo_recogniser.transcribe([one])[0].text for one in segments]
    assert [t.text for t in demo_recogniser.transcribe(segments)] == alone


@pytest.mark.parametrize("level", [0.0, 0.001, 0.05])
def test_silence_and_noise_give_no_text(demo_recogniser: Recogniser, level: float) -> None:
    """It was shown both, with empty text."""
    rng = np.random.default_rng(7)
    sound = level * rng.standard_normal(4 * 16_000, np.float32)
    [transcript] = demo_recogniser.transcribe([segment(sound)])
    assert transcript.text == ""
