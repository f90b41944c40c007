"""Alembic runs this file, with the connection that it was given."""

from __future__ import annotations

from alembic import context

from emsam.registry.tables import METADATA, VERSION_TABLE


def migrate() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # the name that Alembic gives it; an import alone migrates nothing
    migrate()
