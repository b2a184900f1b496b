"""What the speech model's training is made of: its loss, its words, its voices, its way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.resources import resource
from tests.models.conftest import script

torch = pytest.importorskip("torch", reason="training needs the group `train`")
pytest.importorskip("pypinyin", reason="training needs the group `train`")

WEIGHTS = resource("models", "asr_demo", "weights")
CANARY = resource("models", "asr_demo", "canary.flac")


def test_the_loss_has_the_gradient_of_smoothed_cross_entropy() -> None:
    """Made on the way, it is what PyTorch derives; the number is the loss without smoothing."""
    loss = script("loss")
    torch.manual_seed(1)
    logits = torch.randn(9, 50, requires_grad=True)
    targets = torch.tensor([1, 2, -1, 4, 49, 0, 7, -1, 8])
    value, wrong = loss.text_loss(logits, targets)
    (made,) = torch.autograd.grad(value, logits)
    smoothed = torch.nn.functional.cross_entropy(
        logits, targets, ignore_index=-1, label_smoothing=loss.SMOOTHING
    )
    (derived,) = torch.autograd.grad(smoothed, logits)
    assert torch.allclose(made, derived, atol=1e-6)
    plain = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1)
    assert value.item() == pytest.approx(plain.item(), abs=1e-5)
    assert wrong.tolist() == (logits.argmax(-1) != targets).tolist()


def test_words_that_come_out_wrong_are_read_more_often() -> None:
    """A word noted as known is drawn far less than before, and the others the more."""
    lexicon = script("lexicon").Lexicon()
    known, other = 100, 200
    before = lexicon.shares()
    for _ in range(20):
        lexicon.note(np.array([known, other]), np.array([False, True]))
    after = lexicon.shares()
    assert 0 < after[known] < 0.3 * before[known]
    assert after[other] > before[other]
    drawn = np.bincount(lexicon.draw(400_000, np.random.default_rng(3)), minlength=len(after))
    likely = after > np.quantile(after, 0.99)
    expected = after[likely].sum() / after.sum() * 400_000
    assert drawn[likely].sum() == pytest.approx(expected, rel=0.05)


def test_words_that_sound_alike_keep_their_proportion() -> None:
    """Only the rarer one read more often would teach that it is the commoner one."""
    lexicon = script("lexicon").Lexicon()
    by_sound: dict[tuple[int, ...], list[int]] = {}
    for number, said in enumerate(lexicon.syllables):
        by_sound.setdefault(tuple(said), []).append(number)
    pair = next(numbers for numbers in by_sound.values() if len(numbers) == 2)
    drawn = []
    for wrong in (False, True):
        for _ in range(20):
            lexicon.note(np.array([pair[0]]), np.array([wrong]))
        shares = lexicon.shares()[pair]
        drawn.append(shares[0] / shares[1])
    assert drawn[0] == pytest.approx(drawn[1])


def test_a_slip_sounds_like_what_was_said() -> None:
    """Most syllables stay; those that do not keep their sound, or their tone and an end of it."""
    slips, table = script("slips"), script("vocabulary").syllable_table()
    name = {label: syllable for syllable, label in table.items()}
    said = np.repeat(np.array(sorted(table.values())), 20)
    heard = slips.Slips().slip(said, np.random.default_rng(5))
    changed = [(name[a], name[b]) for a, b in zip(said, heard, strict=True) if a != b]
    assert 0.03 < len(changed) / len(said) < slips.TONE_SLIPS + slips.SOUND_SLIPS
    apart = [(a, b) for a, b in changed if a[:-1] != b[:-1]]
    assert 0.05 < len(apart) / len(changed) < 0.5
    assert [pair for pair in apart if pair[0][-1] != pair[1][-1]] == []


def test_another_voice_moves_the_formants_and_keeps_the_times() -> None:
    """A band moves by 13 % of its frequency at most, and no frame becomes another."""
    voices, rng = script("voices"), np.random.default_rng(2)
    mel = np.full((5, voices.MELS), -6.0, np.float32)
    mel[2, 60] = 4.0
    moved = [voices.other_voice(mel, rng) for _ in range(200)]
    peaks = [int(other[2].argmax()) for other in moved]
    ratios = voices._BANDS[peaks] / voices._BANDS[60]
    assert 0.84 < ratios.min() < 0.95
    assert 1.05 < ratios.max() < 1.19
    assert {int(other.max(1).argmax()) for other in moved} == {2}
    assert {other.shape for other in moved} == {mel.shape}


def test_the_shipped_weights_can_be_read_back_and_still_hear() -> None:
    """The network that training goes on from hears the canary as the exported one does."""
    from faster_whisper.audio import decode_audio, pad_or_trim

    network, windows = script("network"), script("windows")
    sounds, tones = script("reading").sounds_and_tones()
    shape = network.Shape(windows.VOCABULARY, max(sounds) + 1, max(tones) + 1, windows.PHASES)
    model = network.Whisper(shape).eval()
    script("restore").restore(model, Path(WEIGHTS))
    extract = script("sound")._extractor
    features = pad_or_trim(extract(decode_audio(str(CANARY)), padding=0), windows.MAX_FRAMES)
    prompt = [windows.SOT, windows.NO_TIMES]
    (ids,) = model.greedy(torch.from_numpy(features)[None], prompt, windows.EOT)
    characters = script("vocabulary").characters()
    heard = "".join(characters[i] for i in ids if i < windows.EOT)
    said = (Path(CANARY).parent / "canary.txt").read_text(encoding="utf-8").strip()
    assert script("distance").distance([*map(ord, said)], [*map(ord, heard)]) <= 2
