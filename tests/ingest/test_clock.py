"""The media clock."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingest.clock import (
    REASON_DAMAGED,
    REASON_JUMP,
    REASON_LATE,
    FrameStamp,
    MediaClock,
    Tail,
)
from pipeline.records import CoverageKind, Gap

FOUR_HOURS_S = 4 * 3600


def run(clock: MediaClock, stamps: list[FrameStamp]) -> list[Gap]:
    return [gap for stamp in stamps if (gap := clock.place(stamp)) is not None]


def steady(start_us: int, frames: int, size: int = 1024, rate: int = 44_100) -> list[FrameStamp]:
    """Frames whose timestamps follow the samples, rounded to ms as in FLV."""
    return [
        FrameStamp(start_us + (n * size * 1000 + rate // 2) // rate * 1000, size, rate)
        for n in range(frames)
    ]


@pytest.mark.parametrize(
    ("rate", "stamped"), [(16_000, True), (44_100, True), (48_000, True), (44_100, False)]
)
def test_the_clock_is_exact_after_four_hours(rate: int, stamped: bool) -> None:
    """Four hours of frames are 230 400 000 samples at 16 kHz, without any gap.

    The timestamps are whole ms as in FLV, or there are none.
    """
    clock = MediaClock(0)
    size, left, count = 4608, FOUR_HOURS_S * rate, 0
    while left:
        samples = min(size, left)
        pts_us = count * 1000 // rate * 1000 if stamped else None
        assert clock.place(FrameStamp(pts_us, samples, rate)) is None
        count += samples
        left -= samples
    assert clock.position == 230_400_000


def test_a_jump_of_the_timestamps_is_a_gap() -> None:
    """28 s missing between two frames are reported as lost, from sample to sample."""
    clock = MediaClock()
    assert run(clock, steady(0, 100)) == []
    before = clock.position
    after_us = 100 * 1024 * 1_000_000 // 44_100
    assert run(clock, steady(after_us + 28_000_000, 100)) == [
        Gap(before, (before // 16 + 28_000) * 16, CoverageKind.LOST, REASON_JUMP)
    ]
    assert clock.position == (before // 16 + 28_000) * 16 + -(-100 * 1024 * 160 // 441)


def test_timestamps_that_fall_back_drop_no_sound() -> None:
    """A source that starts again at 0 is heard on: the clock counts both parts, without a gap."""
    clock = MediaClock()
    assert run(clock, steady(0, 441) + steady(0, 441)) == []
    assert clock.position == 2 * 441 * 1024 * 160 // 441


def test_a_gap_after_a_reset_is_still_seen() -> None:
    """The new timestamps count from where they were reset."""
    clock = MediaClock()
    run(clock, steady(90_000_000, 441) + steady(0, 441))
    (gap,) = run(clock, steady(441 * 1024 * 1_000_000 // 44_100 + 5_000_000, 1))
    assert (gap.end_sample - gap.start_sample) // 16 == 5_000


def test_an_absurd_jump_is_a_reset() -> None:
    """Timestamps that leap further than the longest gap do not make hours of lost sound."""
    clock = MediaClock(max_gap_ms=60_000)
    assert run(clock, steady(0, 10) + steady(26 * 3_600_000_000, 10)) == []
    assert clock.position == -(-20 * 1024 * 160 // 441)


def test_jitter_is_no_gap() -> None:
    """Timestamps may shake by 50 ms."""
    clock = MediaClock()
    shaken = [
        FrameStamp((stamp.pts_us or 0) + (50_000 if n % 2 else 0), stamp.samples, stamp.rate)
        for n, stamp in enumerate(steady(0, 1000))
    ]
    assert run(clock, shaken) == []


def test_timestamps_that_run_away_slowly_are_noticed() -> None:
    """Single lost frames add up to a gap: no more than a tenth of a second stays unaccounted."""
    clock = MediaClock()
    frame_us = 1024 * 1_000_000 // 16_000
    # Of every two frames one is missing, 64 ms each time.
    gaps = run(clock, [FrameStamp(2 * n * frame_us, 1024, 16_000) for n in range(100)])
    missing = sum(gap.end_sample - gap.start_sample for gap in gaps)
    assert abs(missing - 99 * 1024) <= 1600


def test_a_damaged_packet_makes_the_hole_failed() -> None:
    """After a packet that does not decode, a hole of one frame is reported, as failed."""
    clock = MediaClock(0)
    run(clock, steady(0, 441))
    clock.damage()
    (gap,) = run(clock, steady(441 * 1024 * 1_000_000 // 44_100 + 23_220, 1))
    assert (gap.kind, gap.reason) == (CoverageKind.FAILED, REASON_DAMAGED)
    assert (gap.end_sample - gap.start_sample) // 16 == 23


def test_sound_that_begins_late_leaves_a_gap_at_the_start() -> None:
    """A track that starts 5 s after the pictures keeps its place on the clock."""
    clock = MediaClock(0)
    assert run(clock, steady(5_000_000, 1)) == [Gap(0, 80_000, CoverageKind.LOST, REASON_LATE)]


def test_the_declared_end_is_compared_with_the_sound() -> None:
    """Each tail that is missing becomes a gap; one below the tolerance does not."""
    clock = MediaClock(0)
    clock.place(FrameStamp(0, 16_000, 16_000))
    gaps = clock.finish(
        [
            Tail(1_200_000, CoverageKind.FAILED, "within the tolerance"),
            Tail(3_000_000, CoverageKind.FAILED, "cut"),
            Tail(4_000_000, CoverageKind.LOST, "pictures"),
        ]
    )
    assert gaps == (
        Gap(16_000, 48_000, CoverageKind.FAILED, "cut"),
        Gap(48_000, 64_000, CoverageKind.LOST, "pictures"),
    )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(-10_000_000, 10_000_000),
            st.sampled_from([160, 1024, 4608]),
            st.sampled_from([8_000, 16_000, 44_100, 48_000]),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_the_clock_never_goes_back_and_never_drops_sound(
    frames: list[tuple[int, int, int, bool]],
) -> None:
    """Whatever the timestamps do, sound and gaps follow each other without overlap."""
    clock = MediaClock()
    sound = gaps = 0.0
    pts_us = 0
    for step_us, samples, rate, damaged in frames:
        before = clock.position
        if damaged:
            clock.damage()
        pts_us += step_us
        gap = clock.place(FrameStamp(pts_us, samples, rate))
        if gap is not None:
            assert gap.start_sample == before < gap.end_sample
            assert gap.end_sample % 16 == 0
            gaps += gap.end_sample - gap.start_sample
        sound += samples * 16_000 / rate
        assert clock.position > before
    # Each change of rate rounds up to a whole sample.
    assert 0 <= clock.position - (sound + gaps) < len(frames) + 1
