"""The model card's figures: character errors on held-out text and voices, false words, speed.

    python score.py weights

Sentences and voices here were never in training. Every sentence is spoken once, by one held-out
voice, clean and again with distortions, and decoded greedily on one core through faster-whisper's
own `encode` and `generate`. Sentences that last longer than the window are left out.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from distance import distance
from espeak import Espeak, Voice, syllables
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from sentences import words
from sound import RATIOS, Sound, distort, music, noise, to_16k
from synthesise import HELD_OUT_VOICES
from timing import RATE, WINDOW_S

HERE = Path(__file__).parent
BATCH = 16
PROMPT = ("<|startoftranscript|>", "<|notimestamps|>")
#: Longer sentences do not fit into the window.
MOST_CHARACTERS = 35


@dataclass(frozen=True, slots=True)
class Trial:
    """Sentences to be spoken by some of the held-out voices."""

    name: str
    texts: list[str]
    voices: tuple[str, ...] = HELD_OUT_VOICES
    noisy: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What was heard of a trial."""

    truth: list[str]
    heard: list[str]
    seconds: float
    """Of sound."""
    cpu_seconds: float
    """Spent on features, encoder and decoder."""

    @property
    def error_rate(self) -> float:
        """Character error rate over all sentences."""
        pairs = zip(self.truth, self.heard, strict=True)
        wrong = sum(distance([*map(ord, a)], [*map(ord, b)]) for a, b in pairs)
        return wrong / sum(map(len, self.truth))


def host_sentences() -> list[str]:
    """Written host talk of eight product areas that the training text does not have."""
    return (HERE / "text/heldout/host.txt").read_text(encoding="utf8").split()


def word_runs(count: int, rng: random.Random) -> list[str]:
    """Random word runs: the runs are new, the words are those of training."""
    population, weights = words()["all"]
    return ["".join(rng.choices(population, weights, k=rng.randint(3, 6))) for _ in range(count)]


def speak(trial: Trial, seed: int) -> list[Sound]:
    """One sound a text, by a random voice of the trial, with 0.3 s of silence around it."""
    rng, np_rng, engine = random.Random(seed), np.random.default_rng(seed), Espeak()
    sounds = []
    for text in trial.texts:
        voice = Voice(rng.choice(trial.voices), rng.randint(150, 250), rng.randint(20, 80), 50)
        sound = 0.5 * to_16k(engine.say(syllables(text), voice).sound, RATIOS[0])
        sound = np.pad(sound, int(0.3 * RATE))
        if trial.noisy:
            sound = distort(sound, np_rng)
            kind = music if rng.random() < 0.5 else noise
            under = kind(len(sound) / RATE + 0.1, np_rng)[: len(sound)]
            below = 10 ** (-rng.uniform(8, 25) / 20)  # 8 to 25 dB
            sound = sound + np.sqrt((sound**2).mean() / (under**2).mean()) * below * under
        sounds.append(sound.astype(np.float32))
    return sounds


def decode(model: WhisperModel, sounds: list[Sound]) -> tuple[list[str], float]:
    """(texts, CPU seconds)."""
    prompt = [model.hf_tokenizer.token_to_id(token) for token in PROMPT]
    texts, begin = [], time.process_time()
    extract, frames = model.feature_extractor, model.feature_extractor.nb_max_frames
    for i in range(0, len(sounds), BATCH):
        part = sounds[i : i + BATCH]
        features = np.stack([pad_or_trim(extract(s, padding=0), frames) for s in part])
        results = model.model.generate(
            model.encode(features), [prompt] * len(part), beam_size=1, max_length=256
        )
        texts += [model.hf_tokenizer.decode(r.sequences_ids[0]) for r in results]
    return texts, time.process_time() - begin


def hear(model: WhisperModel, trial: Trial) -> Result:
    """Speak a trial and let `model` write down those sentences that fit into the window."""
    spoken = zip(trial.texts, speak(trial, seed=5), strict=True)
    kept = [(text, sound) for text, sound in spoken if len(sound) <= WINDOW_S * RATE]
    heard, cpu = decode(model, [sound for _, sound in kept])
    seconds = sum(len(sound) for _, sound in kept) / RATE
    return Result([text for text, _ in kept], heard, seconds, cpu)


def trials() -> list[Trial]:
    """What the card reports on."""
    host = [t for t in host_sentences() if len(t) <= MOST_CHARACTERS]
    runs = [t for t in word_runs(300, random.Random(99)) if len(t) <= MOST_CHARACTERS]
    return [
        Trial("host_heldout_voices", host),
        Trial("host_heldout_voices_f5_m5", host, ("f5", "m5")),
        Trial("host_heldout_voices_noisy", host, noisy=True),
        Trial("word_runs_heldout_voices", runs),
    ]


def without_speech() -> dict[str, list[Sound]]:
    """Sounds that have no text."""
    rng = np.random.default_rng(99)
    return {
        "silence": [np.zeros(int(s * RATE), np.float32) for s in rng.uniform(1, 10, 50)],
        "noise": [noise(s, rng) for s in rng.uniform(1, 10, 100)],
        "music": [music(s, rng) for s in rng.uniform(2, 10, 100)],
    }


def main() -> None:
    """Print one JSON object with every figure, after the examples asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--show", type=int, default=0, help="so many examples of each kind")
    args = parser.parse_args()
    model = WhisperModel(str(args.weights), device="cpu", compute_type="int8", cpu_threads=1)
    figures: dict[str, float] = {}
    results = []
    for trial in trials():
        result = hear(model, trial)
        results.append(result)
        figures[f"cer_{trial.name}"] = round(result.error_rate, 4)
        for truth, heard in list(zip(result.truth, result.heard, strict=True))[: args.show]:
            print(truth, heard, sep="\n", end="\n\n")
    for name, sounds in without_speech().items():
        heard, _ = decode(model, sounds)
        figures[f"{name}_with_text"] = sum(bool(t) for t in heard) / len(heard)
    spent = sum(r.cpu_seconds for r in results)
    figures["times_real_time_one_core"] = round(sum(r.seconds for r in results) / spent, 1)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
