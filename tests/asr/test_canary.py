"""The canary refuses what does not understand it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.asr.canary import check_canary, error_rate
from pipeline.errors import ModelError
from pipeline.records import SpeechSegment, Transcript
from pipeline.resources import resource
from tests.fakes import ScriptedRecogniser

EXPECTED = resource("models", "asr_demo", "canary.txt")


class Bundled(ScriptedRecogniser):
    """Says what it is told and calls itself the bundled model."""

    name = "demo"
    synthetic_only = True


class Broken(ScriptedRecogniser):
    """Fails as CTranslate2 does where a CUDA library is missing."""

    name = "small"

    def transcribe(self, segments: Sequence[SpeechSegment]) -> list[Transcript]:  # noqa: ARG002
        raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")


def test_errors_are_counted_in_characters() -> None:
    """Replaced, missing and added characters count one each, per expected character."""
    assert error_rate("全网最低价", "全网最低价") == 0
    assert error_rate("全网最低家", "全网最低价") == 0.2
    assert error_rate("网最低价啊", "全网最低价") == 0.4
    assert error_rate("", "全网最低价") == 1
    assert error_rate("好", "") == 1


def test_the_bundled_model_must_give_nearly_the_text() -> None:
    """One wrong character passes, half of the text does not."""
    text = EXPECTED.read_text(encoding="utf-8").strip()
    check_canary(Bundled({0: text[:-1]}))
    with pytest.raises(ModelError, match=f"which says '{text}'"):
        check_canary(Bundled({0: text[: len(text) // 2]}))


def test_another_model_must_give_chinese() -> None:
    """A model that never heard such a voice must still hear Chinese."""
    check_canary(ScriptedRecogniser({0: "这个是我们家的"}))
    for text in ("", "嗯", "thank you for watching 谢谢观看"):
        with pytest.raises(ModelError, match="scripted on cpu does not understand the canary"):
            check_canary(ScriptedRecogniser({0: text}))


def test_a_machine_that_cannot_compute_is_named() -> None:
    """A missing library ends with its name and what to try."""
    with pytest.raises(ModelError, match=r"small fails on cpu \(Library libcublas.*try device cpu"):
        check_canary(Broken({}))


def test_the_clip_fits_every_window() -> None:
    """The shipped clip is a few seconds of mono FLAC."""
    from faster_whisper import decode_audio

    samples = decode_audio(str(resource("models", "asr_demo", "canary.flac")))
    assert 1.0 < len(samples) / 16_000 <= 10.0
