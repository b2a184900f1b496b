"""Damaged and foreign backups are refused, and change nothing."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline.archive
from pipeline.errors import BadInputError, StoreError
from tests.backup.place import Place

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


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    """A few packed kilobytes can unfold to gigabytes."""
    packed = io.BytesIO(gzip.compress(b'"' + b"x" * 100_000 + b'"'))
    with pytest.raises(BadInputError, match="cannot be read"):
        list(pipeline.archive.json_lines(packed, "It", longest=1000))


def test_sqlite_itself_can_read_what_was_restored(archive: Path, tmp_path: Path) -> None:
    """Its own integrity and foreign key checks find nothing."""
    place = Place(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "elsewhere", migrate=False)
    place.restore(archive)
    place.database.close()
    with sqlite3.connect(tmp_path / "new.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
