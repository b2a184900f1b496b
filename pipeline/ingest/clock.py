"""The media clock: where decoded sound stands, counted in samples and never summed in ms.

Sound is placed by counting samples. Timestamps (pts) are only compared with the count: when they
run ahead of it, sound is missing and a `Gap` says so; when they fall back, the source has reset
or repeated itself, and the count simply goes on, so that nothing that was heard is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.records import SAMPLE_RATE, CoverageKind, Gap, samples_to_ms

#: Timestamps may differ from the count by this much before sound counts as missing, in µs:
#: ms rounding (FLV, Matroska) and encoders that jitter stay below it.
TOLERANCE_US = 100_000
#: The same right after a damaged packet: there a hole of one AAC frame is real.
DAMAGED_TOLERANCE_US = 10_000
#: A tail shorter than this is rounding in the declared length, not a cut file.
TAIL_TOLERANCE_US = 300_000
#: A longer jump is taken for a timestamp reset, not for missing sound.
MAX_GAP_MS = 3_600_000

REASON_JUMP = "时间戳跳跃，这一段声音没有收到"
REASON_DAMAGED = "声音数据损坏，这一段无法解码"
REASON_LATE = "声音晚于画面开始，这一段没有声音数据"

_SAMPLES_PER_MS = SAMPLE_RATE // 1000


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """What the decoder says about one frame of sound."""

    pts_us: int | None
    """Presentation time in µs, None where the container gives none."""
    samples: int
    """Per channel."""
    rate: int
    """Hz."""


@dataclass(frozen=True, slots=True)
class Tail:
    """An end that the container declares, and what the sound missing before it is."""

    end_us: int
    """Presentation time in µs."""
    kind: CoverageKind
    reason: str
    """Simplified Chinese."""


class MediaClock:
    """Counts samples of one connection or file.

    `origin_us` is the presentation time that stands at 0 of the media clock; None takes the first
    frame's. Gaps that would be longer than `max_gap_ms` are treated as timestamp resets.
    """

    def __init__(self, origin_us: int | None = None, max_gap_ms: int = MAX_GAP_MS) -> None:
        self._max_gap_us = max_gap_ms * 1000
        self._anchor = 0  # output samples at which the present rate began
        self._rate = SAMPLE_RATE
        self._count = 0  # input samples at the present rate since the anchor
        self._pts_us = origin_us  # presentation time that belongs to the anchor
        self._started = False
        self._damaged = False

    @property
    def position(self) -> int:
        """Samples at SAMPLE_RATE up to the end of the last placed frame, exact at any length.

        Rounded up, as the resampler does when it is drained.
        """
        return self._anchor + -(-self._count * SAMPLE_RATE // self._rate)

    @property
    def started(self) -> bool:
        """Whether any sound was placed."""
        return self._started

    def place(self, stamp: FrameStamp) -> Gap | None:
        """Move past one frame; the gap that lies before it, if sound is missing there."""
        gap = self._missing_before(stamp.pts_us)
        if gap is not None or stamp.rate != self._rate:
            self._anchor_at(gap.end_sample if gap else self.position, stamp)
        if stamp.pts_us is not None and self._pts_us is None:
            self._pts_us = stamp.pts_us - self._elapsed_us()
        self._started = True
        self._damaged = False
        self._count += stamp.samples
        return gap

    def damage(self) -> None:
        """Note that sound came here that could not be decoded."""
        self._damaged = True

    def finish(self, tails: Iterable[Tail]) -> tuple[Gap, ...]:
        """Gaps between the last sound and the ends that the container declares, in this order."""
        gaps: list[Gap] = []
        for tail in tails:
            missing_us = self._ahead_us(tail.end_us)
            if missing_us > TAIL_TOLERANCE_US:
                gap = self._gap(missing_us, tail.kind, tail.reason)
                gaps.append(gap)
                self._pts_us = tail.end_us
                self._anchor, self._count = gap.end_sample, 0
        return tuple(gaps)

    def _elapsed_us(self) -> int:
        return self._count * 1_000_000 // self._rate

    def _ahead_us(self, pts_us: int | None) -> int:
        """By how much a presentation time runs ahead of the counted samples."""
        if pts_us is None:
            return 0
        expected_us = (self._pts_us or 0) + self._elapsed_us()
        return pts_us - expected_us

    def _missing_before(self, pts_us: int | None) -> Gap | None:
        if pts_us is None or self._pts_us is None:
            return None
        ahead_us = self._ahead_us(pts_us)
        tolerance_us = DAMAGED_TOLERANCE_US if self._damaged else TOLERANCE_US
        if tolerance_us < ahead_us <= self._max_gap_us:
            return self._gap(ahead_us, *self._cause())
        if abs(ahead_us) > TOLERANCE_US:
            self._pts_us += ahead_us  # the source reset its timestamps; the count goes on
        return None

    def _cause(self) -> tuple[CoverageKind, str]:
        if self._damaged:
            return CoverageKind.FAILED, REASON_DAMAGED
        return CoverageKind.LOST, REASON_JUMP if self._started else REASON_LATE

    def _gap(self, length_us: int, kind: CoverageKind, reason: str) -> Gap:
        """A gap from here; its end stands on a whole ms, so that segments begin on one."""
        start = self.position
        end_ms = samples_to_ms(start) + max(1, (length_us + 500) // 1000)
        return Gap(start, end_ms * _SAMPLES_PER_MS, kind, reason)

    def _anchor_at(self, position: int, stamp: FrameStamp) -> None:
        if self._pts_us is not None:
            elapsed_us = self._pts_us + self._elapsed_us()
            self._pts_us = elapsed_us if stamp.pts_us is None else stamp.pts_us
        self._anchor, self._count, self._rate = position, 0, stamp.rate
