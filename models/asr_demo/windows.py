"""Training windows from shards: packing, pauses, levels, noise, music, and empty windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from espeak import syllables
from numpy.typing import NDArray
from sentences import host_pairs, pairs
from sound import FLOOR, log_mel, music, noise
from timing import FRAMES_PER_S, MAX_FRAMES
from vocabulary import SPECIALS, TIMESTAMPS, characters, syllable_table

_CHARACTERS = {c: i for i, c in enumerate(characters())}
_BASE = len(_CHARACTERS)
SPECIAL = {name: _BASE + i for i, name in enumerate(SPECIALS)}
EOT, SOT = SPECIAL["<|endoftext|>"], SPECIAL["<|startoftranscript|>"]
NO_TIMES, NO_SPEECH = SPECIAL["<|notimestamps|>"], SPECIAL["<|nospeech|>"]
FIRST_TIME = _BASE + len(SPECIALS)
VOCABULARY = FIRST_TIME + len(TIMESTAMPS)
_SYLLABLES = syllable_table()
SYLLABLES = len(_SYLLABLES)

#: Few lengths: every new matrix shape costs PyTorch on a CPU seconds of preparation (4.3 s a step
#: instead of 1.1 s).
LENGTHS, LENGTH_SHARES = (200, 320, 400, MAX_FRAMES), (0.2, 0.25, 0.25, 0.3)
#: The first batches are short and nearly clean: alignments are found on those, not on ten noisy
#: seconds.
EASY_BATCHES = 400
#: Shares of windows that have noise or music under them.
BACKGROUND_EASY, BACKGROUND_SPOKEN, BACKGROUND_EMPTY = 0.15, 0.45, 0.8
#: How far the loudest frame of the background lies below that of speech, log10 power: 7 to 40 dB.
BACKGROUND_BELOW = (0.7, 4.0)
#: Loudest frame of a background without speech, log10 power. Quiet ones alone would teach that
#: whatever is loud is speech.
BACKGROUND_ALONE = (-3.0, 2.0)
#: Shares of windows of which a band, or a stretch, is covered up.
MASKED_BAND, MASKED_STRETCH = 0.3, 0.2


@dataclass(frozen=True, slots=True)
class Batch:
    """mel [B, 80, T] float32; tokens [B, L] int64, −1 where nothing is learned.

    `syllables` are the CTC labels of all rows, flat, and `syllable_counts` [B] how many each has.
    `frames` [B, T / 2] int64 is a flat start: the syllables of a sentence spread evenly over it, 0
    between sentences.
    """

    mel: NDArray[np.float32]
    tokens: NDArray[np.int64]
    syllables: NDArray[np.int64]
    syllable_counts: NDArray[np.int64]
    frames: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """One row of a batch."""

    mel: NDArray[np.float32]
    tokens: list[int]
    labels: NDArray[np.int64]
    frames: NDArray[np.int64]


class Talk:
    """A window while sentences are put into it, one after the other."""

    def __init__(self, frames: int, room: int, start: int) -> None:
        self.mel = np.full((frames, 80), FLOOR, np.float32)
        self.flat = np.zeros(frames, np.int64)
        self.room = room
        """Frames that may hold sound; silence follows."""
        self.at = start
        """Where the next sentence begins."""
        self.begin = self.end = start
        """Where the first sentence begins and the last one ends."""
        self.ids: list[int] = []
        self.labels: list[NDArray[np.int64]] = []

    def fits(self, frames: int, tokens: int) -> bool:
        """Whether a sentence of so many frames and tokens may come next."""
        return self.at + frames <= self.room - 2 and len(self.ids) + tokens <= 88

    def make_room(self, frames: int) -> None:
        """Open the whole window to a first sentence of so many frames."""
        self.room = len(self.mel)
        self.begin = self.at = min(self.at, self.room - 3 - frames)

    def add(
        self, sound: NDArray[np.float32], tokens: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        """Append a sentence: log-mel [n, 80], its token ids and its syllable labels."""
        self.end = self.at + len(sound)
        self.mel[self.at : self.end] = sound
        evenly = np.arange(len(sound)) * len(labels) // len(sound)
        self.flat[self.at : self.end] = labels[evenly]
        self.ids.extend(tokens.tolist())
        self.labels.append(labels)
        self.at = self.end


class Shards:
    """Sentences of every finished shard in a folder; new ones are taken in by `refresh`.

    With `mostly_host`, at most three of ten are such that few of their pairs of characters occur in
    host talk, as in random word runs.
    """

    def __init__(self, folder: Path, *, mostly_host: bool = False) -> None:
        self._folder, self._seen = folder, set[Path]()
        self._host = host_pairs() if mostly_host else None
        self._frames: list[NDArray[np.float16]] = []
        self._index: list[tuple[int, int, int, NDArray[np.int64], NDArray[np.int64]]] = []
        self.refresh()

    def refresh(self) -> None:
        """Take in shards that were finished since."""
        for path in sorted(self._folder.glob("*.npy")):
            if path in self._seen or path.name.count(".") > 1:
                continue
            self._seen.add(path)
            ends = np.load(path.with_suffix(".ends.npy"))
            texts = path.with_suffix(".txt").read_text(encoding="utf8").split("\n")
            number = len(self._frames)
            self._frames.append(np.load(path, mmap_mode="r"))
            for start, end, text in zip(np.r_[0, ends[:-1]], ends, texts, strict=True):
                labels = [_SYLLABLES.get(s, 0) for s in syllables(text)]
                if self._wanted(text, labels):
                    ids = np.array([_CHARACTERS[c] for c in text])
                    self._index.append((number, int(start), int(end), ids, np.array(labels)))

    def _wanted(self, text: str, labels: list[int]) -> bool:
        if self._host is not None and len(self._index) % 10 >= 3:
            met = pairs(text)
            if sum(pair in self._host for pair in met) < 0.45 * len(met):
                return False
        known = all(c in _CHARACTERS for c in text) and 0 not in labels
        return known and len(labels) == len(text)

    def __len__(self) -> int:
        return len(self._index)

    def pick(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """(log-mel [n, 80], token ids, syllable labels) of one sentence."""
        number, start, end, ids, labels = self._index[i]
        return self._frames[number][start:end].astype(np.float32), ids, labels


class Backgrounds:
    """Log-mel frames of a few minutes of noise and of music to cut from."""

    def __init__(self, rng: np.random.Generator, pieces: int = 60) -> None:
        self._noise = [log_mel(noise(12, rng)) for _ in range(pieces)]
        self._music = [log_mel(music(12, rng)) for _ in range(pieces)]

    def cut(self, frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Noise or music, `frames` long, with its loudest frame at 0."""
        pieces = self._noise if rng.random() < 0.55 else self._music
        piece = pieces[rng.integers(len(self._noise))]
        at = rng.integers(0, len(piece) - frames + 1)
        part = piece[at : at + frames]
        return part - part.max()


class Windows:
    """Endless batches of windows; every epoch packs, mixes and levels anew."""

    def __init__(self, shards: Shards, seed: int, easy_batches: int = EASY_BATCHES) -> None:
        self._shards, self._rng = shards, np.random.default_rng(seed)
        self._easy_batches = easy_batches
        self._backgrounds = Backgrounds(self._rng)
        self._order: list[int] = []
        self._made = 0

    def _next(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        if not self._order:
            self._shards.refresh()
            self._order = self._rng.permutation(len(self._shards)).tolist()
        return self._shards.pick(self._order.pop())

    def batch(self, frames_per_batch: int) -> Batch:
        """Windows of one length, as many as make up about `frames_per_batch` frames."""
        rng = self._rng
        self._made += 1
        frames = LENGTHS[0] if self._easy else int(rng.choice(LENGTHS, p=LENGTH_SHARES))
        rows = [self._window(frames) for _ in range(frames_per_batch // frames)]
        length = max(len(row.tokens) for row in rows) // 16 * 16 + 17
        padded = np.full((len(rows), length), -1, np.int64)
        for line, row in zip(padded, rows, strict=True):
            line[: len(row.tokens)] = row.tokens
        return Batch(
            np.stack([row.mel for row in rows]).transpose(0, 2, 1),
            padded,
            np.concatenate([row.labels for row in rows]),
            np.array([len(row.labels) for row in rows]),
            np.stack([row.frames[::2] for row in rows]),
        )

    @property
    def _easy(self) -> bool:
        return self._made <= self._easy_batches

    def _window(self, frames: int) -> Window:
        rng = self._rng
        room = frames if rng.random() < 0.7 else int(rng.integers(frames // 3, frames + 1))
        talk = Talk(frames, room, start=int(rng.integers(2, 26)))
        most = self._most_sentences()
        level = rng.uniform(-2.2, 0.3)
        self._fill(talk, most, level)
        sounding = talk.room
        if talk.labels:
            sounding = min(talk.room, talk.end + int(rng.integers(2, 26)))
        found = np.concatenate(talk.labels) if talk.labels else np.empty(0, np.int64)
        mel = self._finish(talk, sounding, level)
        return Window(mel, self._target(talk), found, talk.flat)

    def _most_sentences(self) -> int:
        """How many sentences a window may hold: none at times, often one, else what fits."""
        if self._rng.random() < 0.10:
            return 0
        return 1 if self._easy or self._rng.random() < 0.2 else 9

    def _fill(self, talk: Talk, most: int, level: float) -> None:
        """Put sentences with pauses into `talk` until it is full or has `most`."""
        rng = self._rng
        while len(talk.labels) < most:
            sound, tokens, labels = self._next()
            if not talk.fits(len(sound), len(tokens)):
                if talk.labels:
                    return
                if len(sound) > len(talk.mel) - 30:
                    if len(talk.mel) == LENGTHS[0]:
                        continue  # too long for the shortest window: take another
                    return
                talk.make_room(len(sound))
            talk.add(sound + level + rng.normal(0, 0.1), tokens, labels)
            talk.at += int(rng.choice([rng.integers(3, 12), rng.integers(10, 40)]))

    def _finish(self, talk: Talk, end: int, level: float) -> NDArray[np.float32]:
        """Mix, normalise like Whisper over the sounding part, pad with zeros as inference does."""
        rng, mel = self._rng, talk.mel
        part = mel[:end]
        power = 10.0**part
        if rng.random() < self._background_share(talk):
            background = self._backgrounds.cut(end, rng)
            power += 10.0 ** (background + self._background_peak(talk, part, level))
        if rng.random() < 0.7:
            power += 10.0 ** rng.uniform(-9, -5.5)
        part = np.log10(np.maximum(power, 1e-10))
        if rng.random() < 0.15:
            part[:, : int(rng.integers(0, 8))] -= 3
            part[:, 80 - int(rng.integers(0, 30)) :] -= 4
        top = float(part.max()) + (rng.uniform(0, 0.8) if rng.random() < 0.2 else 0.0)
        part = (np.maximum(np.maximum(part, FLOOR), top - 8.0) + 4.0) / 4.0
        if not self._easy:
            self._mask(part)
        mel[:end], mel[end:] = part, 0.0
        return mel

    def _background_peak(self, talk: Talk, part: NDArray[np.float32], level: float) -> float:
        """Log10 power of the background's loudest frame; alone, it is as loud as speech may be."""
        if not talk.labels:
            return float(self._rng.uniform(*BACKGROUND_ALONE))
        below = self._rng.uniform(*BACKGROUND_BELOW)
        return max(float(part.max()), -3.0 + level) - float(below)

    def _background_share(self, talk: Talk) -> float:
        if self._easy:
            return BACKGROUND_EASY
        return BACKGROUND_SPOKEN if talk.labels else BACKGROUND_EMPTY

    def _mask(self, part: NDArray[np.float32]) -> None:
        """SpecAugment: one band, one short stretch."""
        rng, mean = self._rng, float(part.mean())
        if rng.random() < MASKED_BAND:
            at = int(rng.integers(0, 70))
            part[:, at : at + int(rng.integers(1, 11))] = mean
        if rng.random() < MASKED_STRETCH:
            at = int(rng.integers(0, max(1, len(part) - 6)))
            part[at : at + int(rng.integers(1, 4))] = mean

    def _target(self, talk: Talk) -> list[int]:
        """Prompt, text and end, one in four with the times of the first and the last frame."""
        if not talk.ids:
            # Nothing follows either prompt; train.py adds that the first token says so.
            return [SOT, NO_TIMES if self._rng.random() < 0.85 else FIRST_TIME, EOT]
        if self._rng.random() < 0.25:
            first, last = (
                FIRST_TIME + round(f / FRAMES_PER_S / 0.02) for f in (talk.begin, talk.end)
            )
            return [SOT, first, *talk.ids, last, EOT]
        return [SOT, NO_TIMES, *talk.ids, EOT]
