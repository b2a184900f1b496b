"""Sums of the coverage ledger: every millisecond counts once, and as what it was."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.records import Coverage, CoverageKind, Stretch
from pipeline.store import coverage_of

stretches = st.lists(
    st.builds(
        lambda start, length, kind: Stretch(start, start + length, kind),
        st.integers(0, 60),
        st.integers(0, 20),
        st.sampled_from(CoverageKind),
    ),
    max_size=12,
)

#: A busy machine is no reason to fail.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_stretches_side_by_side_add_up() -> None:
    """Each kind has its own sum, in any order of entering."""
    ledger = [
        Stretch(900, 1_000, CoverageKind.LOST),
        Stretch(0, 400, CoverageKind.SILENT),
        Stretch(400, 900, CoverageKind.HEARD),
        Stretch(1_000, 1_500, CoverageKind.MUSIC),
        Stretch(1_500, 1_501, CoverageKind.SHED),
        Stretch(2_000, 2_007, CoverageKind.FAILED),
    ]
    assert coverage_of(ledger) == Coverage(500, 400, 500, 100, 1, 7)


def test_failed_recognition_takes_the_time_back_from_heard() -> None:
    """Ingest heard ten seconds; recognition failed on three of them, so seven were heard."""
    ledger = [
        Stretch(0, 10_000, CoverageKind.HEARD),
        Stretch(4_000, 7_000, CoverageKind.FAILED),
    ]
    assert coverage_of(ledger) == Coverage(heard_ms=7_000, failed_ms=3_000)


def test_speech_counts_before_the_silence_of_its_padding() -> None:
    """Padding reaches into silence; it was transcribed."""
    ledger = [Stretch(0, 1_000, CoverageKind.SILENT), Stretch(800, 2_000, CoverageKind.HEARD)]
    assert coverage_of(ledger) == Coverage(heard_ms=1_200, silent_ms=800)


def test_what_one_connection_had_is_not_lost_because_the_next_knew_nothing_of_it() -> None:
    """A listener that was paused delivers what it held after another has taken the room over."""
    ledger = [
        Stretch(0, 5_000, CoverageKind.HEARD),
        Stretch(5_000, 17_000, CoverageKind.LOST),
        Stretch(5_000, 6_000, CoverageKind.SILENT),
        Stretch(6_000, 7_000, CoverageKind.HEARD),
    ]
    assert coverage_of(ledger) == Coverage(heard_ms=6_000, silent_ms=1_000, lost_ms=10_000)


@patient
@given(stretches)
def test_the_sums_are_those_of_a_ledger_kept_by_hand(ledger: list[Stretch]) -> None:
    """Against painting every millisecond: the same sums, and each one counted once."""
    order = ("failed", "shed", "heard", "music", "silent", "lost")
    painted = dict.fromkeys(order, 0)
    for ms in range(81):
        kinds = {s.kind.value for s in ledger if s.start_ms <= ms < s.end_ms}
        worst = next((kind for kind in order if kind in kinds), None)
        if worst:
            painted[worst] += 1
    assert dataclasses.asdict(coverage_of(ledger)) == {f"{k}_ms": v for k, v in painted.items()}
