"""Reads the books: rows straight from the tables, dead letters from the bus, clips as files."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from pipeline.bus import Bus
from pipeline.codec import decode
from pipeline.detect import Detector, legal_day, load_detector
from pipeline.detect.detector import LOOK_AHEAD
from pipeline.detect.engine import CONTEXT_MS
from pipeline.records import (
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    TranscriptMessage,
    Utterance,
)
from pipeline.settings import Settings
from pipeline.store.schema import (
    broadcasts,
    case_findings,
    cases,
    findings,
    rooms,
    segments,
    stretches,
    transcripts,
)
from pipeline.streams import SEGMENTS, TRANSCRIPTS, Stream
from tests.chaos.books import Books, FiledCase, Found

T = TypeVar("T", SegmentMessage, TranscriptMessage)

_MOST = 10_000


class Ledgers:
    """What an installation has written down. Reads past the faults, on connections of its own."""

    def __init__(self, database_url: str, bus: Bus) -> None:
        self._url, self._bus = database_url, bus
        settings = Settings()
        self._detector = load_detector((), settings.effective_classifier_dir)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def broadcasts(self) -> dict[str, str]:
        """The room of every broadcast, by its id."""
        with self._connected() as connection:
            rows = connection.execute(sa.select(broadcasts.c.id, broadcasts.c.room))
            return {row.id: row.room for row in rows}

    def holders(self) -> set[int]:
        """Numbers of the processes that hold rooms of the list."""
        with self._connected() as connection:
            held = connection.scalars(sa.select(rooms.c.holder).where(rooms.c.holder.is_not(None)))
            return {int(holder.split(":")[1]) for holder in held}

    def latest_judged(self) -> dict[str, dt.datetime]:
        """By room, the wall time at which the latest segment ended that was judged.

        Those of a clock that is ahead do not count.
        """
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        same = [transcripts.c[name] == segments.c[name] for name in ("broadcast", "epoch", "seq")]
        query = (
            sa.select(segments.c.room, sa.func.max(segments.c.at).label("at"))
            .join(transcripts, sa.and_(*same))
            .where(transcripts.c.judged_at.is_not(None), segments.c.at < soon)
            .group_by(segments.c.room)
        )
        with self._connected() as connection:
            return {row.room: utc(row.at) for row in connection.execute(query)}

    def transcribed(self, names: Sequence[str]) -> list[SegmentMessage]:
        """What was understood of these broadcasts so far."""
        books = map(self._records, names)
        return [item for one in books for item in one.segments if item.key in one.transcripts]

    def unanswered(self, names: Sequence[str], before: dt.datetime | None = None) -> int:
        """Segments of these broadcasts (of this time) that are not judged, given up nor shed."""
        return sum(len(open_work(books, before)) for books in map(self._records, names))

    def books(self, broadcast: str, played_ms: int | None, announced: frozenset[str]) -> Books:
        """Everything of a broadcast, with what the detector finds in it now."""
        books = self._records(broadcast)
        return replace(
            books,
            played_ms=played_ms,
            announced=announced,
            expected=expected_findings(books, self._detector),
            broken_clips=frozenset(
                item.clip_uri for item in books.segments if not _clip_is_whole(item)
            ),
        )

    def _records(self, broadcast: str) -> Books:
        with self._connected() as connection:

            def rows(table: sa.Table) -> Sequence[sa.Row[Any]]:
                of = sa.select(table).where(table.c.broadcast == broadcast)
                return connection.execute(of).all()

            heard = rows(transcripts)
            found = rows(findings)
            by_id = {row.id: decode(Finding, row.record) for row in found}
            filed = connection.execute(
                sa.select(case_findings)
                .join(cases, cases.c.id == case_findings.c.case)
                .where(cases.c.broadcast == broadcast)
            )
            return Books(
                broadcast=broadcast,
                segments=sorted(map(_segment, rows(segments)), key=lambda item: item.start_ms),
                transcripts={_key(row): decode(Transcript, row.record) for row in heard},
                judged=frozenset(_key(row) for row in heard if row.judged_at is not None),
                dead_segments=self._dead(SEGMENTS, broadcast),
                dead_transcripts=self._dead(TRANSCRIPTS, broadcast),
                stretches=[
                    Stretch(row.start_ms, row.end_ms, CoverageKind(row.kind), row.reason)
                    for row in rows(stretches)
                ],
                findings=[(_key(row), by_id[row.id]) for row in found],
                cases=[FiledCase(row.id, by_id[row.opener], row.opener) for row in rows(cases)],
                filed={row.finding: row.case for row in filed},
            )

    def _dead(self, stream: Stream[T], broadcast: str) -> frozenset[SegmentKey]:
        letters = self._bus.dead_letters(stream, _MOST)
        keys = (decode(stream.record, letter.payload).key for letter in letters)
        return frozenset(key for key in keys if key.broadcast == broadcast)


def open_work(books: Books, before: dt.datetime | None = None) -> set[SegmentKey]:
    """Segments that still wait for their transcript or its judgement; all, or those of a time."""
    done = books.judged | books.dead_segments | books.dead_transcripts | books.shed()
    of_time = (one for one in books.segments if before is None or one.at < before)
    return {segment.key for segment in of_time} - done


def utc(at: dt.datetime) -> dt.datetime:
    """The time in UTC, which SQLite gives back without saying so."""
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


def expected_findings(books: Books, detector: Detector) -> list[Found]:
    """What the detector finds when all that was said around an utterance is known."""
    said = sorted(
        (
            (segment, Utterance(heard.start_ms, heard.end_ms, heard.text, heard.words))
            for segment in books.segments
            if (heard := books.transcripts.get(segment.key)) is not None and heard.text
        ),
        key=lambda one: one[1].start_ms,
    )
    expected: list[Found] = []
    for segment, utterance in said:
        start = utterance.start_ms
        around = [one for _, one in said if start - CONTEXT_MS <= one.start_ms < start + CONTEXT_MS]
        before = [one for one in around if one.start_ms < start]
        after = [one for one in around if one.start_ms > start]
        on = legal_day(segment.at)
        detected = detector.detect(utterance, before, after[:LOOK_AHEAD], on)
        expected += [(segment.key, one) for one in (*detected.findings, *detected.shadow)]
    return expected


def _clip_is_whole(segment: SegmentMessage) -> bool:
    path = unquote(urlsplit(segment.clip_uri).path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- a path out of an address
            return hashlib.file_digest(file, "sha256").hexdigest() == segment.clip_sha256
    except FileNotFoundError:
        return False


def _key(row: Any) -> SegmentKey:
    return SegmentKey(row.broadcast, row.epoch, row.seq)


def _segment(row: Any) -> SegmentMessage:
    columns = row._asdict()
    rest = {name: columns[name] for name in columns if name not in ("broadcast", "epoch", "seq")}
    return SegmentMessage(key=_key(row), **rest)
