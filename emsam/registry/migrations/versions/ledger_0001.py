"""Ledger, intents, decisions, approvals, looks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_moves()
    _create_decisions()
    _create_looks()


def _create_moves() -> None:
    """What moved the champion, and what is about to."""
    op.create_table(
        "ledger",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("from_version", sa.Integer),
        sa.Column("to_version", sa.Integer),
        sa.Column("previous_version", sa.Integer),
        sa.Column("decision_sha256", sa.String(64)),
        sa.Column("approved_by", sa.Text),
        sa.Column("approval_reason", sa.Text),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("before_sha256", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_table(
        "intents",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("previous_before", sa.Integer),
        sa.Column("document", sa.Text, nullable=False),
    )


def _create_decisions() -> None:
    """What the gate said, and what people said of that."""
    op.create_table(
        "decisions",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("candidate", sa.String(255), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("decision_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("candidate", sa.String(255), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("answer", sa.String(16), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )


def _create_looks() -> None:
    """What was scored on which slices."""
    op.create_table(
        "looks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("package", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.UniqueConstraint("digest", "split", "model", "package", name="one_look"),
    )
