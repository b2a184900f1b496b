"""Writing rows that may be there already, and finding those of a segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.records import SegmentKey


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]
) -> int:
    """Insert the rows whose key is new, leave the others alone, and give the number inserted."""
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing()
    # Inserts have no count unless it is asked for, and a batch has none on some drivers.
    statement = statement.execution_options(preserve_rowcount=True)
    return sum(connection.execute(statement.values(row)).rowcount for row in rows)


def of_segment(table: sa.Table, key: SegmentKey) -> tuple[sa.ColumnElement[bool], ...]:
    """Condition for the rows of one segment."""
    return (
        table.c.broadcast == key.broadcast,
        table.c.epoch == key.epoch,
        table.c.seq == key.seq,
    )


def key_columns(key: SegmentKey) -> dict[str, Any]:
    """The key of a segment as columns."""
    return {"broadcast": key.broadcast, "epoch": key.epoch, "seq": key.seq}
