"""The file of a backup: a tar with the rows of each table, the clips, and a manifest at its end.

    tables/NAME.jsonl.gz    one JSON object a row, keys are columns, times are ISO 8601 in UTC
    clips/BROADCAST/EPOCH/SEQ.flac
    clips.jsonl.gz          [name, sha256] of each clip
    manifest.json           what must be there; a file without it was cut short

It is the same for every database, so a backup of SQLite can be restored into PostgreSQL.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.codec import decode
from pipeline.errors import BadInputError

FORMAT = "tingbo-backup-1"
MANIFEST = "manifest.json"
CLIP_LIST = "clips.jsonl.gz"

#: Names that a backup may hold. Nothing in them leads out of the folder of clips.
_TABLE = re.compile(r"tables/[a-z][a-z0-9_]{0,62}\.jsonl\.gz")
_CLIP = re.compile(r"clips/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,120}/\d{1,9}/\d{1,12}\.(flac|opus)")

_BLOCK = 2**20
#: Longer than any row: a crafted file cannot fill the memory.
_LONGEST_LINE = 64 * 2**20
_LARGEST_MANIFEST = 2**20


@dataclass(frozen=True, slots=True)
class TablePart:
    """A table in a backup."""

    name: str
    rows: int
    sha256: str
    """Of the member's content."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    format: str
    tingbo: str
    schema: str
    """Revision of the tables."""
    made_at: dt.datetime
    clips_root: str
    """What the clips' URIs in the rows begin with."""
    tables: tuple[TablePart, ...]
    """Those that others refer to come first."""
    clips: int | None = None
    """Number of clips; None: the backup was made without them."""
    clip_list_sha256: str = ""


def table_name(name: str) -> str:
    """Name of a table's member."""
    return f"tables/{name}.jsonl.gz"


def sha256_of(file: IO[bytes]) -> str:
    """Of the rest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def json_lines(packed: IO[bytes], what: str, longest: int = _LONGEST_LINE) -> Iterator[Any]:
    """Values of a packed member, line by line, up to `longest` bytes each.

    Raises BadInputError for anything else.
    """
    try:
        with gzip.open(packed, "rb") as lines:
            while line := lines.readline(longest):
                yield json.loads(line)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise BadInputError(f"{what} cannot be read ({error}): take another backup.") from error


class Archive:
    """A backup that was looked through: whole, with the right sums, and nothing else in it.

    Raises BadInputError, which says what is wrong with the file.
    """

    def __init__(self, tar: tarfile.TarFile, path: Path) -> None:
        self._tar = tar
        self._path = path
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            self._admit(member)
        self.manifest = self._manifest()
        self._check()

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Rows of a table as they were written."""
        with self._open(table_name(table)) as packed:
            yield from json_lines(packed, f"The table {table} in {self._path}")

    def clips(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each clip."""
        if self.manifest.clips is None:
            return
        with self._open(CLIP_LIST) as packed:
            for name, sha256 in json_lines(packed, f"The list of clips in {self._path}"):
                with self._open(f"clips/{name}") as file:
                    data = file.read()
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise self._bad(f"the clip {name} is damaged")
                yield name, data

    def _admit(self, member: tarfile.TarInfo) -> None:
        name = member.name
        known = name in (MANIFEST, CLIP_LIST) or _TABLE.fullmatch(name) or _CLIP.fullmatch(name)
        if not known or not member.isreg():
            raise self._bad(f"it holds {name!r}, which no backup has")
        if name in self._members:
            raise self._bad(f"it holds {name} twice")
        self._members[name] = member

    def _manifest(self) -> Manifest:
        member = self._members.get(MANIFEST)
        if member is None:
            raise self._bad("it has no manifest: it was cut short, or is something else")
        if member.size > _LARGEST_MANIFEST:
            raise self._bad("its manifest is too large")
        with self._open(MANIFEST) as file:
            manifest = decode(Manifest, file.read())
        if manifest.format != FORMAT:
            raise self._bad(f"its format {manifest.format} is not {FORMAT}")
        return manifest

    def _check(self) -> None:
        wanted = {table_name(part.name): part.sha256 for part in self.manifest.tables}
        if self.manifest.clips is not None:
            wanted[CLIP_LIST] = self.manifest.clip_list_sha256
        for name, sha256 in wanted.items():
            with self._open(name) as file:
                if sha256_of(file) != sha256:
                    raise self._bad(f"{name} is damaged (its sha256 differs)")
        clips = {name for name in self._members if name.startswith("clips/")}
        if set(self._members) - clips != {*wanted, MANIFEST}:
            raise self._bad("it holds tables that its manifest does not name")
        if len(clips) != (self.manifest.clips or 0):
            raise self._bad(f"it holds {len(clips)} clips, not {self.manifest.clips or 0}")

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        member = self._members.get(name)
        file = self._tar.extractfile(member) if member else None
        if file is None:
            raise self._bad(f"{name} is not in it")
        with file:
            yield file

    def _bad(self, reason: str) -> BadInputError:
        return BadInputError(f"The backup {self._path} is refused: {reason}. Take another one.")


@contextmanager
def opened_archive(path: Path) -> Iterator[Archive]:
    """The backup at `path`, looked through. Raises BadInputError when it cannot be used."""
    try:
        with tarfile.open(path, "r:") as tar:
            yield Archive(tar, path)
    except tarfile.TarError as error:
        raise BadInputError(
            f"The backup {path} is refused: it is no tar file, or was cut short ({error}). "
            "Take another one."
        ) from error
    except FileNotFoundError as error:
        raise BadInputError(f"The backup {path} does not exist: give the path of one.") from error
    except OSError as error:
        raise BadInputError(f"The backup {path} cannot be read ({error.strerror}).") from error
