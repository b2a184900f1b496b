"""Telling music from silence."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.ingest.music import kind_without_speech
from pipeline.records import CoverageKind
from tests.ingest.media import Samples, chords, noise, silence, tone


def rumble() -> Samples:
    """Brown noise, as of traffic or an air conditioner."""
    walk: Samples = np.cumsum(noise(3.0, 0.02))
    walk = walk - np.convolve(walk, np.ones(400) / 400, mode="same")
    scaled: Samples = (0.2 * walk / np.abs(walk).max()).astype(np.float32)
    return scaled


@pytest.mark.parametrize(
    ("sound", "kind"),
    [
        pytest.param(chords(2.0), CoverageKind.MUSIC, id="chords"),
        pytest.param(chords(2.0) * 0.1, CoverageKind.MUSIC, id="soft chords"),
        pytest.param(chords(2.0) + noise(2.0, 0.01), CoverageKind.MUSIC, id="chords in hiss"),
        pytest.param(tone(2.0), CoverageKind.MUSIC, id="one tone"),
        pytest.param(chords(2.0) * 0.003, CoverageKind.SILENT, id="inaudible chords"),
        pytest.param(silence(2.0), CoverageKind.SILENT, id="nothing"),
        pytest.param(noise(2.0, 0.05), CoverageKind.SILENT, id="white noise"),
        pytest.param(rumble(), CoverageKind.SILENT, id="rumble"),
    ],
)
def test_tones_are_music_and_noise_is_silence(sound: Samples, kind: CoverageKind) -> None:
    """The documented rule: loud enough and made of tones."""
    assert kind_without_speech(sound[:16_384]) is kind


def test_short_pieces_of_noise_are_no_music() -> None:
    """The shortest piece that is judged averages enough for noise to look flat."""
    hiss = noise(20.0, 0.05)
    pieces = [hiss[at : at + 3072] for at in range(0, 300_000, 3072)]
    assert {kind_without_speech(piece) for piece in pieces} == {CoverageKind.SILENT}
