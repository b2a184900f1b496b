"""Opening a database, bringing its schema up to date, and saying in one sentence what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from pipeline.errors import RefusedRowError, StoreError

#: Revision of the newest migration; a test keeps it so.
SCHEMA_REVISION = "0002"

_MIGRATIONS = Path(__file__).parent / "migrations"
#: How long a writer waits for another one (SQLite), in ms.
_BUSY_MS = 30_000
#: How PostgreSQL is waited for where the network swallows everything: TCP alone would wait for a
#: quarter of an hour, and no lease is renewed meanwhile. Seconds, but for the last one in ms.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8_000,
}
#: Any number of ours: it keeps two processes from migrating PostgreSQL at once.
_MIGRATION_LOCK = 7_464_967_062


class Database:
    """A SQLite file in WAL mode or a PostgreSQL, with the newest schema. Threads may share it.

    With `migrate` False it keeps the schema it has. Raises StoreError when it cannot be opened or
    fails.
    """

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        try:
            parsed = sa.make_url(url)
        except (ArgumentError, ValueError) as error:
            raise StoreError(
                "The database address is not understood: set database_url to "
                "sqlite:///file or postgresql://user@host/name."
            ) from error
        self._place = parsed.render_as_string(hide_password=True)
        # SQLite's writers ask again and again until it is their turn, and who asks most wins: a
        # hundred rooms of one process would starve the other processes.
        sqlite = parsed.get_backend_name() == "sqlite"
        self._turn: AbstractContextManager[object] = threading.Lock() if sqlite else nullcontext()
        with self._errors():
            self._engine = self._open(parsed)
        with ExitStack() as undo:
            undo.callback(self._engine.dispose)
            if migrate:
                self._migrate()
            undo.pop_all()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read from."""
        with self._errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection to write with, committed at the end, rolled back after an error."""
        # SQLite: taking the write lock at once avoids failing when a reader turns into a writer.
        engine = self._engine.execution_options(tingbo_writes=True)
        with self._turn, self._errors(), engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection that sees one moment of the database, whatever is written meanwhile."""
        engine = self._engine
        if engine.dialect.name == "postgresql":  # SQLite's read transactions are like that
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._errors(), engine.begin() as connection:
            yield connection

    def upgrade(self, connection: sa.Connection, revision: str = "head") -> None:
        """Bring the schema forward to `revision`, as part of the transaction of `connection`."""
        # Half a second of imports that an up-to-date database does not need.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        # Alembic reads % in options as a reference.
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            named = revision if revision != "head" else revision_of(connection)
            raise StoreError(
                f"The database {self._place} has schema {named}, which this "
                f"version of tingbo does not know ({SCHEMA_REVISION} is its newest): install "
                "a newer tingbo or choose another database_url."
            ) from error

    def _open(self, url: sa.URL) -> sa.Engine:
        if url.get_backend_name() == "sqlite":
            return self._open_sqlite(url)
        if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
            url = url.set(drivername="postgresql+psycopg")
            return sa.create_engine(url, pool_pre_ping=True, connect_args=_PATIENCE)
        raise StoreError(
            f"The database {self._place} is of a kind tingbo does not know: set database_url to "
            "sqlite:///file or postgresql://user@host/name."
        )

    def _open_sqlite(self, url: sa.URL) -> sa.Engine:
        try:
            Path(url.database or ".").absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The folder of the database {self._place} cannot be made ({error.strerror}): "
                "set data_dir or database_url to a place you may write to."
            ) from error
        engine = sa.create_engine(url)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _migrate(self) -> None:
        with self.read() as connection:
            if revision_of(connection) == SCHEMA_REVISION:
                return
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            self.upgrade(connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise RefusedRowError(
                f"The database {self._place} refuses a row ({_reason(error)}): "
                "add the broadcast and the segment it belongs to first."
            ) from error
        except DBAPIError as error:
            raise StoreError(
                f"The database {self._place} cannot be used ({_reason(error)}): "
                "check that it runs, has space and may be written, or correct database_url."
            ) from error
        except (ArgumentError, sa.exc.TimeoutError) as error:
            raise StoreError(
                f"The database {self._place} cannot be used ({error}): correct database_url."
            ) from error


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())


def revision_of(connection: sa.Connection) -> str | None:
    """Revision of the schema; None where there is none of ours."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The driver must not begin transactions of its own: _begin_sqlite does.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_MS}",
        "journal_mode = WAL",
        # With WAL a killed process loses nothing, a power cut at most the last moments.
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("tingbo_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
