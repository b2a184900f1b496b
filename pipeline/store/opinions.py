"""Rows of second opinions, and of the findings that ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from pipeline.codec import decode, encode
from pipeline.records import Finding, SegmentKey, Transcript, Verdict
from pipeline.store.rows import insert_new, key_columns
from pipeline.store.schema import case_findings, findings, second_opinions, segments

#: Databases take only so many values in one statement.
_IDS_AT_ONCE = 500

_KEY = ("broadcast", "epoch", "seq")


def last_findings(connection: sa.Connection, broadcasts: Iterable[str]) -> dict[str, int]:
    """Where in each broadcast its latest finding that is not PASS begins, in ms."""
    names = sorted(broadcasts)
    latest: dict[str, int] = {}
    for at in range(0, len(names), _IDS_AT_ONCE):
        query = sa.select(findings.c.broadcast, sa.func.max(findings.c.start_ms)).where(
            findings.c.broadcast.in_(names[at : at + _IDS_AT_ONCE]),
            findings.c.verdict != Verdict.PASS.value,
        )
        rows = connection.execute(query.group_by(findings.c.broadcast))
        latest.update({row[0]: row[1] for row in rows})
    return latest


def add_second_opinion(connection: sa.Connection, key: SegmentKey, opinion: Transcript) -> None:
    """Store it unless there is one."""
    row = key_columns(key) | {"model": opinion.model, "record": encode(opinion)}
    insert_new(connection, second_opinions, [row])


def second_opinions_of(connection: sa.Connection, case: str) -> list[tuple[Finding, Transcript]]:
    """Findings of a case with the second opinion on their segment, in order of time."""
    rows = connection.execute(
        sa.select(findings.c.record, second_opinions.c.record)
        .join(case_findings, case_findings.c.finding == findings.c.id)
        .join(second_opinions, _same_segment(second_opinions))
        .where(case_findings.c.case == case)
        .order_by(findings.c.start_ms, findings.c.id)
    )
    return [(decode(Finding, row[0]), decode(Transcript, row[1])) for row in rows]


def unheard_again(connection: sa.Connection, case: str) -> Sequence[sa.Row[Any]]:
    """Rows of the segments with findings of a case that have no second opinion."""
    query = (
        sa.select(segments)
        .distinct()
        .join(findings, _same_segment(segments))
        .join(case_findings, case_findings.c.finding == findings.c.id)
        .where(case_findings.c.case == case)
        .where(~sa.exists().where(*(second_opinions.c[n] == segments.c[n] for n in _KEY)))
    )
    return connection.execute(query.order_by(segments.c.start_ms)).all()


def _same_segment(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(*(findings.c[name] == table.c[name] for name in _KEY))
