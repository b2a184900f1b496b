"""How far recognition is behind live, and what is done about it: first merge, then shed.

Pure: numbers in, a level out. Each level is left at half of where it is entered, so that a worker
does not go to and fro.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

#: Weight of the newest batch in the time that a segment takes.
_NEWEST = 0.3
#: Batches with merged windows that must be seen before anything is shed.
_PROVEN = 3


class Level(IntEnum):
    """What is done, the mildest first."""

    EASY = 0
    """Every segment is a window of its own."""
    MERGING = 1
    """Neighbours share a window."""
    SHEDDING = 2
    """The least risky is left out."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Seconds behind live."""

    merge_s: float
    shed_s: float
    """0: nothing is ever shed."""


class Load:
    """What one worker knows of the backlog."""

    def __init__(self, thresholds: Thresholds, segment_s: float) -> None:
        """`segment_s` is what one segment takes, until better is known."""
        self.level = Level.EASY
        self.behind_s = 0.0
        """How long the last one in the queue has to wait."""
        self.segment_s = segment_s
        self._thresholds = thresholds
        self._proven = 0

    def worked(self, segments: int, seconds: float) -> None:
        """Note that a batch of `segments` took `seconds`."""
        if segments:
            self.segment_s += _NEWEST * (seconds / segments - self.segment_s)
            self._proven += self.level is not Level.EASY

    def seen(self, entries: int, oldest_s: float) -> None:
        """Note that `entries` wait, the oldest for `oldest_s`.

        The smaller of age and work counts: old but little is soon done, and a clock that jumped has
        made no work.
        """
        self.behind_s = min(oldest_s, entries * self.segment_s)
        limits = self._thresholds
        merging = self.behind_s > limits.merge_s / (1 if self.level is Level.EASY else 2)
        if not merging:
            self.level = Level.EASY
            self._proven = 0
            return
        shedding = limits.shed_s > 0 and self.behind_s > (
            limits.shed_s / 2 if self.level is Level.SHEDDING else limits.shed_s
        )
        proven = self._proven >= _PROVEN
        self.level = Level.SHEDDING if shedding and proven else Level.MERGING

    @property
    def share_to_shed(self) -> float:
        """Part of what waits that must go, so that the rest is heard within half of the limit."""
        if self.level is not Level.SHEDDING:
            return 0.0
        return 1 - self._thresholds.shed_s / 2 / self.behind_s
