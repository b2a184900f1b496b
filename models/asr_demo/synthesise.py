"""Make one shard of spoken sentences: log-mel frames and their text. make_shards.py makes many.

python synthesise.py WORK/shards/s001 --seed 1
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from espeak import Espeak, Voice, syllables
from numpy.typing import NDArray
from sentences import Text
from sound import RATIOS, distort, log_mel, to_16k
from timing import HOP

#: Variants of espeak-ng; whispers, robots and the klatt ones are left out, and `rob`, which makes
#: libespeak-ng 1.51 crash on some sentences.
# fmt: off
VOICES = (
    "", "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "Alex", "Alicia",
    "Andrea", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Mario", "Michael", "adam", "anika", "aunty", "belinda", "benjamin", "boris", "caleb",
    "croak", "david", "ed", "edward", "gustave", "iven", "john", "linda", "max", "michel",
    "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "robert", "sandro", "steph",
    "steph2", "travis", "victor", "zac",
)
# fmt: on
#: Never heard in training; scoring uses these.
HELD_OUT_VOICES = ("f5", "m5", "Andy", "Gene2", "shelby", "grandma", "marcelo")
#: Short names: espeak-ng's plain voice, f1 to f4, m1 to m8, and ed. Half of the sentences.
STANDARD_VOICES = tuple(v for v in VOICES if len(v) <= 2)


def voice(rng: random.Random, names: tuple[str, ...] = VOICES) -> Voice:
    """A random voice; half of them standard ones.

    A melody below 45 moves too little: the four tones of a deep voice lie within 10 Hz.
    """
    common = [v for v in names if v in STANDARD_VOICES]
    name = rng.choice(common) if common and rng.random() < 0.5 else rng.choice(names)
    return Voice(name, int(rng.triangular(140, 270, 200)), rng.randint(18, 82), rng.randint(45, 75))


@dataclass(frozen=True, slots=True)
class Shard:
    """Spoken sentences, one after the other."""

    frames: NDArray[np.float16]
    """log-mel, [sum of all frames, MELS]."""
    ends: NDArray[np.int64]
    """Where each sentence ends in `frames`, [sentences]."""
    starts: NDArray[np.int16]
    """Frame of its sentence at which each character begins, [sum of all characters]."""
    texts: list[str]


def shard(seed: int, sentences: int, names: tuple[str, ...] = VOICES) -> Shard:
    """Speak so many sentences; those that espeak-ng cannot say are replaced by others."""
    rng, np_rng = random.Random(seed), np.random.default_rng(seed)
    text, engine = Text(seed), Espeak()
    frames: list[NDArray[np.float16]] = []
    starts: list[NDArray[np.int16]] = []
    texts: list[str] = []
    while len(texts) < sentences:
        sentence = text.sentence()
        ratio = RATIOS[0] if rng.random() < 0.7 else rng.choice(RATIOS)
        pinyin = syllables(sentence)
        if len(pinyin) != len(sentence):
            continue  # pypinyin passes letters on in one piece
        try:
            speech = engine.say(pinyin, voice(rng, names))
        except ValueError:
            continue
        if len(speech.sound) < 2000:
            continue
        sound = distort(0.5 * to_16k(speech.sound, ratio), np_rng)
        frames.append(log_mel(sound).astype(np.float16))
        starts.append((speech.starts * ratio[0] / ratio[1] / HOP).round().astype(np.int16))
        texts.append(sentence)
    ends = np.cumsum([len(f) for f in frames])
    return Shard(np.concatenate(frames), ends, np.concatenate(starts), texts)


def main() -> None:
    """Write OUT.npy (frames), OUT.ends.npy, OUT.starts.npy and OUT.txt."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=5000)
    parser.add_argument("--standard-voices", action="store_true", help="only those, after a crash")
    args = parser.parse_args()
    names = STANDARD_VOICES if args.standard_voices else VOICES
    made = shard(args.seed, args.sentences, names)
    np.save(args.out.with_suffix(".ends.npy"), made.ends)
    np.save(args.out.with_suffix(".starts.npy"), made.starts)
    args.out.with_suffix(".txt").write_text("\n".join(made.texts), encoding="utf8")
    temporary = args.out.with_suffix(".part.npy")
    np.save(temporary, made.frames)
    # It appears whole, so that a running training can take it.
    temporary.rename(args.out.with_suffix(".npy"))


if __name__ == "__main__":
    main()
