"""Seconds behind live, room by room, as this worker sees them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable

from pipeline.metrics import Metrics

#: A room that said nothing for this long has no series any more.
_QUIET_S = 300.0
_SWEEP_S = 10.0


class SecondsBehind:
    """Keeps the gauge: a thousand rooms are a thousand series, and those gone quiet are none."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._gauge = metrics.asr_seconds_behind
        self._clock = clock
        self._touched: dict[str, float] = {}
        self._sweep_at = clock() + _SWEEP_S

    def note(self, room: str, seconds: float) -> None:
        """`room` was heard up to `seconds` ago, or waits since then."""
        self._gauge.labels(room).set(max(0.0, seconds))
        self._touched[room] = self._clock()

    def sweep(self) -> None:
        """Remove the rooms that are quiet now."""
        now = self._clock()
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_S
        for room in [name for name, at in self._touched.items() if now - at > _QUIET_S]:
            # The page that several processes share cannot forget a series: there it is 0.
            self._gauge.labels(room).set(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                self._gauge.remove(room)
            del self._touched[room]


def oldest_by_room(waiting: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The longest wait of each room, of pairs of room and seconds."""
    oldest: dict[str, float] = {}
    for room, seconds in waiting:
        oldest[room] = max(seconds, oldest.get(room, 0.0))
    return oldest
