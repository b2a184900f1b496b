"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "broadcasts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("room", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcasts")),
    )
    op.create_index(op.f("ix_broadcasts_room"), "broadcasts", ["room"], unique=False)
    op.create_table(
        "rooms",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rooms")),
    )
    op.create_table(
        "segments",
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("room", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clip_uri", sa.Text(), nullable=False),
        sa.Column("clip_sha256", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast"], ["broadcasts.id"], name=op.f("fk_segments_broadcasts")
        ),
        sa.PrimaryKeyConstraint("broadcast", "epoch", "seq", name=op.f("pk_segments")),
    )
    op.create_table(
        "stretches",
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast"], ["broadcasts.id"], name=op.f("fk_stretches_broadcasts")
        ),
        sa.PrimaryKeyConstraint(
            "broadcast", "epoch", "start_ms", "end_ms", "kind", name=op.f("pk_stretches")
        ),
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("subtype", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast", "epoch", "seq"],
            ["segments.broadcast", "segments.epoch", "segments.seq"],
            name=op.f("fk_findings_segments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    op.create_index(
        op.f("ix_findings_broadcast_start_ms"), "findings", ["broadcast", "start_ms"], unique=False
    )
    op.create_table(
        "transcripts",
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["broadcast", "epoch", "seq"],
            ["segments.broadcast", "segments.epoch", "segments.seq"],
            name=op.f("fk_transcripts_segments"),
        ),
        sa.PrimaryKeyConstraint("broadcast", "epoch", "seq", name=op.f("pk_transcripts")),
    )
    op.create_index(
        op.f("ix_transcripts_broadcast_start_ms"),
        "transcripts",
        ["broadcast", "start_ms"],
        unique=False,
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("room", sa.Text(), nullable=False),
        sa.Column("broadcast", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("subtype", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opener", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("clip_uri", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["broadcast"], ["broadcasts.id"], name=op.f("fk_cases_broadcasts")),
        sa.ForeignKeyConstraint(["opener"], ["findings.id"], name=op.f("fk_cases_findings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
    )
    op.create_index(
        op.f("ix_cases_broadcast_category_subtype"),
        "cases",
        ["broadcast", "category", "subtype"],
        unique=False,
    )
    op.create_index(op.f("ix_cases_state_opened_at"), "cases", ["state", "opened_at"], unique=False)
    op.create_table(
        "case_findings",
        sa.Column("finding", sa.Text(), nullable=False),
        sa.Column("case", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case"], ["cases.id"], name=op.f("fk_case_findings_cases")),
        sa.ForeignKeyConstraint(
            ["finding"], ["findings.id"], name=op.f("fk_case_findings_findings")
        ),
        sa.PrimaryKeyConstraint("finding", name=op.f("pk_case_findings")),
    )
    op.create_index(op.f("ix_case_findings_case"), "case_findings", ["case"], unique=False)
