"""Sizes in time on which sound, tokens and network agree."""

from __future__ import annotations

#: Samples a second.
RATE = 16_000
#: Samples from one frame to the next: 50 frames and 25 encoder positions a second, half of
#: Whisper's, which halves the cost of training and decoding.
HOP = 320
#: Seconds that the model hears at once.
WINDOW_S = 10
FRAMES_PER_S = RATE // HOP
MAX_FRAMES = WINDOW_S * FRAMES_PER_S
