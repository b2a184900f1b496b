"""The store: what the stages write and read, each method one transaction."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline.codec import decode, encode
from pipeline.records import (
    Case,
    CaseState,
    Correction,
    Coverage,
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    Utterance,
)
from pipeline.store.cases import (
    Opening,
    file_finding,
    finding_id,
    load_cases,
    stored_finding,
)
from pipeline.store.database import Database
from pipeline.store.epochs import Epochs
from pipeline.store.ledger import coverage_of, entries
from pipeline.store.opinions import (
    add_second_opinion,
    last_findings,
    second_opinions_of,
    unheard_again,
)
from pipeline.store.overdue import has_transcript, overdue
from pipeline.store.push import PushRooms
from pipeline.store.rooms import Rooms
from pipeline.store.rows import insert_new, key_columns, of_segment
from pipeline.store.schema import (
    broadcasts,
    cases,
    corrections,
    findings,
    rooms,
    segments,
    stretches,
    transcripts,
)

#: Findings, and the correction of each that was taken back.
_FINDINGS = sa.select(findings, corrections.c.record.label("correction")).outerjoin(
    corrections, corrections.c.finding == findings.c.id
)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One live session of a room."""

    id: str
    room: str
    started_at: dt.datetime


class Store:
    """Records in SQLite or PostgreSQL. Threads may share it.

    Every method commits before it returns, and writing the same thing twice changes nothing.
    Raises StoreError when the database cannot be opened, fails or refuses a row.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.rooms = Rooms(self._database)
        """What is monitored, and by whom."""
        self.push = PushRooms(self._database)
        """Of these, the ones that are sent to us."""
        self.epochs = Epochs(self._database)
        """The connections of live broadcasts."""

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_broadcast(self, room: str, broadcast: str, started_at: dt.datetime) -> None:
        """Begin a broadcast; the first start counts."""
        with self._database.write() as connection:
            row = {"id": broadcast, "room": room, "started_at": started_at}
            insert_new(connection, broadcasts, [row])

    def broadcast(self, broadcast: str) -> Broadcast | None:
        """The broadcast of this id; None when there is none."""
        rows = self._rows(sa.select(broadcasts).where(broadcasts.c.id == broadcast))
        return _broadcast(rows[0]) if rows else None

    def broadcasts(self, limit: int = 100) -> list[Broadcast]:
        """The latest broadcasts, newest first."""
        order = (broadcasts.c.started_at.desc(), broadcasts.c.id)
        query = sa.select(broadcasts).order_by(*order).limit(limit)
        return [_broadcast(row) for row in self._rows(query)]

    def add_segment(self, message: SegmentMessage, ledger: Sequence[Stretch] = ()) -> None:
        """Store where a segment lies and its clip, and what the ledger says up to its end.

        Its broadcast must be there.
        """
        columns = {item.name: getattr(message, item.name) for item in dataclasses.fields(message)}
        rows = entries(message.key.broadcast, message.key.epoch, ledger)
        with self._database.write() as connection:
            insert_new(connection, segments, [columns | key_columns(columns.pop("key"))])
            insert_new(connection, stretches, rows)

    def segment(self, key: SegmentKey) -> SegmentMessage | None:
        """The segment of this key; None when there is none."""
        rows = self._rows(sa.select(segments).where(*of_segment(segments, key)))
        return _segment(rows[0]) if rows else None

    def segments(self, broadcast: str) -> list[SegmentMessage]:
        """Segments of a broadcast in the order of the media clock."""
        rows = self._of_broadcast(segments, broadcast)
        return [_segment(row) for row in rows]

    def untranscribed(self, broadcast: str) -> int:
        """Number of segments that still wait for a transcript."""
        query = sa.select(sa.func.count()).select_from(segments)
        waiting = query.where(segments.c.broadcast == broadcast, ~has_transcript())
        return int(self._rows(waiting)[0][0])

    def unheard(self, since: dt.datetime, before: dt.datetime, limit: int) -> list[SegmentMessage]:
        """Segments of a time without a transcript that were not given up or left out."""
        query = overdue(~has_transcript(), since, before)
        return [_segment(row) for row in self._rows(query.limit(limit))]

    def unjudged(self, since: dt.datetime, before: dt.datetime, limit: int) -> list[SegmentMessage]:
        """Segments of a time whose transcript was not judged, nor given up."""
        query = overdue(has_transcript(transcripts.c.judged_at.is_(None)), since, before)
        return [_segment(row) for row in self._rows(query.limit(limit))]

    def mark_judged(self, keys: Sequence[SegmentKey], at: dt.datetime) -> None:
        """Note that detection is done with these segments."""
        if not keys:
            return
        with self._database.write() as connection:
            for key in keys:
                update = sa.update(transcripts).where(*of_segment(transcripts, key))
                connection.execute(update.values(judged_at=at))

    def add_transcript(self, key: SegmentKey, transcript: Transcript) -> None:
        """Store what a segment was understood as; the first transcript counts."""
        self.add_transcripts([(key, transcript)])

    def add_transcripts(self, heard: Sequence[tuple[SegmentKey, Transcript]]) -> None:
        """The same of several segments, all or none."""
        rows = [
            key_columns(key)
            | {
                "start_ms": transcript.start_ms,
                "end_ms": transcript.end_ms,
                "record": encode(transcript),
            }
            for key, transcript in heard
        ]
        with self._database.write() as connection:
            insert_new(connection, transcripts, rows)

    def transcript(self, key: SegmentKey) -> Transcript | None:
        """What a segment was understood as; None while that is not known."""
        rows = self._rows(sa.select(transcripts.c.record).where(*of_segment(transcripts, key)))
        return decode(Transcript, rows[0][0]) if rows else None

    def transcripts(self, broadcast: str) -> list[Transcript]:
        """Transcripts of a broadcast in the order of the media clock, empty ones included."""
        return [decode(Transcript, r.record) for r in self._of_broadcast(transcripts, broadcast)]

    def utterances_before(self, broadcast: str, before_ms: int, window_ms: int) -> list[Utterance]:
        """Utterances that start less than `window_ms` before `before_ms`, oldest first."""
        start = transcripts.c.start_ms
        rows = self._of_broadcast(
            transcripts, broadcast, start >= before_ms - window_ms, start < before_ms
        )
        heard = [decode(Transcript, row.record) for row in rows]
        return [Utterance(t.start_ms, t.end_ms, t.text, t.words) for t in heard if t.text]

    def keys_at(self, broadcast: str, start_ms: int) -> set[SegmentKey]:
        """Segments with a transcript that begins at this moment."""
        rows = self._of_broadcast(transcripts, broadcast, transcripts.c.start_ms == start_ms)
        return {SegmentKey(row.broadcast, row.epoch, row.seq) for row in rows}

    def add_findings(self, key: SegmentKey, found: Iterable[Finding]) -> None:
        """Store the findings of a segment; one that is there (same rule and span) stays."""
        rows = [
            key_columns(key)
            | {
                "id": finding_id(key, finding),
                "start_ms": finding.start_ms,
                "category": finding.category.value,
                "subtype": finding.subtype,
                "verdict": finding.verdict.value,
                "record": encode(finding),
            }
            for finding in found
        ]
        with self._database.write() as connection:
            insert_new(connection, findings, rows)

    def add_correction(self, key: SegmentKey, finding: Finding, correction: Correction) -> None:
        """Store that a stored finding was taken back later; the first correction stays."""
        row = {"finding": finding_id(key, finding), "record": encode(correction)}
        with self._database.write() as connection:
            insert_new(connection, corrections, [row])

    def findings_between(
        self, broadcast: str, start_ms: int, end_ms: int
    ) -> list[tuple[SegmentKey, Finding]]:
        """Findings raised in the segments that start in [start_ms, end_ms], in their order."""
        query = (
            _FINDINGS.join(
                segments,
                sa.and_(*(findings.c[n] == segments.c[n] for n in ("broadcast", "epoch", "seq"))),
            )
            .where(segments.c.broadcast == broadcast)
            .where(segments.c.start_ms.between(start_ms, end_ms))
            .order_by(segments.c.start_ms, findings.c.start_ms, findings.c.id)
        )
        found = [
            (SegmentKey(row.broadcast, row.epoch, row.seq), stored_finding(row))
            for row in self._rows(query)
        ]
        return [(key, finding) for key, finding in found if not finding.shadow]

    def last_findings(self, broadcasts: Iterable[str]) -> dict[str, int]:
        """Where in each of these broadcasts its latest finding begins, in ms, if it has any."""
        with self._database.read() as connection:
            return last_findings(connection, broadcasts)

    def add_second_opinion(self, key: SegmentKey, opinion: Transcript) -> None:
        """Store what a second model understood of a segment; the first opinion counts."""
        with self._database.write() as connection:
            add_second_opinion(connection, key, opinion)

    def second_opinions(self, case: str) -> list[tuple[Finding, Transcript]]:
        """The findings of a case whose clip was heard again, each with what was understood."""
        with self._database.read() as connection:
            return second_opinions_of(connection, case)

    def unheard_again(self, case: str) -> list[SegmentMessage]:
        """Segments with findings of a case that no second model has heard."""
        with self._database.read() as connection:
            return [_segment(row) for row in unheard_again(connection, case)]

    def findings(self, broadcast: str) -> list[Finding]:
        """Findings raised in a broadcast, in the order of the media clock."""
        return [finding for finding in self._findings(broadcast) if not finding.shadow]

    def shadow_findings(self, broadcast: str) -> list[Finding]:
        """The same of rules on trial, which nobody was told of."""
        return [finding for finding in self._findings(broadcast) if finding.shadow]

    def open_case(
        self, opening: Opening, takes: Callable[[Finding], bool], opened_at: dt.datetime
    ) -> tuple[Case, bool]:
        """File a stored finding: its case, and whether the finding opened it (now or earlier).

        The oldest case of the same broadcast, category and subtype whose opening finding satisfies
        `takes` takes it in; without one the case `opening` begins.
        """
        with self._database.write() as connection:
            case, opened = file_finding(connection, opening, takes, opened_at)
            (loaded,) = load_cases(connection, [cases.c.id == case], 1)
            return loaded, opened

    def cases(
        self, state: CaseState | None = None, limit: int = 100, broadcast: str | None = None
    ) -> list[Case]:
        """The first `limit` cases in the order they were opened, of one state and broadcast."""
        where = [cases.c.state == state.value] if state else []
        if broadcast is not None:
            where.append(cases.c.broadcast == broadcast)
        with self._database.read() as connection:
            return load_cases(connection, where, limit)

    def earlier_cases(self, case: Case, limit: int = 5) -> list[Case]:
        """Cases of the same pitch in earlier broadcasts of the room, the last `limit` of them."""
        if not case.finding.pitch:
            return []
        same = (
            cases.c.room == case.room,
            cases.c.pitch == case.finding.pitch,
            cases.c.broadcast != case.broadcast,
            cases.c.opened_at <= case.opened_at,
        )
        last = sa.select(cases.c.id).where(*same).order_by(cases.c.opened_at.desc()).limit(limit)
        with self._database.read() as connection:
            return load_cases(connection, [cases.c.id.in_(last)], limit)

    def case(self, case: str) -> Case | None:
        """The case of this id; None when there is none."""
        with self._database.read() as connection:
            found = load_cases(connection, [cases.c.id == case], 1)
        return found[0] if found else None

    def add_stretches(self, broadcast: str, epoch: int, found: Sequence[Stretch]) -> None:
        """Enter stretches into the coverage ledger. A FAILED one overrides a HEARD one below it."""
        with self._database.write() as connection:
            insert_new(connection, stretches, entries(broadcast, epoch, found))

    def withdraw_failure(self, key: SegmentKey) -> None:
        """Take back that a segment FAILED: it was heard and judged after all."""
        segment = self.segment(key)
        if segment is None:
            return
        same = (
            stretches.c.broadcast == key.broadcast,
            stretches.c.epoch == key.epoch,
            stretches.c.start_ms == segment.start_ms,
            stretches.c.end_ms == segment.end_ms,
            stretches.c.kind == CoverageKind.FAILED.value,
        )
        with self._database.write() as connection:
            connection.execute(sa.delete(stretches).where(*same))

    def stretches(self, broadcast: str) -> list[Stretch]:
        """The coverage ledger of a broadcast as entered, in the order of the media clock."""
        return [
            Stretch(row.start_ms, row.end_ms, CoverageKind(row.kind), row.reason)
            for row in self._of_broadcast(stretches, broadcast)
        ]

    def coverage(self, broadcast: str) -> Coverage:
        """Sums of the coverage ledger of a broadcast, in ms."""
        return coverage_of(self.stretches(broadcast))

    def ping(self) -> None:
        """Ask the database whether it works."""
        self._rows(sa.select(1))

    def rooms_by_state(self, now: dt.datetime) -> tuple[dict[str, int], int]:
        """Number of rooms in each state, and of those to be fetched that nobody holds at `now`."""
        held = sa.func.coalesce(rooms.c.held_until > now, sa.false())
        # What an ingester that is gone last said of a room does not count.
        known = held | rooms.c.push_token_sha256.is_not(None)
        state = sa.case((known, rooms.c.state), else_="waiting").label("state")
        number = sa.func.count().label("number")
        query = sa.select(state, number).group_by(state)
        fetched = sa.select(number).where(~held, rooms.c.push_token_sha256.is_(None))
        states = {row.state: int(row.number) for row in self._rows(query)}
        return states, int(self._rows(fetched)[0].number)

    def waiting_cases(self) -> dict[str, int]:
        """Number of cases without a decision, by the verdict of the finding that opened them."""
        opener = findings.c.id == cases.c.opener
        number = sa.func.count().label("number")
        query = sa.select(findings.c.verdict, number).join(cases, opener)
        query = query.where(cases.c.state != CaseState.DECIDED.value)
        rows = self._rows(query.group_by(findings.c.verdict))
        return {row.verdict: int(row.number) for row in rows}

    def _findings(self, broadcast: str) -> list[Finding]:
        query = _FINDINGS.where(findings.c.broadcast == broadcast)
        rows = self._rows(query.order_by(findings.c.start_ms, findings.c.id))
        return [stored_finding(row) for row in rows]

    def _of_broadcast(
        self, table: sa.Table, broadcast: str, *where: sa.ColumnElement[bool]
    ) -> Sequence[sa.Row[Any]]:
        order = (table.c.start_ms, *table.primary_key.columns)
        query = sa.select(table).where(table.c.broadcast == broadcast, *where)
        return self._rows(query.order_by(*order))

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self._database.read() as connection:
            return connection.execute(query).all()


def _broadcast(row: sa.Row[Any]) -> Broadcast:
    return Broadcast(row.id, row.room, row.started_at)


def _segment(row: sa.Row[Any]) -> SegmentMessage:
    key = SegmentKey(row.broadcast, row.epoch, row.seq)
    columns = row._asdict()
    rest = {name: columns[name] for name in columns if name not in ("broadcast", "epoch", "seq")}
    return SegmentMessage(key=key, **rest)
