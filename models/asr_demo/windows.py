"""Training windows: packing, pauses, levels, noise, music, empty ones, and text without sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from espeak import syllables
from lexicon import Lexicon
from numpy.typing import NDArray
from sentences import Text
from slips import Slips
from sound import FLOOR, log_mel, music, noise
from timing import FRAMES_PER_S, MAX_FRAMES, MELS
from vocabulary import SPECIALS, TIMESTAMPS, characters, syllable_table
from voices import other_voice

_CHARACTERS = {c: i for i, c in enumerate(characters())}
_BASE = len(_CHARACTERS)
SPECIAL = {name: _BASE + i for i, name in enumerate(SPECIALS)}
EOT, SOT = SPECIAL["<|endoftext|>"], SPECIAL["<|startoftranscript|>"]
NO_TIMES, NO_SPEECH = SPECIAL["<|notimestamps|>"], SPECIAL["<|nospeech|>"]
FIRST_TIME = _BASE + len(SPECIALS)
VOCABULARY = FIRST_TIME + len(TIMESTAMPS)
_SYLLABLES = syllable_table()
#: Syllables with tone and the 0 of no speech.
SYLLABLES = len(_SYLLABLES) + 1

#: Few lengths: every new matrix shape costs PyTorch on a CPU seconds of preparation (4.3 s a step
#: instead of 1.1 s).
LENGTHS, LENGTH_SHARES = (200, 320, 400, MAX_FRAMES), (0.2, 0.25, 0.25, 0.3)
#: Encoder positions of a syllable are told apart: its first, its second, any later one.
PHASES = 3
#: Share of the sentences that are read only which are runs of the dictionary's words.
READ_RUNS = 0.5
#: Windows that are only read are made so many batches at a time and sorted by their length: a batch
#: costs what its longest window does.
SORTED_BATCHES = 8
#: After so many sentences the written text is read from its files again.
READ_AGAIN = 10_000
#: Shares of windows that have noise or music under them.
BACKGROUND_SPOKEN, BACKGROUND_EMPTY = 0.4, 0.8
#: How far the loudest frame of the background lies below that of speech, log10 power: 7 to 40 dB.
BACKGROUND_BELOW = (0.7, 4.0)
#: Loudest frame of a background without speech, log10 power. Quiet ones alone would teach that
#: whatever is loud is speech.
BACKGROUND_ALONE = (-3.0, 2.0)
#: Shares of windows of which a band, or a stretch, is covered up.
MASKED_BAND, MASKED_STRETCH = 0.3, 0.2


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one length: T frames, P = T / 2 encoder positions."""

    mel: NDArray[np.float32]
    """[B, MELS, T]; of text without sound, [B, MELS, 0]."""
    tokens: NDArray[np.int64]
    """[B, L], −1 where nothing is learned."""
    spoken: NDArray[np.int64]
    """[B, P] which syllable is spoken, times PHASES, plus its phase; 0 between sentences."""
    words: NDArray[np.int64]
    """[B, L] number of the lexicon's word that each token is of, or −1."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A spoken sentence, or one that is only read."""

    mel: NDArray[np.float32]
    """log-mel [n, MELS]; [0, MELS] when only read."""
    frames: int
    starts: NDArray[np.int64]
    """Frame at which each character begins."""
    tokens: NDArray[np.int64]
    syllables: NDArray[np.int64]
    """Labels of syllable_table()."""
    words: NDArray[np.int64]
    """Number of the lexicon's word that each character is of, or −1."""


class Talk:
    """A window while sentences are put into it, one after the other."""

    def __init__(self, frames: int, room: int, start: int) -> None:
        self.frames = frames
        self.mel = np.full((frames, MELS), FLOOR, np.float32)
        self.spoken = np.zeros(frames // 2, np.int64)
        self.room = room
        """Frames that may hold sound; silence follows."""
        self.at = start
        """Where the next sentence begins."""
        self.begin = self.end = start
        """Where the first sentence begins and the last one ends."""
        self.ids: list[int] = []
        self.words: list[int] = []

    def fits(self, sentence: Sentence) -> bool:
        """Whether a sentence may come next."""
        roomy = self.at + sentence.frames <= self.room - 2
        return roomy and len(self.ids) + len(sentence.tokens) <= 88

    def make_room(self, sentence: Sentence) -> None:
        """Open the whole window to a first sentence."""
        self.room = self.frames
        self.begin = self.at = min(self.at, self.room - 3 - sentence.frames)

    def add(self, sentence: Sentence, level: float) -> None:
        """Append a sentence, its sound raised by `level` (log10 power)."""
        self.end = self.at + sentence.frames
        if len(sentence.mel):
            self.mel[self.at : self.end] = sentence.mel + level
        edges = np.append(self.at + sentence.starts, self.end) // 2
        for label, first, end in zip(sentence.syllables, edges, edges[1:], strict=False):
            phases = np.minimum(np.arange(max(1, end - first)), PHASES - 1)
            self.spoken[first : first + len(phases)] = label * PHASES + phases
        self.ids.extend(sentence.tokens.tolist())
        self.words.extend(sentence.words.tolist())
        self.at = self.end


class Shards:
    """Sentences of every finished shard in a folder; new ones are taken in by `refresh`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seen = folder, set[Path]()
        self._frames: list[NDArray[np.float16]] = []
        self._index: list[tuple[int, int, int, NDArray[np.int64], str]] = []
        self.refresh()

    def refresh(self) -> None:
        """Take in shards that were finished since."""
        for path in sorted(self._folder.glob("*.npy")):
            if path in self._seen or path.name.count(".") > 1:
                continue
            self._seen.add(path)
            ends = np.load(path.with_suffix(".ends.npy"))
            texts = path.with_suffix(".txt").read_text(encoding="utf8").split("\n")
            begun = np.load(path.with_suffix(".starts.npy")).astype(np.int64)
            cuts = np.cumsum([len(text) for text in texts])[:-1]
            number = len(self._frames)
            self._frames.append(np.load(path, mmap_mode="r"))
            rows = zip(np.r_[0, ends[:-1]], ends, np.split(begun, cuts), texts, strict=True)
            for first, end, starts, text in rows:
                if all(c in _CHARACTERS for c in text):
                    self._index.append((number, int(first), int(end), starts, text))

    def __len__(self) -> int:
        return len(self._index)

    def pick(self, i: int) -> Sentence:
        """Sentence `i`."""
        number, first, end, starts, text = self._index[i]
        mel = self._frames[number][first:end].astype(np.float32)
        return Sentence(mel, end - first, starts, *labels(text), np.full(len(text), -1))


def labels(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(token ids, syllable labels) of a text whose characters are all in the vocabulary."""
    ids = np.array([_CHARACTERS[c] for c in text])
    return ids, np.array([_SYLLABLES.get(s, 0) for s in syllables(text)])


class Reading:
    """Endless sentences of the training text without sound, at a random pace."""

    def __init__(self, seed: int, lexicon: Lexicon) -> None:
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._text, self._left = Text(seed), READ_AGAIN
        self._lexicon, self._slips = lexicon, Slips()
        self._drawn: list[int] = []

    def sentence(self) -> Sentence:
        """The next sentence whose characters and syllables are all known."""
        rng = self._rng
        ids, spoken, words = self._run() if rng.random() < READ_RUNS else self._talk()
        pace = rng.uniform(5, 12) * rng.lognormal(0, 0.25, len(ids))
        ends = np.cumsum(np.maximum(4, pace)).astype(np.int64)
        mel, starts = np.empty((0, MELS), np.float32), np.r_[0, ends[:-1]]
        return Sentence(mel, int(ends[-1]), starts, ids, self._slips.slip(spoken, rng), words)

    def _talk(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        while True:
            self._left -= 1
            if not self._left:
                self._seed, self._left = self._seed + 1, READ_AGAIN
                self._text = Text(self._seed)
            text = self._text.talk()
            if not all(c in _CHARACTERS for c in text):
                continue
            ids, spoken = labels(text)
            if len(spoken) == len(ids) and spoken.all():
                return ids, spoken, np.full(len(ids), -1)

    def _run(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Two to eight words, the harder the more often."""
        if len(self._drawn) < 8:
            self._drawn = self._lexicon.draw(4000, self._rng).tolist()
        run = [self._drawn.pop() for _ in range(self._rng.integers(2, 9))]
        tokens = [self._lexicon.tokens[word] for word in run]
        numbers = np.repeat(run, [len(ids) for ids in tokens])
        said = np.concatenate([self._lexicon.syllables[word] for word in run])
        return np.concatenate(tokens)[:24], said[:24], numbers[:24]


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


@dataclass(frozen=True, slots=True)
class _Row:
    """One window of a batch."""

    mel: NDArray[np.float32]
    tokens: list[int]
    spoken: NDArray[np.int64]
    words: list[int]


def _stacked(rows: list[_Row], step: int = 16) -> Batch:
    # A batch is as long as its longest row, rounded up; the network sees one token less.
    length = -(-(max(len(row.tokens) for row in rows) - 1) // step) * step + 1
    tokens, words = np.full((2, len(rows), length), -1, np.int64)
    for row, line, numbers in zip(rows, tokens, words, strict=True):
        line[: len(row.tokens)] = row.tokens
        numbers[2 : 2 + len(row.words)] = row.words
    mel = np.stack([row.mel for row in rows]).transpose(0, 2, 1)
    return Batch(mel, tokens, np.stack([row.spoken for row in rows]), words)


class Windows:
    """Endless batches of windows; every epoch packs, mixes and levels anew."""

    def __init__(self, shards: Shards, seed: int, lexicon: Lexicon) -> None:
        self._shards, self._rng = shards, np.random.default_rng(seed)
        self._backgrounds, self._reading = Backgrounds(self._rng), Reading(seed, lexicon)
        self._order: list[int] = []

    def _next(self) -> Sentence:
        if not self._order:
            self._shards.refresh()
            self._order = self._rng.permutation(len(self._shards)).tolist()
        sentence = self._shards.pick(self._order.pop())
        return replace(sentence, mel=other_voice(sentence.mel, self._rng))

    def batch(self, frames_per_batch: int) -> Batch:
        """Windows of one length, as many as make up about `frames_per_batch` frames."""
        frames = int(self._rng.choice(LENGTHS, p=LENGTH_SHARES))
        return _stacked([self._heard(frames) for _ in range(frames_per_batch // frames)])

    def readings(self, frames_per_batch: int) -> list[Batch]:
        """Some batches of text without sound, of one length, each of windows with as much text."""
        frames = int(self._rng.choice(LENGTHS, p=LENGTH_SHARES))
        count = frames_per_batch // frames
        rows = [self._read(frames) for _ in range(SORTED_BATCHES * count)]
        rows.sort(key=lambda row: len(row.tokens))
        starts = self._rng.permutation(SORTED_BATCHES) * count
        return [_stacked(rows[at : at + count], step=8) for at in starts]

    def _heard(self, frames: int) -> _Row:
        rng = self._rng
        talk = self._talk(frames)
        level = rng.uniform(-2.2, 0.3)
        self._fill(talk, self._most_sentences(), level)
        sounding = min(talk.room, talk.end + int(rng.integers(2, 26))) if talk.ids else talk.room
        mel = self._finish(talk, sounding, level)
        return _Row(mel, self._target(talk), talk.spoken, talk.words)

    def _read(self, frames: int) -> _Row:
        # Full windows: half-empty ones cost as much and teach half.
        talk = Talk(frames, frames, start=int(self._rng.integers(2, 26)))
        while not talk.ids:
            self._fill(talk, 9, 0.0, only_read=True)
        mel = np.empty((0, MELS), np.float32)
        return _Row(mel, self._target(talk), talk.spoken, talk.words)

    def _talk(self, frames: int) -> Talk:
        rng = self._rng
        room = frames if rng.random() < 0.7 else int(rng.integers(frames // 3, frames + 1))
        return Talk(frames, room, start=int(rng.integers(2, 26)))

    def _most_sentences(self) -> int:
        """How many sentences a window may hold: none at times, often one, else what fits."""
        if self._rng.random() < 0.10:
            return 0
        return 1 if self._rng.random() < 0.2 else 9

    def _fill(self, talk: Talk, most: int, level: float, *, only_read: bool = False) -> None:
        """Put sentences with pauses into `talk` until it is full or has `most`."""
        rng, added = self._rng, 0
        while added < most:
            sentence = self._reading.sentence() if only_read else self._next()
            if not talk.fits(sentence):
                if talk.ids:
                    return
                if sentence.frames > talk.frames - 30:
                    continue  # too long for this window: take another
                talk.make_room(sentence)
            talk.add(sentence, level + rng.normal(0, 0.1))
            added += 1
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
            part[:, : int(rng.integers(0, MELS // 10))] -= 3
            part[:, MELS - int(rng.integers(0, MELS // 3)) :] -= 4
        top = float(part.max()) + (rng.uniform(0, 0.8) if rng.random() < 0.2 else 0.0)
        part = (np.maximum(np.maximum(part, FLOOR), top - 8.0) + 4.0) / 4.0
        self._mask(part)
        mel[:end], mel[end:] = part, 0.0
        return mel

    def _background_peak(self, talk: Talk, part: NDArray[np.float32], level: float) -> float:
        """Log10 power of the background's loudest frame; alone, it is as loud as speech may be."""
        if not talk.ids:
            return float(self._rng.uniform(*BACKGROUND_ALONE))
        below = self._rng.uniform(*BACKGROUND_BELOW)
        return max(float(part.max()), -3.0 + level) - float(below)

    def _background_share(self, talk: Talk) -> float:
        return BACKGROUND_SPOKEN if talk.ids else BACKGROUND_EMPTY

    def _mask(self, part: NDArray[np.float32]) -> None:
        """SpecAugment: one band, one short stretch."""
        rng, mean = self._rng, float(part.mean())
        if rng.random() < MASKED_BAND:
            at = int(rng.integers(0, MELS - 10))
            part[:, at : at + int(rng.integers(1, 16))] = mean
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
