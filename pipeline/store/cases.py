"""Rows of cases and their findings."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline.codec import decode
from pipeline.corrections import corrected
from pipeline.errors import StoreError
from pipeline.records import Case, CaseState, Category, Correction, Finding, SegmentKey
from pipeline.store.rows import insert_new, of_segment
from pipeline.store.schema import (
    broadcasts,
    case_findings,
    cases,
    corrections,
    findings,
    segments,
)


@dataclass(frozen=True, slots=True)
class Opening:
    """The case that a finding opens when no case of its broadcast takes it in."""

    case: str
    """Id of the new case; the same finding must give the same id."""
    key: SegmentKey
    finding: Finding
    text: str
    """The utterance the finding lies in."""


def finding_id(key: SegmentKey, finding: Finding) -> str:
    """Natural key of a finding as one text: the segment, the rule and the span.

    What a rule found while on trial is another finding: it was never raised.
    """
    parts = (
        key.broadcast,
        key.epoch,
        key.seq,
        finding.category.value,
        finding.subtype,
        finding.rule,
        *finding.span,
        *(["shadow"] if finding.shadow else []),
    )
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def file_finding(
    connection: sa.Connection,
    opening: Opening,
    takes: Callable[[Finding], bool],
    opened_at: Any,
) -> tuple[str, bool]:
    """Put a stored finding into a case: id of the case, and whether the finding opened it.

    `takes` says whether the case that a finding opened takes this one in. A finding that was
    filed before stays where it is.
    """
    _lock_broadcast(connection, opening.key.broadcast)
    id_ = finding_id(opening.key, opening.finding)
    filed = connection.execute(
        sa.select(cases.c.id, cases.c.opener)
        .join(case_findings, case_findings.c.case == cases.c.id)
        .where(case_findings.c.finding == id_)
    ).first()
    if filed is not None:
        return filed.id, filed.opener == id_
    case = next(
        (case for case, finding in _openers(connection, opening) if takes(finding)), opening.case
    )
    opened = case == opening.case and _open(connection, opening, opened_at)
    insert_new(connection, case_findings, [{"finding": id_, "case": case}])
    return case, opened


def load_cases(connection: sa.Connection, where: Sequence[Any], limit: int) -> list[Case]:
    """Cases in the order they were opened, newest last when more than `limit` fit."""
    rows = connection.execute(
        sa.select(cases).where(*where).order_by(cases.c.opened_at, cases.c.id).limit(limit)
    ).all()
    members = _members(connection, [row.id for row in rows])
    return [_case(row, members[row.id]) for row in rows]


def _lock_broadcast(connection: sa.Connection, broadcast: str) -> None:
    """Let one worker at a time file findings of a broadcast, so that repeats meet in one case."""
    row = sa.select(broadcasts.c.id).where(broadcasts.c.id == broadcast)
    # PostgreSQL: the lock that lets segments be added meanwhile. SQLite has one writer anyway.
    connection.execute(row.with_for_update(key_share=True))


def _openers(connection: sa.Connection, opening: Opening) -> Iterable[tuple[str, Finding]]:
    rows = connection.execute(
        sa.select(cases.c.id, findings.c.record)
        .join(findings, findings.c.id == cases.c.opener)
        .where(
            cases.c.broadcast == opening.key.broadcast,
            cases.c.category == opening.finding.category.value,
            cases.c.subtype == opening.finding.subtype,
        )
        .order_by(findings.c.start_ms, cases.c.id)
    )
    return [(row.id, decode(Finding, row.record)) for row in rows]


def _open(connection: sa.Connection, opening: Opening, opened_at: Any) -> bool:
    heard = connection.execute(
        sa.select(segments.c.room, segments.c.clip_uri, segments.c.at).where(
            *of_segment(segments, opening.key)
        )
    ).first()
    if heard is None:
        raise StoreError(
            f"Segment {opening.key.broadcast}/{opening.key.epoch}/{opening.key.seq} is not stored: "
            "add it before its findings."
        )
    row = {
        "id": opening.case,
        "room": heard.room,
        "broadcast": opening.key.broadcast,
        "category": opening.finding.category.value,
        "subtype": opening.finding.subtype,
        "state": CaseState.OPEN.value,
        "opener": finding_id(opening.key, opening.finding),
        "pitch": opening.finding.pitch,
        "text": opening.text.replace("\x00", "\ufffd"),
        "clip_uri": heard.clip_uri,
        "opened_at": opened_at,
        "heard_at": heard.at,
    }
    return insert_new(connection, cases, [row]) == 1


def _members(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[tuple[str, Finding]]]:
    rows = connection.execute(
        sa.select(
            case_findings.c.case,
            findings.c.id,
            findings.c.record,
            corrections.c.record.label("correction"),
        )
        .join(findings, findings.c.id == case_findings.c.finding)
        .outerjoin(corrections, corrections.c.finding == findings.c.id)
        .where(case_findings.c.case.in_(ids))
        .order_by(findings.c.start_ms, findings.c.id)
    )
    members = defaultdict(list)
    for row in rows:
        members[row.case].append((row.id, stored_finding(row)))
    return members


def stored_finding(row: Any) -> Finding:
    """The finding of a row with its columns `record` and `correction`, which may be NULL."""
    finding = decode(Finding, row.record)
    if row.correction is None:
        return finding
    return corrected(finding, decode(Correction, row.correction))


def _case(row: Any, members: Sequence[tuple[str, Finding]]) -> Case:
    by_id = dict(members)
    return Case(
        id=row.id,
        room=row.room,
        broadcast=row.broadcast,
        category=Category(row.category),
        state=CaseState(row.state),
        first_ms=min(finding.start_ms for finding in by_id.values()),
        last_ms=max(finding.end_ms for finding in by_id.values()),
        times_ms=tuple(finding.start_ms for finding in by_id.values()),
        text=row.text,
        clip_uri=row.clip_uri,
        finding=by_id[row.opener],
        opened_at=row.opened_at,
        heard_at=row.heard_at,
        findings=tuple(by_id.values()),
    )
