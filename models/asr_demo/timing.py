"""Sizes in time on which sound, tokens and network agree."""

from __future__ import annotations

#: Samples a second.
RATE = 16_000
#: Mel bands, and samples in one spectrum: 50 ms and bands 23 Hz apart keep the harmonics of a deep
#: voice (80 Hz) apart, and the tone of a syllable is read off those. Whisper has 80 and 400.
MELS, SPECTRUM = 128, 800
#: Samples from one frame to the next: 50 frames and 25 encoder positions a second, half of
#: Whisper's, which halves the cost of training and decoding.
HOP = 320
#: Seconds that the model hears at once.
WINDOW_S = 10
FRAMES_PER_S = RATE // HOP
MAX_FRAMES = WINDOW_S * FRAMES_PER_S
