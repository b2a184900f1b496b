"""The operator's commands: `tingbo backup` and `tingbo restore`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console

from pipeline.errors import BadInputError, ExitCode
from pipeline.settings import Settings, load_settings

EPILOG = "Exit codes: 0 done · 2 bad input or usage · 3 something is missing here."

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def backup(
    file: Annotated[Path, typer.Argument(help="The tar file to write; it must not exist.")],
    *,
    clips: Annotated[bool, typer.Option("--clips", help="The sound of all segments too.")] = False,
) -> None:
    """One moment of all records in one file, while everything goes on; also for another database.

    Example: tingbo backup monday.tar --clips
    """
    from pipeline.backup import back_up
    from pipeline.clips import ClipStore
    from pipeline.store.database import Database

    settings = load_settings()
    _expect_records(settings)
    database = Database(settings.effective_database_url, migrate=False)
    try:
        done = back_up(
            database,
            ClipStore(settings.effective_clips_url, settings.clip_format),
            file,
            dt.datetime.now(dt.UTC),
            with_clips=clips,
        )
    finally:
        database.close()
    _tell(f"{file} holds", done.rows, done.manifest.clips, done.manifest.schema)
    for uri in done.missing:
        err.print(f"This clip is not in the clip store: {uri}", style="red", markup=False)
    raise typer.Exit(ExitCode.MISSING if done.missing else ExitCode.CLEAN)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `tingbo backup` wrote.")],
) -> None:
    """Put a backup into an empty database; older ones are brought to the schema of this version.

    Example: TINGBO_DATABASE_URL=postgresql://user@host/new tingbo restore monday.tar
    """
    from pipeline.archive import opened_archive
    from pipeline.backup import restore as put_back
    from pipeline.clips import ClipStore
    from pipeline.store.database import Database

    settings = load_settings()
    with opened_archive(file) as archive:
        database = Database(settings.effective_database_url, migrate=False)
        try:
            clips = ClipStore(settings.effective_clips_url, settings.clip_format)
            done = put_back(archive, database, clips)
        finally:
            database.close()
    _tell("Restored", done.rows, done.manifest.clips, done.manifest.schema)


def _expect_records(settings: Settings) -> None:
    """Opening a SQLite file that is not there would make an empty one."""
    url = sa.make_url(settings.effective_database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise BadInputError(
            f"The database {url.database} does not exist: set data_dir or database_url to those "
            "of the installation."
        )


def _tell(what: str, rows: int, clips: int | None, schema: str) -> None:
    sound = "no clips" if clips is None else f"{clips} clips"
    out.print(f"{what} {rows} rows (schema {schema}) and {sound}.", markup=False)
