"""Find the attention heads that tell best when a character was said, and write them into weights.

    python align.py weights

CTranslate2 reads word times off the mean of some cross-attention heads. espeak-ng says when each
syllable began, so every head can be tried alone; the best one is kept, and more as long as they
help. Fewer heads also cost less: each is filtered and sorted for every token.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from espeak import ESPEAK_RATE, Espeak, Voice, syllables
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from numpy.typing import NDArray
from sentences import Text
from sound import RATIOS, Sound, to_16k
from synthesise import VOICES
from timing import FRAMES_PER_S, RATE
from vocabulary import characters

Head = tuple[int, int]
MOST_HEADS = 4
POSITION_MS = 2000 / FRAMES_PER_S


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence with the ms at which its characters begin."""

    text: str
    sound: Sound
    starts_ms: NDArray[np.float64]


def spoken(count: int, seed: int = 31) -> list[Spoken]:
    """Sentences of the training text in training voices, between 0.3 s of silence."""
    text, rng, engine, known = Text(seed), random.Random(seed), Espeak(), set(characters())
    result: list[Spoken] = []
    while len(result) < count:
        sentence = text.line()
        voice = Voice(rng.choice(VOICES), rng.randint(150, 250), rng.randint(20, 80), 50)
        try:
            speech = engine.say(syllables(sentence), voice)
        except ValueError:
            continue
        if 5 <= len(sentence) <= 25 and known.issuperset(sentence):
            sound = np.pad(0.5 * to_16k(speech.sound, RATIOS[0]), int(0.3 * RATE))
            starts = 300 + speech.starts * 1000 / ESPEAK_RATE
            result.append(Spoken(sentence, sound.astype(np.float32), starts))
    return result


def error_ms(weights: Path, heads: list[Head], said: list[Spoken]) -> float:
    """How far characters begin from where they should with these heads, the text being given.

    The median distance, plus a tenth of the mean, which outliers govern.
    """
    write_heads(weights, heads)
    model = WhisperModel(str(weights), device="cpu", compute_type="int8", cpu_threads=1)
    extract, frames = model.feature_extractor, model.feature_extractor.nb_max_frames
    start = [model.hf_tokenizer.token_to_id("<|startoftranscript|>")]
    errors: list[float] = []
    for one in said:
        mel = extract(one.sound, padding=0)
        tokens = model.hf_tokenizer.encode(one.text).ids
        encoded = model.encode(pad_or_trim(mel, frames)[None])
        pairs = model.model.align(encoded, start, [tokens], [mel.shape[1]])[0].alignments
        first: dict[int, int] = {}
        for token, position in pairs:
            first.setdefault(token, position)
        guess = [first[i] * POSITION_MS for i in range(len(tokens))]
        errors.extend(np.abs(np.array(guess) - one.starts_ms).tolist())
    return float(np.median(errors)) + 0.1 * float(np.mean(errors))


def write_heads(weights: Path, heads: list[Head]) -> None:
    """Name the heads in the model's configuration."""
    path = weights / "config.json"
    config = json.loads(path.read_text(encoding="utf8"))
    config["alignment_heads"] = [list(head) for head in heads]
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf8")


def best_heads(weights: Path, every: list[Head], said: list[Spoken]) -> list[Head]:
    """The best head, then the next best ones while each lowers the error by 2 % or more."""
    alone = {head: error_ms(weights, [head], said) for head in every}
    ranked = sorted(alone, key=lambda head: alone[head])
    kept, reached = [ranked[0]], alone[ranked[0]]
    for head in ranked[1 : MOST_HEADS + 2]:
        tried = error_ms(weights, [*kept, head], said)
        if tried < 0.98 * reached and len(kept) < MOST_HEADS:
            kept, reached = [*kept, head], tried
    return kept


def main() -> None:
    """Choose on sixty sentences, check on sixty others, and print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    args = parser.parse_args()
    every = [(layer, head) for layer in range(args.layers) for head in range(args.heads)]
    kept = best_heads(args.weights, every, spoken(60))
    others = spoken(60, seed=32)
    print(f"all of the upper half: {error_ms(args.weights, every[len(every) // 2 :], others):.0f}")
    print(f"{kept}: {error_ms(args.weights, kept, others):.0f} (ms, median + a tenth of the mean)")
    write_heads(args.weights, kept)


if __name__ == "__main__":
    main()
