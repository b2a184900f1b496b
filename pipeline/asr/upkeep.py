"""Whether a worker is still fit to work: its canary, its age and its memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.asr.canary import check_canary
from pipeline.asr.recogniser import Recogniser
from pipeline.errors import ModelError
from pipeline.metrics import Metrics
from pipeline.records import Transcript

log = logging.getLogger(__name__)

#: Failures of the canary in a row after which the process ends, so that another can try.
_TRIES = 5
#: Segments without a word in a row after which the canary is asked at once.
_SUSPICIOUS = 50
_MEMORY_EVERY_S = 10.0
_STATM = Path("/proc/self/statm")
_PAGE_KB = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker looks after itself."""

    canary_every_s: float = 3600.0
    canary_again_s: float = 60.0
    """After a failure."""
    recycle_after_s: float = 0.0
    """0: never."""
    growth_mb: int = 0
    """Memory that may come on top of what the process had at first; 0: any."""


def resident_mb() -> int:
    """Memory of this process in MB; 0 where the system does not tell (no /proc)."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * _PAGE_KB // 1024


class Upkeep:
    """Looks after one worker; `stop` is set when it should end."""

    def __init__(
        self,
        recogniser: Recogniser,
        limits: Limits,
        stop: threading.Event,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failure: ModelError | None = None
        """Why the recogniser is unfit; None while it is fit."""
        self.recycled = ""
        """Why the process wants to be started again; empty while it does not."""
        self._recogniser = recogniser
        self._limits = limits
        self._stop = stop
        self._metrics = metrics
        self._clock = clock
        self._began = clock()
        self._memory_at = self._began
        self._first_mb = resident_mb()
        self._canary_at = self._began + limits.canary_every_s
        self._failures = 0
        self._wordless = 0
        metrics.asr_canary_ok.set(1)

    def fit(self) -> bool:
        """Whether there may be work now; sets `stop` when there never will be."""
        if not self._stop.is_set():
            self._look_at_age()
        if self._clock() >= self._canary_at:
            self._ask_the_canary()
        return self.failure is None and not self._stop.is_set()

    def check(self) -> None:
        """Raise ModelError while the recogniser is unfit."""
        if self.failure is not None:
            raise self.failure

    def heard(self, transcript: Transcript) -> None:
        """Note a result: many empty ones in a row are what a broken driver gives."""
        empty = not (transcript.text or transcript.dropped_text)
        self._wordless = self._wordless + 1 if empty else 0
        if self._wordless == _SUSPICIOUS:
            log.warning("%d segments without a word: asking the canary", self._wordless)
            self._canary_at = self._clock()

    def recycle(self, reason: str) -> None:
        """End this process after the batch in hand, to be started again."""
        log.warning("This worker ends and wants to be started again: %s", reason)
        self.recycled = reason
        self._stop.set()

    def _look_at_age(self) -> None:
        now = self._clock()
        limits = self._limits
        if limits.recycle_after_s and now - self._began > limits.recycle_after_s:
            self.recycle(f"it ran for {limits.recycle_after_s / 3600:g} h")
        elif limits.growth_mb and now >= self._memory_at:
            self._memory_at = now + _MEMORY_EVERY_S
            grown_mb = resident_mb() - self._first_mb
            if grown_mb > limits.growth_mb:
                self.recycle(f"its memory grew by {grown_mb} MB")

    def _ask_the_canary(self) -> None:
        self._wordless = 0
        try:
            check_canary(self._recogniser)
        except ModelError as error:
            self._failures += 1
            self.failure = error
            self._metrics.asr_canary_failures.inc()
            self._metrics.asr_canary_ok.set(0)
            log.error("This worker takes no more work: %s", error)  # noqa: TRY400 -- one sentence
            if self._failures >= _TRIES:
                self._stop.set()
            self._canary_at = self._clock() + self._limits.canary_again_s
            return
        if self.failure is not None:
            log.warning("The canary is understood again: this worker goes on")
        self._failures, self.failure = 0, None
        self._metrics.asr_canary_ok.set(1)
        self._canary_at = self._clock() + self._limits.canary_every_s
