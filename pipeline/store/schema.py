"""The tables. Every row has a natural key, so that writing it twice changes nothing.

Times named *_ms stand on the broadcast's media clock; `at` columns are wall time in UTC. A change
here needs a migration in pipeline/store/migrations/versions; a test compares the two.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa


class UtcTime(sa.TypeDecorator[dt.datetime]):
    """An aware wall time in UTC, also where the database keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Any) -> dt.datetime | None:  # noqa: ARG002
        """Refuse a naive time: nobody knows which one it is."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Any) -> dt.datetime | None:  # noqa: ARG002
        """Put the time zone back that SQLite leaves out."""
        if value is None or value.tzinfo is not None:
            return value and value.astimezone(dt.UTC)
        return value.replace(tzinfo=dt.UTC)


#: Names of constraints are the same on every database, so that migrations can name them.
metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

rooms = sa.Table(
    "rooms",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("added_at", UtcTime, nullable=False),
    sa.Column("platform", sa.Text, nullable=False, server_default=""),
    # Higher ones are heard first and shed last.
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("language", sa.Text, nullable=False, server_default="zh"),
    # What the ingester that holds the room last said of it.
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("state_reason", sa.Text, nullable=False, server_default=""),
    sa.Column("state_at", UtcTime),
    # The lease: who listens to it, and until when nobody else may.
    sa.Column("holder", sa.Text, index=True),
    sa.Column("held_until", UtcTime),
    # SHA-256 of the token of a room whose sound is pushed to us.
    sa.Column("push_token_sha256", sa.Text),
)

# Who can listen to rooms; one that is killed is gone when its time has passed.
ingesters = sa.Table(
    "ingesters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("max_rooms", sa.Integer, nullable=False),
    sa.Column("alive_until", UtcTime, nullable=False),
)

broadcasts = sa.Table(
    "broadcasts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("room", sa.Text, nullable=False, index=True),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
)

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("broadcast", sa.Text, sa.ForeignKey("broadcasts.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    # Where it begins on the broadcast's media clock, and when that was.
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("broadcast", sa.Text, sa.ForeignKey("broadcasts.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("room", sa.Text, nullable=False),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("end_ms", sa.BigInteger, nullable=False),
    sa.Column("at", UtcTime, nullable=False, index=True),
    sa.Column("clip_uri", sa.Text, nullable=False),
    sa.Column("clip_sha256", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
)


def _of_segment() -> list[sa.schema.SchemaItem]:
    """Key columns of a table whose rows belong to a segment."""
    return [
        sa.Column("broadcast", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.ForeignKeyConstraint(
            ["broadcast", "epoch", "seq"],
            ["segments.broadcast", "segments.epoch", "segments.seq"],
        ),
    ]


transcripts = sa.Table(
    "transcripts",
    metadata,
    *_of_segment(),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("end_ms", sa.BigInteger, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    # When detection was done with it; until then it is work that must not be forgotten.
    sa.Column("judged_at", UtcTime),
    sa.PrimaryKeyConstraint("broadcast", "epoch", "seq"),
    sa.Index(None, "broadcast", "start_ms"),
)

# What a second, larger model understood; the transcript above is what was judged.
second_opinions = sa.Table(
    "second_opinions",
    metadata,
    *_of_segment(),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("broadcast", "epoch", "seq"),
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    *_of_segment(),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("subtype", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index(None, "broadcast", "start_ms"),
)

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("room", sa.Text, nullable=False),
    sa.Column("broadcast", sa.Text, sa.ForeignKey("broadcasts.id"), nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("subtype", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opener", sa.Text, sa.ForeignKey("findings.id"), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("clip_uri", sa.Text, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("heard_at", UtcTime, nullable=False),
    # Of the finding that opened it; empty in rows of the first schema.
    sa.Column("pitch", sa.Text, nullable=False, server_default=""),
    sa.Index(None, "state", "opened_at"),
    sa.Index(None, "broadcast", "category", "subtype"),
    sa.Index(None, "room", "pitch"),
)

corrections = sa.Table(
    "corrections",
    metadata,
    # What is taken back is taken back once.
    sa.Column("finding", sa.Text, sa.ForeignKey("findings.id"), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
)

case_findings = sa.Table(
    "case_findings",
    metadata,
    # A finding is decided once: it belongs to one case.
    sa.Column("finding", sa.Text, sa.ForeignKey("findings.id"), primary_key=True),
    sa.Column("case", sa.Text, sa.ForeignKey("cases.id"), nullable=False, index=True),
)

stretches = sa.Table(
    "stretches",
    metadata,
    sa.Column("broadcast", sa.Text, sa.ForeignKey("broadcasts.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("start_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("end_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
)
