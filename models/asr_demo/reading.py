"""Text without sound for the decoder: what the encoder would have said of it.

The decoder learns which characters a row of syllables means, and for that a hundred times as much
text is wanted as can be spoken and encoded. The encoder is trained to name the syllable of every
position, so its output is, roughly, one vector a syllable plus what the sound and the place add.
Both parts are taken from windows that were really heard.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vocabulary import syllable_table
from windows import PHASES, SYLLABLES

#: Share of the sums that is kept from one batch to the next.
KEEP = 0.995
#: A syllable heard so often counts half as itself, half as the sum of its sounds and its tone.
PRIOR = 4.0
#: Share of what a window had besides, other than what its place had, that goes into imagined ones.
#: In full it drowns some syllables, and from those nothing is learned.
BESIDES = 0.7


def sounds_and_tones() -> tuple[list[int], list[int]]:
    """(sounds without tone, tone) of every syllable label; (0, 0) of no speech."""
    bases: dict[str, int] = {}
    sounds, tones = [0], [0]
    for syllable in syllable_table():
        sounds.append(bases.setdefault(syllable[:-1], len(bases) + 1))
        tones.append(int(syllable[-1]))
    return sounds, tones


class Recall:
    """Running means of the encoder's output by syllable and phase, and what it had besides."""

    def __init__(self, width: int, device: str) -> None:
        sounds, tones = (torch.tensor(x, device=device) for x in sounds_and_tones())
        phase = torch.arange(PHASES, device=device)
        self._sound = (sounds[:, None] * PHASES + phase).flatten()
        self._tone = (tones[:, None] * PHASES + phase).flatten()
        # No speech is no example of what syllables have in common.
        self._phase = torch.cat([phase + PHASES, phase.repeat(SYLLABLES - 1)])
        self._sums = torch.zeros(SYLLABLES * PHASES, width, device=device)
        self._counts = torch.zeros(SYLLABLES * PHASES, 1, device=device)
        self._besides: dict[int, Tensor] = {}
        self._places: dict[int, Tensor] = {}

    def hear(self, memory: Tensor, spoken: Tensor) -> None:
        """Take in what the encoder gave, [B, P, width], where [B, P] was spoken."""
        rows, classes = memory.detach().float().flatten(0, 1), spoken.flatten()
        self._sums.mul_(KEEP).index_add_(0, classes, rows)
        self._counts.mul_(KEEP).index_add_(0, classes, torch.ones_like(rows[:, :1]))
        besides = (rows - self._means()[classes]).view_as(memory)
        length = memory.shape[1]
        place = self._places.setdefault(length, besides.mean(0))
        self._places[length] = place = place.lerp(besides.mean(0), 0.1)
        self._besides[length] = place + BESIDES * (besides - place)

    def knows(self, spoken: Tensor) -> bool:
        """Whether windows as long as [B, P] were heard yet."""
        return spoken.shape[1] in self._besides

    def imagine(self, spoken: Tensor) -> Tensor:
        """What the encoder might give for [B, P]: [B, P, width]."""
        besides = self._besides[spoken.shape[1]]
        rows = torch.randint(len(besides), (len(spoken),), device=spoken.device)
        return self._means()[spoken] + besides[rows]

    def _means(self) -> Tensor:
        sound, tone, every = map(self._shared, (self._sound, self._tone, self._phase))
        guess = sound + tone - every
        return (self._sums + PRIOR * guess) / (self._counts + PRIOR)

    def _shared(self, group: Tensor) -> Tensor:
        """Mean over all classes of the same group, for each class."""
        groups = int(group.max()) + 1
        shape = (groups, self._sums.shape[1])
        sums = self._sums.new_zeros(shape).index_add_(0, group, self._sums)
        counts = self._counts.new_zeros(groups, 1).index_add_(0, group, self._counts)
        return (sums / counts.clamp_min(1e-3))[group]
