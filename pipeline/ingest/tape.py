"""The last seconds of a run of sound, addressed by position on the media clock."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class Tape:
    """Keeps appended sound until it is forgotten; nothing is copied before it is taken."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._parts: deque[NDArray[np.float32]] = deque()
        self.end = start
        """Position after the last sample."""

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add sound at `end`."""
        self._parts.append(samples)
        self.end += len(samples)

    def take(self, start: int, end: int) -> NDArray[np.float32]:
        """A copy of [start, end), which must not have been forgotten. Shape [end - start]."""
        pieces = []
        position = self._start
        for part in self._parts:
            first, last = max(start - position, 0), min(end - position, len(part))
            if first < last:
                pieces.append(part[first:last])
            position += len(part)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def forget(self, before: int) -> None:
        """Let go of sound that ends at or before this position."""
        while self._parts and self._start + len(self._parts[0]) <= before:
            self._start += len(self._parts.popleft())
