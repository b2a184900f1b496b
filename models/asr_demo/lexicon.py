"""The dictionary's words as the decoder meets them: how they sound, and which it still gets wrong.

Words are read in proportion to their weight in sentences.py times how often they come out wrong, so
that training dwells on what it does not know. Words that sound alike are counted together: to read
only the rarer one more often would teach that it is the commoner one.
"""

from __future__ import annotations

import numpy as np
import torch
from espeak import syllables
from numpy.typing import NDArray
from sentences import words
from vocabulary import characters, syllable_table

#: Share of its weight with which a word that never comes out wrong is still read.
KNOWN = 0.12
#: How much one more reading counts, and what a word unread is taken for.
NEWEST, UNREAD = 0.25, 0.5


class Lexicon:
    """Words of one to four characters that are all in the vocabulary."""

    def __init__(self) -> None:
        population, weights = words()["all"]
        ids = {c: i for i, c in enumerate(characters())}
        labels = syllable_table()
        said = [[labels.get(s, 0) for s in syllables(word)] for word in population]
        kept = [
            i
            for i, word in enumerate(population)
            if all(c in ids for c in word) and len(said[i]) == len(word) and all(said[i])
        ]
        self.tokens = [np.array([ids[c] for c in population[i]]) for i in kept]
        self.syllables = [np.array(said[i]) for i in kept]
        self._weights = np.array([weights[i] for i in kept])
        groups: dict[tuple[int, ...], int] = {}
        self._groups = np.array(
            [groups.setdefault(tuple(said[i]), len(groups)) for i in kept], np.int64
        )
        heaviest, sums = np.zeros(len(groups)), np.zeros(len(groups))
        np.maximum.at(heaviest, self._groups, self._weights)
        np.add.at(sums, self._groups, self._weights)
        self._unavoidable = 1 - heaviest / sums
        # Shared with the loader's process, which draws by what training notes.
        self._wrong = torch.full((len(groups),), UNREAD).share_memory_()

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """So many words, by number."""
        share = self.shares().cumsum()
        return np.searchsorted(share, rng.random(count) * share[-1])

    def shares(self) -> NDArray[np.float64]:
        """How often every word is drawn, up to a factor."""
        wrong = np.maximum(self._wrong.numpy() - self._unavoidable, 0)
        return self._weights * (KNOWN + wrong)[self._groups]

    def note(self, numbers: NDArray[np.int64], wrong: NDArray[np.bool_]) -> None:
        """Take in which characters came out wrong, and of which words they were."""
        group, place = np.unique(self._groups[numbers], return_inverse=True)
        share = np.bincount(place, wrong) / np.bincount(place)
        now = self._wrong.numpy()
        now[group] += NEWEST * (share - now[group])

    def error_rate(self) -> float:
        """Mean of how often words came out wrong lately, by weight."""
        return float(np.average(self._wrong.numpy()[self._groups], weights=self._weights))
