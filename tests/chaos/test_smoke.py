"""One short scenario with real processes, so that the harness does not rot between its runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.chaos.books import Wrong, imbalances
from tests.chaos.installation import installation
from tests.chaos.scenarios import kill_ingest
from tests.chaos.stage import Scenario, Stage, play


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.timeout(300)  # about 15 s on an idle machine
def test_a_killed_listener_leaves_books_that_balance_and_a_lost_row_does_not(
    tmp_path: Path,
) -> None:
    """The scenario passes with all that was said; one transcript taken away, the books say so."""
    stages: list[Stage] = []

    def inject(stage: Stage) -> None:
        stages.append(stage)
        kill_ingest(stage)

    with installation(tmp_path, "sqlite") as here:
        outcome = play(here, Scenario("smoke", inject), "sqlite", rooms=1)
        assert outcome.wrong == ()
        assert outcome.segments == outcome.transcripts >= 2
        assert (outcome.lost, outcome.doubled, outcome.dead_letters) == (0, 0, 0)

        (stage,) = stages
        with sqlite3.connect(tmp_path / "sqlite" / "tingbo.sqlite3") as database:
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute("DELETE FROM transcripts WHERE seq = 0 AND broadcast LIKE '%-1'")
        (_, entries) = [imbalances(books) for books in stage.balance()]
        assert {entry.wrong for entry in entries} == {Wrong.LOST, Wrong.UNTRUE}
