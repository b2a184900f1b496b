"""Whether sound without speech is music or silence.

The rule, on about one second: it is music when it is louder than −50 dBFS and at least half of
its power between 100 and 4000 Hz lies in tones, that is in bins of the averaged spectrum that
stand 10 dB over their neighbourhood (its 20th percentile within ±250 Hz). Everything else counts
as silent: room noise, hiss, applause. Percussion without any tone counts as silent too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.records import SAMPLE_RATE, CoverageKind

_FLOOR = 10 ** (-50 / 20)
_WINDOW = 1024
_HOP = 512
#: Fewer windows than this average too little for noise to look flat.
_MIN_WINDOWS = 5
_LOW = 100 * _WINDOW // SAMPLE_RATE
_HIGH = 4000 * _WINDOW // SAMPLE_RATE
_AROUND = 250 * _WINDOW // SAMPLE_RATE
_PROMINENCE = 10.0  # as a ratio of powers: 10 dB
_TONAL_SHARE = 0.5

_HANN = np.hanning(_WINDOW).astype(np.float32)

#: Shorter sound than this, in samples, is not judged by itself.
SHORTEST = _WINDOW + (_MIN_WINDOWS - 1) * _HOP


def kind_without_speech(samples: NDArray[np.float32]) -> CoverageKind:
    """MUSIC or SILENT for sound of at least SHORTEST samples at SAMPLE_RATE."""
    if np.sqrt(np.mean(np.square(samples))) < _FLOOR:
        return CoverageKind.SILENT
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP] * _HANN
    power = np.square(np.abs(np.fft.rfft(windows, axis=1))).mean(axis=0)
    padded = np.pad(power[_LOW:_HIGH], _AROUND, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1)
    rank = around.shape[1] // 5
    floor = np.partition(around, rank, axis=1)[:, rank]
    power = power[_LOW:_HIGH]
    tonal = power[power > _PROMINENCE * floor].sum()
    return CoverageKind.MUSIC if tonal >= _TONAL_SHARE * power.sum() else CoverageKind.SILENT
