"""Places to back up and to restore to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.backup.place import Place, fill
from tests.databases import postgres_database


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
