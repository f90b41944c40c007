"""Prefect flows of the life cycle, one a file: thin, they call what ``emsam`` commands call."""
