"""Live rooms: leases and states, epochs, priorities, second opinions."""

import datetime as dt

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns with defaults, so that rows of the first schema stay as they are."""
    for column in (
        sa.Column("platform", sa.Text(), nullable=False, server_default=""),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("language", sa.Text(), nullable=False, server_default="zh"),
        sa.Column("state", sa.Text(), nullable=False, server_default="waiting"),
        sa.Column("state_reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("state_at", sa.DateTime(timezone=True)),
        sa.Column("holder", sa.Text()),
        sa.Column("held_until", sa.DateTime(timezone=True)),
        sa.Column("push_token_sha256", sa.Text()),
    ):
        op.add_column("rooms", column)
    op.create_index(op.f("ix_rooms_holder"), "rooms", ["holder"], unique=False)
    op.create_table(
        "ingesters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("max_rooms", sa.Integer(), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ingesters")),
    )
    op.add_column("broadcasts", sa.Column("ended_at", sa.DateTime(timezone=True)))
    op.add_column(
        "segments", sa.Column("priority", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_index(op.f("ix_segments_at"), "segments", ["at"], unique=False)
    op.add_column("transcripts", sa.Column("judged_at", sa.DateTime(timezone=True)))
    # Those of the first schema have been judged: nobody must do it all again.
    transcripts = sa.table("transcripts", sa.column("judged_at", sa.DateTime(timezone=True)))
    op.execute(sa.update(transcripts).values(judged_at=dt.datetime.now(dt.UTC)))
    op.create_table(
        "epochs",
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast"], ["broadcasts.id"], name=op.f("fk_epochs_broadcasts")
        ),
        sa.PrimaryKeyConstraint("broadcast", "epoch", name=op.f("pk_epochs")),
    )
    op.create_table(
        "second_opinions",
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast", "epoch", "seq"],
            ["segments.broadcast", "segments.epoch", "segments.seq"],
            name=op.f("fk_second_opinions_segments"),
        ),
        sa.PrimaryKeyConstraint("broadcast", "epoch", "seq", name=op.f("pk_second_opinions")),
    )
    op.add_column("cases", sa.Column("pitch", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_cases_room_pitch"), "cases", ["room", "pitch"], unique=False)
    op.create_table(
        "corrections",
        sa.Column("finding", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["finding"], ["findings.id"], name=op.f("fk_corrections_findings")),
        sa.PrimaryKeyConstraint("finding", name=op.f("pk_corrections")),
    )
