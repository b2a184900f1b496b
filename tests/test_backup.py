"""Backup and restore: everything comes back, on either database, and a bad file changes nothing."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

import pipeline.archive
from pipeline.archive import opened_archive
from pipeline.backup import back_up, restore, tables_of
from pipeline.clips import ClipStore
from pipeline.errors import BadInputError, MissingError, StoreError
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
from pipeline.store.database import SCHEMA_REVISION, Database
from pipeline.store.schema import metadata
from tests.databases import postgres_database

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


@pytest.fixture
def filled(database_url: str, tmp_path: Path) -> Iterator[Place]:
    place = Place(database_url, tmp_path / "clips")
    fill(place.database, place.clips)
    yield place
    place.database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A second place, of either kind whatever the first one is."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'new.db'}"
        if request.param == "postgresql":
            folder = request.getfixturevalue("postgres_folder")
            url = stack.enter_context(postgres_database(folder))
        place = Place(url, tmp_path / "elsewhere", migrate=False)
        stack.callback(place.database.close)
        yield place


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A backup of a SQLite database."""
    place = Place(f"sqlite:///{tmp_path / 'old.db'}", tmp_path / "clips")
    fill(place.database, place.clips)
    place.back_up(tmp_path / "a.tar")
    place.database.close()
    return tmp_path / "a.tar"


def test_everything_comes_back_on_either_database(
    filled: Place, empty: Place, tmp_path: Path
) -> None:
    """All rows of all tables, clips that can be read, and URIs that lead to where they are now."""
    filled.back_up(tmp_path / "a.tar")
    empty.restore(tmp_path / "a.tar")
    before, after = rows(filled.database), rows(empty.database)
    old, new = filled.clips.root_uri, empty.clips.root_uri
    moved = {
        name: [tuple(relocated(value, old, new) for value in row) for row in table]
        for name, table in before.items()
    }
    assert after == {name: sorted(table, key=repr) for name, table in moved.items()}
    assert {name for name, table in after.items() if table} >= {
        *("rooms", "broadcasts", "segments", "transcripts", "findings", "cases"),
        *("case_findings", "stretches"),
    }
    store = Store(empty.url)
    for message in store.segments("b1"):
        assert len(empty.clips.read(message.clip_uri)) == 1600
    store.close()


def test_every_column_travels() -> None:
    """The file has these types only; a column of another one needs a way there first."""
    kinds = (sa.Text, sa.Integer, sa.BigInteger, sa.Boolean, sa.Float, sa.DateTime)
    for table in metadata.sorted_tables:
        for column in table.columns:
            kind = column.type
            plain = kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
            assert isinstance(plain, kinds), column


def test_a_backup_is_one_moment(filled: Place, tmp_path: Path, empty: Place) -> None:
    """What is written meanwhile, by writers that do not wait, is not half in it."""
    store = Store(filled.url)
    written = threading.Event()

    class Busy(ClipStore):
        """While the clips are read, another broadcast is written with its segment."""

        def read_file(self, uri: str) -> bytes:
            if not written.is_set():
                store.add_broadcast("房间", "b2", NOW)
                key = SegmentKey("b2", 0, 0)
                store.add_segment(SegmentMessage(key, "房间", 0, 900, NOW, uri, "sha"))
                written.set()
            return super().read_file(uri)

    clips = Busy(filled.clips._url)
    done = back_up(filled.database, clips, tmp_path / "a.tar", NOW, with_clips=True)
    assert written.is_set()
    assert len(store.broadcasts()) == 2
    store.close()
    assert {part.name: part.rows for part in done.manifest.tables}["broadcasts"] == 1
    empty.restore(tmp_path / "a.tar")
    assert len(rows(empty.database)["broadcasts"]) == 1


def test_without_clips_the_file_is_small_and_says_so(archive: Path, tmp_path: Path) -> None:
    """The manifest tells no clips from zero clips."""
    place = Place(f"sqlite:///{tmp_path / 'old.db'}", tmp_path / "clips")
    place.back_up(tmp_path / "b.tar", with_clips=False)
    place.database.close()
    with opened_archive(tmp_path / "b.tar") as opened:
        assert opened.manifest.clips is None
        assert list(opened.clips()) == []
    with opened_archive(archive) as opened:
        assert opened.manifest.clips == 3
        assert opened.manifest.schema == SCHEMA_REVISION


def test_clips_that_are_gone_are_named(filled: Place, tmp_path: Path) -> None:
    """A backup is made all the same, and nobody takes it for whole."""
    shutil.rmtree(tmp_path / "clips" / "b1" / "0")
    done = back_up(filled.database, filled.clips, tmp_path / "a.tar", NOW, with_clips=True)
    assert len(done.missing) == 3
    assert done.manifest.clips == 0


def test_only_its_owner_may_read_it(archive: Path) -> None:
    """Rows hold addresses with tokens."""
    assert archive.stat().st_mode & 0o777 == 0o600


def test_it_is_not_written_over_a_file(archive: Path, tmp_path: Path) -> None:
    """An earlier backup is not lost to a slip."""
    before = archive.read_bytes()
    place = Place(f"sqlite:///{tmp_path / 'old.db'}", tmp_path / "clips")
    with pytest.raises(BadInputError, match="exists already"):
        place.back_up(archive)
    with pytest.raises(MissingError, match="cannot be written"):
        place.back_up(tmp_path / "no" / "a.tar")
    place.database.close()
    assert archive.read_bytes() == before


def test_a_database_with_rows_is_left_alone(archive: Path, filled: Place) -> None:
    """Restoring never mixes two installations."""
    before = rows(filled.database)
    with pytest.raises(BadInputError, match=r"has rows already .* empty one only"):
        filled.restore(archive)
    assert rows(filled.database) == before


def test_a_fresh_database_with_tables_will_do(
    archive: Path, database_url: str, tmp_path: Path
) -> None:
    """Whoever started the roles first has empty tables of the same schema."""
    place = Place(database_url, tmp_path / "elsewhere")
    place.restore(archive)
    assert len(rows(place.database)["segments"]) == 3
    place.database.close()


def test_an_older_schema_is_brought_forward(empty: Place, tmp_path: Path) -> None:
    """A backup of the first released schema gets the columns of today with their defaults."""
    old = Place(f"sqlite:///{tmp_path / 'v1.db'}", tmp_path / "clips", migrate=False)
    with old.database.write() as connection:
        old.database.upgrade(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO rooms (name, url, added_at)"
            " VALUES ('a', 'http://h', '2026-01-02 03:04:05')"
        )
    old.back_up(tmp_path / "v1.tar")
    old.database.close()
    empty.restore(tmp_path / "v1.tar")
    (room,) = Rooms(empty.database).all()
    assert (room.entry.name, room.entry.language) == ("a", "zh")
    assert room.added_at == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


# --- damaged and foreign files


Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def rewritten(path: Path, change: Change) -> Path:
    """The archive with its members changed."""
    with tarfile.open(path) as tar:
        members = [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]
    change(members)
    other = path.with_name("changed.tar")
    with tarfile.open(other, "w") as tar:
        for member, data in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return other


def add(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        members.insert(0, (member, data))

    return change


def edit(name: str, how: Callable[[bytes], bytes]) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[:] = [(one, how(data) if one.name == name else data) for one, data in members]

    return change


def drop(name: str) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[:] = [one for one in members if one[0].name != name]

    return change


def in_manifest(**values: object) -> Change:
    def how(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), **values}).encode()

    return edit("manifest.json", how)


CLIP = "clips/b1/0/000000.flac"
ROOMS = "tables/rooms.jsonl.gz"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (add("clips/../../../etc/cron.d/x"), "which no backup has"),
        (add("/etc/passwd"), "which no backup has"),
        (add("clips/b1/0/../../x.flac"), "which no backup has"),
        (add("clips/b1/0/9.flac", kind=tarfile.SYMTYPE), "which no backup has"),
        (add("clips/b1/0/9.flac", kind=tarfile.LNKTYPE), "which no backup has"),
        (add(ROOMS), "twice"),
        (add("clips/b1/0/9.flac"), "holds 4 clips, not 3"),
        (add("tables/more.jsonl.gz"), "tables that its manifest does not name"),
        (drop(CLIP), "holds 2 clips, not 3"),
        (drop(ROOMS), "is not in it"),
        (drop("manifest.json"), "cut short, or is something else"),
        (edit(ROOMS, lambda data: data[:-1] + b"\1"), "sha256 differs"),
        (edit(CLIP, lambda data: data + b"\1"), "clip b1/0/000000.flac is damaged"),
        (edit("manifest.json", lambda _: b"[]"), "This is not a Manifest"),
        (in_manifest(format="other"), "format other is not"),
        (in_manifest(schema="9999"), "install a newer tingbo"),
        (in_manifest(schema="0001"), "not those of schema 0001|other columns"),
    ],
    ids=[
        *("up", "absolute", "up-in-clips", "symlink", "hardlink", "twice", "clip-more"),
        *("table-more", "clip-less", "table-less", "no-manifest", "damaged-table", "damaged-clip"),
        *("other-manifest", "other-format", "newer", "other-schema"),
    ],
)
def test_a_bad_archive_changes_nothing(
    archive: Path, empty: Place, change: Change, reason: str, tmp_path: Path
) -> None:
    """Damaged, cut, foreign, newer, or made to write elsewhere: refused with the reason."""
    with pytest.raises((BadInputError, StoreError), match=reason):
        empty.restore(rewritten(archive, change))
    assert empty.is_empty()
    assert not (tmp_path / "x.flac").exists()


def test_a_count_that_does_not_fit_changes_nothing(archive: Path, empty: Place) -> None:
    """Rows are counted in the database before the transaction ends."""

    def one_more(data: bytes) -> bytes:
        manifest = json.loads(data)
        manifest["tables"] = [{**part, "rows": part["rows"] + 1} for part in manifest["tables"]]
        return json.dumps(manifest).encode()

    with pytest.raises(BadInputError, match=r"rows, not .* as its manifest says"):
        empty.restore(rewritten(archive, edit("manifest.json", one_more)))
    assert empty.is_empty()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_file_that_was_cut_short_is_refused(archive: Path, empty: Place, share: float) -> None:
    """A full disk or a broken copy: the end is missing, wherever it was cut."""
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInputError, match="is refused"):
        empty.restore(archive)
    assert empty.is_empty()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 zip", b"\0" * 20_000, gzip.compress(b"x" * 999)])
def test_a_file_that_is_no_backup_is_refused(content: bytes, empty: Place, tmp_path: Path) -> None:
    """The wrong file is one sentence, not a traceback."""
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(BadInputError, match=r"x\.tar is refused"):
        empty.restore(tmp_path / "x.tar")
    with pytest.raises(BadInputError, match="does not exist"):
        empty.restore(tmp_path / "none.tar")


def test_a_line_without_end_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A few packed kilobytes can unfold to gigabytes."""
    monkeypatch.setattr(pipeline.archive, "_LONGEST_LINE", 1000)
    packed = io.BytesIO(gzip.compress(b'"' + b"x" * 100_000 + b'"'))
    with pytest.raises(BadInputError, match="cannot be read"):
        list(pipeline.archive.json_lines(packed, "It"))


def test_sqlite_itself_can_read_what_was_restored(archive: Path, tmp_path: Path) -> None:
    """Its own integrity and foreign key checks find nothing."""
    place = Place(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "elsewhere", migrate=False)
    place.restore(archive)
    place.database.close()
    with sqlite3.connect(tmp_path / "new.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


# --- the commands


def run(words: Sequence[str], folder: Path) -> tuple[int, str, str]:
    import subprocess
    import sys
    from dataclasses import replace

    from pipeline.settings import Settings, as_environment

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        env=as_environment(replace(Settings(), data_dir=folder)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    """Backup on one data folder, restore on another, then its cases are there."""
    old, new, file = tmp_path / "old", tmp_path / "new", str(tmp_path / "a.tar")
    assert run(["backup", file], old)[::2] == (
        2,
        f"The database {old}/tingbo.sqlite3 does not exist: set data_dir or database_url to those "
        "of the installation.\n",
    )
    place = Place(f"sqlite:///{old}/tingbo.sqlite3", old / "clips")
    fill(place.database, place.clips)
    place.database.close()
    code, said, _ = run(["backup", file, "--clips"], old)
    assert (code, said.startswith(f"{file} holds ")) == (0, True)
    assert "and 3 clips." in said
    code, said, _ = run(["restore", file], new)
    assert (code, said.startswith("Restored ")) == (0, True)
    code, said, _ = run(["cases", "list", "--json"], new)
    assert (code, len(json.loads(said))) == (0, 1)
    assert run(["restore", file], new)[0] == 2
