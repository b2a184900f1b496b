"""Which syllables the encoder may take for one another, for text that is read without sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pypinyin.contrib.tone_convert import to_finals, to_initials
from vocabulary import syllable_table

#: Shares of syllables whose tone, or whose sound, is another one.
TONE_SLIPS, SOUND_SLIPS = 0.05, 0.02
#: Beginnings, and endings, that sound alike.
_BEGINNINGS = ("bpdtgk", ["z", "c", "s", "zh", "ch", "sh"], "jqx", "mnlr", "fhw", ["", "y"])
_ENDINGS = {"ing": "in", "eng": "en", "ang": "an", "iang": "ian", "uang": "uan", "uo": "o"}


class Slips:
    """Random near misses of syllable labels."""

    def __init__(self) -> None:
        table = syllable_table()
        self._tones = _alike(table, lambda s: s[:-1])
        begins = _alike(table, lambda s: (_beginning(s), to_finals(s[:-1], strict=False), s[-1]))
        ends = _alike(table, lambda s: (to_initials(s[:-1], strict=False), _ending(s), s[-1]))
        self._sounds = {
            label: [x for x in (*begins[label], *ends[label]) if x != label] or [label]
            for label in table.values()
        }

    def slip(self, spoken: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """The labels, a few of them exchanged."""
        chance, result = rng.random(len(spoken)), spoken.copy()
        for i in np.flatnonzero(chance < TONE_SLIPS + SOUND_SLIPS):
            alike = self._tones if chance[i] < TONE_SLIPS else self._sounds
            result[i] = rng.choice(alike[spoken[i]])
        return result


def _alike(table: dict[str, int], key: Callable[[str], object]) -> dict[int, list[int]]:
    """Labels to all labels with the same key, itself among them."""
    groups: dict[object, list[int]] = {}
    for syllable, label in table.items():
        groups.setdefault(key(syllable), []).append(label)
    return {label: groups[key(syllable)] for syllable, label in table.items()}


def _beginning(syllable: str) -> object:
    initial = to_initials(syllable[:-1], strict=False)
    return next((n for n, group in enumerate(_BEGINNINGS) if initial in group), initial)


def _ending(syllable: str) -> str:
    final = to_finals(syllable[:-1], strict=False)
    return _ENDINGS.get(final, final)
