"""Tables of the ledger's database. What changes here needs a migration in ``migrations/``."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table, Text, UniqueConstraint

METADATA = MetaData()
VERSION_TABLE = "emsam_revision"
"""Not Alembic's default name, which MLflow's tables use in a database that both may share."""

LEDGER = Table(
    "ledger",
    METADATA,
    Column("name", String(255), primary_key=True),
    # with the name, the key: a number that two promoters want goes to one of them
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("action", String(32), nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer),
    Column("previous_version", Integer),
    Column("decision_sha256", String(64)),
    Column("approved_by", Text),
    Column("approval_reason", Text),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("before_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
)
"""What moved the champion of each model; rows are added, never changed."""

INTENTS = Table(
    "intents",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("previous_before", Integer),
    Column("document", Text, nullable=False),
)
"""The row that a model's ledger is about to get; at most one, gone when aliases have followed."""

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("candidate", String(255), nullable=False),
    Column("document", Text, nullable=False),
    Column("at", String(32), nullable=False),
)
"""Every decision of the gate, as it was digested."""

APPROVALS = Table(
    "approvals",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("decision_sha256", String(64), nullable=False, index=True),
    Column("candidate", String(255), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("answer", String(16), nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
)
"""What people said of decisions; the last word on one counts."""

LOOKS = Table(
    "looks",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("split", String(16), nullable=False),
    Column("model", String(255), nullable=False),
    Column("package", String(64), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("by", Text, nullable=False),
    Column("at", String(32), nullable=False),
    UniqueConstraint("digest", "split", "model", "package", name="one_look"),
)
"""Which models were scored on which slices."""

COMMENTS = Table(
    "comments",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("data", Text, nullable=False),
    Column("subject", String(512), nullable=False),
    Column("z", Integer, nullable=False),
    Column("y", Integer, nullable=False),
    Column("x", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", String(32), nullable=False),
)
"""What people said of places in masks."""
