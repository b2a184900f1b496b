"""Backup and restore: everything comes back, on either database, and a bad file changes nothing."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.archive import opened_archive
from pipeline.backup import back_up
from pipeline.clips import ClipStore
from pipeline.errors import BadInputError, MissingError
from pipeline.records import (
    SegmentKey,
    SegmentMessage,
)
from pipeline.store import Rooms, Store
from pipeline.store.database import SCHEMA_REVISION
from pipeline.store.schema import metadata
from tests.backup.place import NOW, Place, fill, relocated, rows


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
