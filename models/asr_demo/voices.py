"""Other voices out of those espeak-ng has: formants and timbre moved in the log-mel frames.

Fifty-odd voices are few; moved anew every time a sentence is heard, they stand for more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from timing import MELS, RATE

#: Share of the sentences whose frequencies are stretched, and by how much at most.
STRETCHED, STRETCH = 0.5, 0.13
#: Share of the sentences whose spectrum is bent, at BENDS points by so much (log10 power).
BENT, BENDS, BEND = 0.4, 6, 0.35

_HERTZ = np.linspace(0, RATE / 2, 4097)


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear to 1 kHz, logarithmic above."""
    above = 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4)
    return np.where(hertz < 1000, hertz * 0.015, above)


_MELS = _mel(_HERTZ)
#: Middle of every band, Hz.
_BANDS = np.interp(np.linspace(0, _MELS[-1], MELS + 2)[1:-1], _MELS, _HERTZ)


def other_voice(mel: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The sentence [n, MELS] as another speaker, in another spectrum, might say it."""
    if rng.random() < STRETCHED:
        factor = 1 + rng.uniform(-STRETCH, STRETCH)
        places = np.interp(_BANDS * factor, _BANDS, np.arange(MELS))
        low = np.minimum(places.astype(np.int64), MELS - 2)
        share = (places - low).astype(np.float32)
        mel = mel[:, low] * (1 - share) + mel[:, low + 1] * share
    if rng.random() < BENT:
        bends = rng.normal(0, BEND, BENDS)
        mel = mel + np.interp(np.linspace(0, 1, MELS), np.linspace(0, 1, BENDS), bends)
    return mel.astype(np.float32)
