"""Segments that should have a result by now: not transcribed, or not judged, and not given up."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from pipeline.records import CoverageKind
from pipeline.store.schema import segments, stretches, transcripts

_GIVEN_UP = (CoverageKind.FAILED.value, CoverageKind.SHED.value)


def has_transcript(*where: sa.ColumnElement[bool]) -> sa.Exists:
    """Condition for segments with a transcript that satisfies `where`."""
    key = (transcripts.c[name] == segments.c[name] for name in ("broadcast", "epoch", "seq"))
    return sa.exists().where(*key, *where)


def overdue(
    condition: sa.ColumnElement[bool], since: dt.datetime, before: dt.datetime
) -> sa.Select[Any]:
    """Segments of a time that satisfy `condition` and were not given up, oldest first."""
    same = ("broadcast", "epoch", "start_ms", "end_ms")
    given_up = sa.exists().where(
        *(stretches.c[name] == segments.c[name] for name in same),
        stretches.c.kind.in_(_GIVEN_UP),
    )
    query = sa.select(segments).where(
        segments.c.at >= since, segments.c.at < before, condition, ~given_up
    )
    return query.order_by(segments.c.at)
