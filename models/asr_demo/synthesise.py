"""Make one shard of spoken sentences: log-mel frames and their text. make_shards.py makes many.

python synthesise.py WORK/shards/s001 --seed 1
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import jieba
import numpy as np
from espeak import Espeak, Voice, syllables
from numpy.typing import NDArray
from sentences import Text
from sound import RATIOS, distort, log_mel, to_16k

#: Variants of espeak-ng; whispers, robots and the klatt ones are left out. `rob` makes libespeak-ng
#: 1.51 crash on some sentences; it stays, because the sound of a seed depends on this list.
# fmt: off
VOICES = (
    "", "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "Alex", "Alicia",
    "Andrea", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Mario", "Michael", "adam", "anika", "aunty", "belinda", "benjamin", "boris", "caleb",
    "croak", "david", "ed", "edward", "gustave", "iven", "john", "linda", "max", "michel",
    "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "steph",
    "steph2", "travis", "victor", "zac",
)
# fmt: on
#: Never heard in training; scoring uses these.
HELD_OUT_VOICES = ("f5", "m5", "Andy", "Gene2", "shelby", "grandma", "marcelo")
#: Short names: espeak-ng's plain voice, f1 to f4, m1 to m8, and ed. Half of the sentences.
STANDARD_VOICES = tuple(v for v in VOICES if len(v) <= 2)


def voice(rng: random.Random, names: tuple[str, ...] = VOICES) -> Voice:
    """A random voice; half of them standard ones."""
    common = [v for v in names if v in STANDARD_VOICES]
    name = rng.choice(common) if common and rng.random() < 0.5 else rng.choice(names)
    return Voice(name, int(rng.triangular(140, 270, 200)), rng.randint(15, 85), rng.randint(20, 80))


def spoken(text: str, rng: random.Random) -> list[str]:
    """Pinyin as espeak-ng gets it: one syllable a word, at times joined to the words of jieba."""
    if rng.random() < 0.75:
        return syllables(text)
    return ["".join(syllables(word)) for word in jieba.cut(text, HMM=False)]


def shard(
    seed: int, sentences: int, names: tuple[str, ...] = VOICES
) -> tuple[NDArray[np.float16], NDArray[np.int64], list[str]]:
    """(frames [sum, 80], ends [sentences], texts)."""
    rng, np_rng = random.Random(seed), np.random.default_rng(seed)
    text, engine = Text(seed), Espeak()
    frames: list[NDArray[np.float16]] = []
    texts: list[str] = []
    while len(texts) < sentences:
        sentence = text.sentence()
        ratio = RATIOS[0] if rng.random() < 0.6 else rng.choice(RATIOS)
        sound = engine.say(spoken(sentence, rng), voice(rng, names))
        if len(sound) < 2000:
            continue
        frames.append(log_mel(distort(0.5 * to_16k(sound, ratio), np_rng)).astype(np.float16))
        texts.append(sentence)
    return np.concatenate(frames), np.cumsum([len(f) for f in frames]), texts


def main() -> None:
    """Write OUT.npy (frames), OUT.ends.npy and OUT.txt."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=5000)
    parser.add_argument("--standard-voices", action="store_true", help="only those, after a crash")
    args = parser.parse_args()
    names = STANDARD_VOICES if args.standard_voices else VOICES
    frames, ends, texts = shard(args.seed, args.sentences, names)
    np.save(args.out.with_suffix(".ends.npy"), ends)
    args.out.with_suffix(".txt").write_text("\n".join(texts), encoding="utf8")
    temporary = args.out.with_suffix(".part.npy")
    np.save(temporary, frames)
    # It appears whole, so that a running training can take it.
    temporary.rename(args.out.with_suffix(".npy"))


if __name__ == "__main__":
    main()
