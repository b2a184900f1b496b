"""How many windows one call of the recogniser may hold on this device, and how long they take."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from pipeline.asr.canary import canary_segment
from pipeline.asr.recogniser import Recogniser
from pipeline.metrics import Metrics

log = logging.getLogger(__name__)

#: A call that takes longer keeps its first segment waiting for the sake of the others.
_LONGEST_CALL_S = 5.0

#: What CTranslate2 and its libraries say when memory runs out, on CUDA and on the CPU.
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "alloc_failed", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may work where this one failed."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OUT_OF_MEMORY)


@dataclass(frozen=True, slots=True)
class Warmth:
    """What warming up showed."""

    limit: int
    """Windows that one call may hold."""
    window_s: float
    """What a window takes in a call of that size."""


def warm_up(recogniser: Recogniser, wanted: int) -> Warmth:
    """Call the recogniser with more and more windows, up to `wanted`, so that memory is there.

    Ends before `wanted` where memory or patience does. Raises RuntimeError when not even one works.
    """
    segment = canary_segment()
    found: Warmth | None = None
    size = 1
    while True:
        started = time.monotonic()
        try:
            recogniser.transcribe([segment] * size)
        except (RuntimeError, MemoryError) as error:
            if found is None or not is_out_of_memory(error):
                raise
            log.warning("No memory for batches of %d: %d it is", size, found.limit)
            return found
        took_s = time.monotonic() - started
        if found is not None and took_s > _LONGEST_CALL_S:
            return found
        found = Warmth(size, took_s / size)
        if size == wanted or 2 * took_s > _LONGEST_CALL_S:
            return found
        size = min(2 * size, wanted)


class BatchFit:
    """The size of a batch. It only ever shrinks: what did not fit once does not fit again."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit = limit
        self._metrics = metrics
        metrics.asr_batch_limit.set(limit)

    def shrink(self, failed: int) -> None:
        """Note that there was no memory for `failed` windows."""
        self.limit = max(1, min(self.limit, failed // 2))
        self._metrics.asr_batch_limit.set(self.limit)
        self._metrics.asr_out_of_memory.inc()
        log.warning("No memory for a batch of %d windows: %d from now on", failed, self.limit)
