"""Which law holds on which day."""

from __future__ import annotations

import datetime as dt

from pipeline.detect import legal_day


def test_the_day_whose_law_applies_is_that_of_beijing() -> None:
    """Late in the afternoon in Europe the next day's law already applies."""
    midnight = dt.datetime(2026, 1, 31, 16, 0, tzinfo=dt.UTC)
    assert legal_day(midnight) == dt.date(2026, 2, 1)
    assert legal_day(midnight - dt.timedelta(seconds=1)) == dt.date(2026, 1, 31)
