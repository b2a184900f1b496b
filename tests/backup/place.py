"""A database and a clip folder with something in them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from pipeline.archive import opened_archive
from pipeline.backup import back_up, restore, tables_of
from pipeline.clips import ClipStore
from pipeline.records import (
    Category,
    CoverageKind,
    Finding,
    SegmentKey,
    SegmentMessage,
    Stretch,
    Transcript,
    Verdict,
    Versions,
    Why,
)
from pipeline.review import file_findings
from pipeline.store import RoomEntry, Rooms, Store
from pipeline.store.database import Database
from pipeline.store.schema import metadata

NOW = dt.datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=dt.UTC)

Rows = dict[str, list[tuple[Any, ...]]]


def fill(database: Database, clips: ClipStore, segments: int = 3) -> None:
    """A room and a broadcast with clips, transcripts, a case and a ledger."""
    Rooms(database).put([RoomEntry("房间", "http://h/a?token=x")])
    store = Store.__new__(Store)
    store._database = database
    store.add_broadcast("房间", "b1", NOW)
    for seq in range(segments):
        key = SegmentKey("b1", 0, seq)
        clip = clips.put(key, clips.encode(np.full(1600, 0.1, np.float32)))
        start = seq * 1000
        message = SegmentMessage(key, "房间", start, start + 900, NOW, clip.uri, clip.sha256)
        store.add_segment(message)
        store.add_transcript(key, Transcript(start, start + 900, "全网最低价"))
    store.add_stretches("b1", 0, [Stretch(0, 900, CoverageKind.LOST, "断线")])
    finding = Finding(
        Category.FALSE_PRICE_COMPARISON, "P01", "r", 0.9, Verdict.REVIEW, (0, 2), "全网", 0, 900,
        Why("因为"), Versions("0", "0"),
    )  # fmt: skip
    list(file_findings(store, SegmentKey("b1", 0, 0), "全网最低价", [finding], NOW))


def rows(database: Database) -> Rows:
    with database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def relocated(value: object, old: str, new: str) -> object:
    return value.replace(old, new) if isinstance(value, str) else value


class Place:
    """A database and a clip store."""

    def __init__(self, url: str, folder: Path, *, migrate: bool = True) -> None:
        self.url = url
        self.database = Database(url, migrate=migrate)
        self.clips = ClipStore(str(folder))

    def back_up(self, path: Path, *, with_clips: bool = True) -> None:
        back_up(self.database, self.clips, path, NOW, with_clips=with_clips)

    def restore(self, path: Path) -> None:
        with opened_archive(path) as archive:
            restore(archive, self.database, self.clips)

    def is_empty(self) -> bool:
        with self.database.read() as connection:
            return not tables_of(connection)
