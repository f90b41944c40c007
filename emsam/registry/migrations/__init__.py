"""Alembic's migrations of the ledger's database; :mod:`emsam.registry.database` runs them."""
