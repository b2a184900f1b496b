"""Backing up and restoring what an installation remembers: every row, and the clips if wanted."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from pipeline import __version__
from pipeline.archive import (
    CLIP_LIST,
    FORMAT,
    MANIFEST,
    Archive,
    Manifest,
    TablePart,
    sha256_of,
    table_name,
)
from pipeline.clips import ClipStore
from pipeline.codec import encode
from pipeline.errors import BadInputError, ClipStoreError, MissingError
from pipeline.store.database import Database, revision_of

_AT_ONCE = 500
_OWN = "alembic_version"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What was written or restored."""

    manifest: Manifest
    rows: int
    missing: tuple[str, ...] = ()
    """URIs of clips that the rows name and the clip store does not have."""


def back_up(
    database: Database, clips: ClipStore, path: Path, now: dt.datetime, *, with_clips: bool
) -> BackedUp:
    """Write one moment of the records to the new file `path`, for its owner's eyes only.

    What is written meanwhile is in it wholly or not at all, and no writer waits. Raises
    BadInputError when `path` is there, MissingError when it cannot be written, StoreError.
    """
    with _new_file(path) as tar, database.snapshot() as connection:
        schema = revision_of(connection)
        if schema is None:
            raise BadInputError("The database has no records of tingbo: correct database_url.")
        parts = [_dump(connection, table, tar) for table in tables_of(connection)]
        listed, missing = _add_clips(connection, clips, tar) if with_clips else (None, ())
        manifest = Manifest(
            format=FORMAT,
            tingbo=__version__,
            schema=schema,
            made_at=now,
            clips_root=clips.root_uri,
            tables=tuple(parts),
            clips=None if listed is None else listed[0],
            clip_list_sha256=listed[1] if listed else "",
        )
        _add(tar, MANIFEST, encode(manifest).encode())
    return BackedUp(manifest, sum(part.rows for part in parts), missing)


def restore(archive: Archive, database: Database, clips: ClipStore) -> BackedUp:
    """Put a backup into an empty database and its clips into the clip store.

    All rows come or none. An older schema is brought forward; URIs of clips lead to where the clips
    are now. Raises BadInputError when the database is not empty or the backup does not fit.
    """
    manifest = archive.manifest
    with database.write() as connection:
        _expect_empty(connection, manifest.schema)
        if revision_of(connection) is None:
            database.upgrade(connection, manifest.schema)
        tables = {table.name: table for table in tables_of(connection)}
        if set(tables) != {part.name for part in manifest.tables}:
            raise BadInputError(
                f"The backup is refused: its tables are not those of schema {manifest.schema}."
            )
        moved = (manifest.clips_root, clips.root_uri)
        for table in tables.values():
            part = next(one for one in manifest.tables if one.name == table.name)
            _load(connection, table, archive.rows(table.name), part.rows, moved)
        database.upgrade(connection)
        for name, data in archive.clips():
            clips.put_file(name, data)
    return BackedUp(manifest, sum(part.rows for part in manifest.tables))


def tables_of(connection: sa.Connection) -> list[sa.Table]:
    """The tables that are in the database, those that others refer to first."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != _OWN]


def _dump(connection: sa.Connection, table: sa.Table, tar: tarfile.TarFile) -> TablePart:
    rows = 0
    query = sa.select(table).order_by(*table.primary_key.columns)
    with tempfile.TemporaryFile() as file:
        # mtime 0: the same rows make the same file.
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
            for row in connection.execute(query, execution_options={"yield_per": _AT_ONCE}):
                plain = {name: _plain(value) for name, value in row._mapping.items()}  # noqa: SLF001 -- SQLAlchemy's public API
                packed.write(json.dumps(plain, ensure_ascii=False).encode() + b"\n")
                rows += 1
        sha256 = _add_file(tar, table_name(table.name), file)
    return TablePart(str(table.name), rows, sha256)  # SQLAlchemy's is a str of its own


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        # SQLite keeps no time zone: all times in it are UTC.
        at = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
        return at.isoformat()
    return value


def _add_clips(
    connection: sa.Connection, clips: ClipStore, tar: tarfile.TarFile
) -> tuple[tuple[int, str], tuple[str, ...]]:
    """Number of clips, sum of their list, and what was not there."""
    root, count, missing = f"{clips.root_uri}/", 0, []
    uri = sa.column("clip_uri", sa.Text)
    query = sa.select(uri).select_from(sa.table("segments")).distinct().order_by(uri)
    with tempfile.TemporaryFile() as file:
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
            for (one,) in connection.execute(query, execution_options={"yield_per": _AT_ONCE}):
                try:
                    data = clips.read_file(one)
                except ClipStoreError:
                    missing.append(one)
                    continue
                name = one.removeprefix(root)
                _add(tar, f"clips/{name}", data)
                line = json.dumps([name, hashlib.sha256(data).hexdigest()])
                packed.write(line.encode() + b"\n")
                count += 1
        sha256 = _add_file(tar, CLIP_LIST, file)
    return (count, sha256), tuple(missing)


def _add_file(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> str:
    """Add a file that was written, and give its sha256."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = file.tell(), 0o600
    file.seek(0)
    sha256 = sha256_of(file)
    file.seek(0)
    tar.addfile(info, file)
    return sha256


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


@contextmanager
def _new_file(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar that is at `path` when it is whole, and leaves nothing behind when it is not."""
    if path.exists():
        raise BadInputError(f"The file {path} exists already: give the backup another name.")
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # rows hold addresses with tokens
        with tarfile.open(part, "w") as tar:
            yield tar
        part.replace(path)
    except OSError as error:
        raise MissingError(
            f"The backup {path} cannot be written ({error.strerror}): "
            "free some space or choose another folder."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _expect_empty(connection: sa.Connection, schema: str) -> None:
    filled = [
        table.name
        for table in tables_of(connection)
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
    ]
    if filled:
        raise BadInputError(
            f"The database has rows already ({', '.join(filled)}): a backup is restored into an "
            "empty one only; set database_url to a new database."
        )
    there = revision_of(connection)
    if there not in (None, schema):
        raise BadInputError(
            f"The database is empty and has schema {there}, the backup has {schema}: set "
            "database_url to a database without tables."
        )


def _load(
    connection: sa.Connection,
    table: sa.Table,
    rows: Iterator[dict[str, Any]],
    expected: int,
    moved: tuple[str, str],
) -> None:
    read = _reader(table, moved)
    while batch := [read(row) for row in islice(rows, _AT_ONCE)]:
        connection.execute(sa.insert(table), batch)
    loaded = connection.scalar(sa.select(sa.func.count()).select_from(table))
    if loaded != expected:
        raise BadInputError(
            f"The backup is refused: {table.name} has {loaded} rows, not {expected} as its "
            "manifest says. Take another one."
        )


def _reader(table: sa.Table, moved: tuple[str, str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What makes a row of the table out of one of the backup."""
    times = {one.name for one in table.columns if isinstance(one.type, sa.DateTime)}
    names = {one.name for one in table.columns}
    old, new = moved

    def read(row: dict[str, Any]) -> dict[str, Any]:
        if set(row) != names:
            raise BadInputError(f"The backup is refused: a row of {table.name} has other columns.")
        found = dict(row)
        for name in times:
            if found[name] is not None:
                found[name] = dt.datetime.fromisoformat(found[name])
        uri = found.get("clip_uri")
        if uri and uri.startswith(f"{old}/"):
            found["clip_uri"] = new + uri.removeprefix(old)
        return found

    return read
