"""The streaming detector, on the real network."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import MissingError
from pipeline.ingest import vad as vad_module
from pipeline.ingest.vad import FRAME, Vad, model_path
from tests.ingest.media import noise, silence, speech


def frames(sound: np.ndarray) -> np.ndarray:
    return sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)


@pytest.mark.parametrize("at_once", [1, 8, 31])
def test_any_cutting_gives_the_probabilities_of_one_pass(at_once: int) -> None:
    """State and context are carried: pieces of any size give what the whole gives."""
    sound = frames(np.concatenate([silence(0.5), speech(), noise(0.5, 0.01)]))
    whole = Vad().probabilities(sound)
    vad = Vad()
    pieces = [vad.probabilities(sound[at : at + at_once]) for at in range(0, len(sound), at_once)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


def test_speech_is_found_and_silence_is_not() -> None:
    """Speech is above, silence and noise are below the threshold."""
    vad = Vad()
    before = vad.probabilities(frames(silence(1.0)))
    during = vad.probabilities(frames(speech()))
    vad.reset()
    hiss = vad.probabilities(frames(noise(2.0, 0.05)))
    assert before.max() < 0.35
    assert np.mean(during > 0.5) > 0.8
    assert hiss.max() < 0.5


def test_reset_forgets_the_stream() -> None:
    """After a reset the same sound gives the same probabilities as in a new detector."""
    sound = frames(speech())
    vad = Vad()
    first = vad.probabilities(sound)
    vad.reset()
    np.testing.assert_array_equal(vad.probabilities(sound), first)


def test_two_rooms_do_not_share_state() -> None:
    """Detectors share the network, never the state."""
    sound = frames(speech())
    alone = Vad().probabilities(sound)
    one, other = Vad(), Vad()
    pieces = []
    for at in range(0, len(sound), 8):
        pieces.append(one.probabilities(sound[at : at + 8]))
        other.probabilities(frames(noise(0.256, 0.3)))
    np.testing.assert_allclose(np.concatenate(pieces), alone, atol=1e-5)


def test_no_frames_give_no_probabilities() -> None:
    """An empty call is allowed and leaves the state alone."""
    assert len(Vad().probabilities(np.zeros((0, FRAME), np.float32))) == 0


def test_a_missing_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another faster-whisper than expected gives one sentence with the remedy."""
    monkeypatch.setattr(vad_module, "_MODEL", "silero_vad_v99.onnx")
    with pytest.raises(MissingError, match=r"silero_vad_v99\.onnx is not part.*install"):
        model_path()
