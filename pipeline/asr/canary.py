"""The canary: a shipped clip whose text is known.

A model that gives nothing where something was said would make every room look clean; some
pairs of driver and CTranslate2 do exactly that, without an error.
"""

from __future__ import annotations

from itertools import pairwise

from pipeline.asr.guards import Guard
from pipeline.asr.recogniser import Recogniser
from pipeline.errors import ModelError
from pipeline.records import SpeechSegment, samples_to_ms
from pipeline.resources import resource

#: Share of characters the bundled model may get wrong in its own clip.
MAX_ERROR_RATE = 0.2
#: Another model, which may never have heard such a voice, must give this many Chinese characters.
_MIN_HAN = 4
#: And none of these may have acted on it.
_BABBLE = frozenset({Guard.LOOP_TRUNCATED, Guard.REPETITIVE, Guard.TOO_FAST})


def check_canary(recogniser: Recogniser) -> None:
    """Let `recogniser` hear the canary. Raises ModelError, which says why, when it is not fit."""
    expected = resource("models", "asr_demo", "canary.txt").read_text(encoding="utf-8").strip()
    remedy = "try device cpu, copy the model again, or use another model"
    try:
        [transcript] = recogniser.transcribe([canary_segment()])
    except (RuntimeError, MemoryError) as error:  # all that CTranslate2 raises
        raise ModelError(
            f"Speech model {recogniser.name} fails on {recogniser.device} ({error}): {remedy}."
        ) from error
    # Words a guard took out were still heard: the machinery works.
    heard = transcript.text or transcript.dropped_text
    if recogniser.synthetic_only:
        fit = error_rate(heard, expected) <= MAX_ERROR_RATE
    else:
        fit = _is_chinese(heard) and not _BABBLE & set(transcript.guards)
    if not fit:
        raise ModelError(
            f"Speech model {recogniser.name} on {recogniser.device} does not understand the canary "
            f"clip, which says {expected!r}: it gave {heard[:60]!r}; {remedy}."
        )


def error_rate(heard: str, expected: str) -> float:
    """Edits that turn `heard` into `expected`, per character of `expected`."""
    row = list(range(len(heard) + 1))
    for i, wanted in enumerate(expected, 1):
        new = [i]
        for j, (diagonal, above) in enumerate(pairwise(row), 1):
            new.append(min(new[-1] + 1, above + 1, diagonal + (heard[j - 1] != wanted)))
        row = new
    return row[-1] / max(1, len(expected))


def _is_chinese(heard: str) -> bool:
    han = sum("\u4e00" <= character <= "\u9fff" for character in heard)
    return han >= _MIN_HAN and 2 * han > len(heard)


def canary_segment() -> SpeechSegment:
    """The clip itself."""
    from faster_whisper import decode_audio

    samples = decode_audio(str(resource("models", "asr_demo", "canary.flac")))
    return SpeechSegment(0, 0, samples_to_ms(len(samples)), samples)
