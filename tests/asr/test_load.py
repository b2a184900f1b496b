"""How far behind, and what is done about it: merge first, shed last, no to and fro."""

from __future__ import annotations

from pipeline.asr.load import Level, Load, Thresholds


def level(one: Load) -> Level:
    """Its level now."""
    return one.level


def load(merge_s: float = 10, shed_s: float = 120, segment_s: float = 1.0) -> Load:
    return Load(Thresholds(merge_s, shed_s), segment_s)


def prove(one: Load, segment_s: float = 1.0) -> None:
    """Batches at this pace, seen in the level it is in."""
    for _ in range(3):
        one.worked(4, 4 * segment_s)


def test_age_alone_or_work_alone_is_not_behind() -> None:
    """A clock that jumps an hour makes no work; a thousand fresh segments have not waited."""
    one = load()
    one.seen(5, 3_600.0)
    assert (one.behind_s, one.level) == (5.0, Level.EASY)
    one.seen(1_000, 2.0)
    assert (one.behind_s, one.level) == (2.0, Level.EASY)


def test_merging_begins_at_its_threshold_and_ends_at_half_of_it() -> None:
    """Between the two it stays as it is."""
    one = load()
    levels = []
    for entries in (9, 11, 9, 6, 5, 9):
        one.seen(entries, 100.0)
        levels.append(one.level)
    assert levels == [0, 1, 1, 1, 0, 0]


def test_nothing_is_shed_before_merging_was_tried() -> None:
    """An hour of backlog after an outage is merged first; only if that is too slow it is shed."""
    one = load()
    one.seen(5_000, 3_600.0)
    assert level(one) is Level.MERGING
    one.seen(5_000, 3_600.0)
    assert (level(one), one.share_to_shed) == (Level.MERGING, 0.0)
    prove(one)
    one.seen(5_000, 3_600.0)
    assert level(one) is Level.SHEDDING


def test_merging_that_is_fast_enough_saves_everything() -> None:
    """Batches before merging prove nothing; at 50 segments/s the same backlog is 100 s."""
    one = load()
    prove(one)
    one.seen(5_000, 3_600.0)
    for _ in range(20):
        one.worked(50, 1.0)
    one.seen(5_000, 3_600.0)
    assert level(one) is Level.MERGING
    assert 99 < one.behind_s < 110


def test_shedding_aims_at_half_of_the_limit_and_ends_there() -> None:
    """Of 240 s behind three quarters go, and at 60 s it is over until 120 s are passed again."""
    one = load()
    one.seen(240, 1_000.0)
    prove(one)
    one.seen(240, 1_000.0)
    assert one.share_to_shed == 0.75
    one.seen(90, 1_000.0)
    assert level(one) is Level.SHEDDING
    one.seen(60, 1_000.0)
    assert (level(one), one.share_to_shed) == (Level.MERGING, 0.0)
    one.seen(119, 1_000.0)
    assert level(one) is Level.MERGING


def test_a_limit_of_zero_never_sheds() -> None:
    """An operator who wants everything heard, however late, gets that."""
    one = load(shed_s=0)
    one.seen(10_000, 10_000.0)
    prove(one)
    one.seen(10_000, 10_000.0)
    assert (level(one), one.share_to_shed) == (Level.MERGING, 0.0)
