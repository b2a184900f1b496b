"""Opening a database: the newest schema, several at once, one sentence when it fails."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pipeline.errors import StoreError
from pipeline.store.database import SCHEMA_REVISION, Database
from pipeline.store.schema import metadata

MIGRATIONS = Path(sys.modules[Database.__module__].__file__ or "").parent / "migrations"

AT = dt.datetime(2026, 11, 11, 20, 0, tzinfo=dt.UTC)

OPEN = """
import sys
from pipeline.store import Store
Store(sys.argv[1]).close()
"""


def test_the_migrations_lead_to_the_schema_of_the_code(database_url: str) -> None:
    """A table changed without a migration is found here."""
    database = Database(database_url)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    """Opening skips the migrations when the database is at this revision."""
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == SCHEMA_REVISION


def test_opening_again_keeps_the_rows(database_url: str) -> None:
    """A second start finds what the first one wrote."""
    rooms = metadata.tables["rooms"]
    first = Database(database_url)
    with first.write() as connection:
        connection.execute(sa.insert(rooms).values(name="r", url="u", added_at=AT))
    first.close()
    second = Database(database_url)
    with second.read() as connection:
        assert connection.scalar(sa.select(rooms.c.name)) == "r"
    second.close()


def test_many_processes_may_open_an_empty_database_at_once(database_url: str) -> None:
    """All roles start together on a new system; one of them makes the schema."""
    command = [sys.executable, "-c", OPEN, database_url]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [child.communicate()[1] for child in children] == ["", "", ""]


def test_rows_of_an_older_schema_come_along(database_url: str) -> None:
    """Every released schema is migrated forward with what it holds."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.text("INSERT INTO rooms (name, url, added_at) VALUES ('r', 'u', '2026-11-11')")
        )
        connection.execute(sa.text("INSERT INTO broadcasts VALUES ('b', 'r', '2026-11-11')"))
        connection.execute(
            sa.text(
                "INSERT INTO segments VALUES "
                "('b', 0, 0, 'r', 0, 900, '2026-11-11', 'clip', 'sha', 'zh')"
            )
        )
    engine.dispose()
    database = Database(database_url)
    with database.read() as connection:
        room = connection.execute(sa.text("SELECT platform, priority, state FROM rooms")).one()
        assert tuple(room) == ("", 0, "waiting")
        assert connection.scalar(sa.text("SELECT priority FROM segments")) == 0
        assert connection.scalar(sa.text("SELECT ended_at FROM broadcasts")) is None
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_a_failed_transaction_leaves_nothing(database_url: str) -> None:
    """All rows of a method or none."""
    database = Database(database_url)

    def write(room: str | None) -> None:
        with database.write() as connection:
            add = sa.insert(metadata.tables["broadcasts"])
            connection.execute(add.values(id="b", room="r", started_at=AT))
            connection.execute(add.values(id="c", room=room, started_at=AT))

    with pytest.raises(StoreError, match="refuses a row"):
        write(None)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT * FROM broadcasts")).all() == []
    database.close()


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite has one writer at a time; the others wait instead of failing."""
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")

    def add(number: int) -> None:
        with database.write() as connection:
            count = connection.scalar(sa.text("SELECT count(*) FROM broadcasts"))
            time.sleep(0.005)  # all of them have read before the first one writes
            connection.execute(
                sa.text("INSERT INTO broadcasts VALUES (:id, :count, CURRENT_TIMESTAMP, NULL)"),
                {"id": str(number), "count": str(count)},
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    with database.read() as connection:
        counts = connection.scalars(sa.text("SELECT room FROM broadcasts")).all()
    assert sorted(map(int, counts)) == list(range(40))
    database.close()


def test_sqlite_keeps_a_log_that_survives_a_kill(tmp_path: Path) -> None:
    """WAL, so that readers never wait for the writer, and foreign keys that are checked."""
    database = Database(f"sqlite:///{tmp_path / 'new' / 'folder' / 'a.db'}")
    with database.read() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
    database.close()


def test_a_newer_schema_is_refused(database_url: str) -> None:
    """An old tingbo must not write into a database it does not understand."""
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match=r"has schema 9999, which this version .* install a newer"):
        Database(database_url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("no address", "The database address is not understood: set database_url to"),
        ("mysql://host/name", "is of a kind tingbo does not know: set database_url to"),
        ("sqlite:////proc/none/tingbo.db", r"cannot be made \(.*\): set data_dir or database_url"),
        ("sqlite:////", r"cannot be used \(unable to open database file\): check that it runs"),
        (
            "postgresql://me:hunter2@127.0.0.1:1/name",
            r"postgresql://me:\*\*\*@127\.0\.0\.1:1/name cannot be used \(.*refused",
        ),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence(url: str, expected: str) -> None:
    """Place, reason, remedy, and never the password."""
    with pytest.raises(StoreError, match=expected) as error:
        Database(url)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_never_answers_is_given_up_soon() -> None:
    """A network that swallows everything is an error too: leases are held only by who knows it."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as thread:
        url = f"postgresql://tingbo@127.0.0.1:{silent.getsockname()[1]}/records"
        opened = thread.submit(Database, url)
        with pytest.raises(StoreError, match="timeout expired"):
            opened.result(timeout=60)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    """Some other file in the way is named, and stays as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes" * 100)
    with pytest.raises(StoreError, match=r"cannot be used \(file is not a database\)"):
        Database(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")
