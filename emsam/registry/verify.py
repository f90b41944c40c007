"""Whether a model's ledger is whole, and says what decisions and aliases say."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from emsam.registry.book import open_book
from emsam.registry.database import Database
from emsam.registry.decisions import decision_file, digest_of, recorded_text
from emsam.registry.ledger import ADOPTED, Entry
from emsam.registry.models import ABSENT
from emsam.settings import Settings


def verify_ledger(name: str, settings: Settings) -> tuple[int, list[str]]:
    """Check the chain of digests, the decisions that it names, and the aliases.

    Returns
    -------
    tuple
        Number of rows, and what is wrong, in words; nothing if all is well.

    Raises
    ------
    InputError
        No model of that name.
    """
    with open_book(name, settings) as book:
        rows = book.ledger.entries(name)
        wrong = broken_links(rows)
        for row in rows:
            wrong += _wrong_decision(row, book.ledger.database, book.client, settings)
        if found := book.disagreement():
            wrong.append(f"aliases: {found}")
    return len(rows), wrong


def broken_links(rows: list[Entry]) -> list[str]:
    """What is wrong with the chain of a model's rows."""
    wrong = []
    before: Entry | None = None
    for row in rows:
        what = f"sequence {row.sequence}"
        first = 0 if row.action == ADOPTED else 1
        if row.sequence != (before.sequence + 1 if before else first):
            wrong.append(f"{what}: a row before it is missing")
        elif row.before_sha256 != (before.sha256 if before else ""):
            wrong.append(f"{what}: names another row before it; one of them was changed")
        if row.digest() != row.sha256:
            wrong.append(f"{what}: its content does not have its sha256 {row.sha256[:12]}")
        if before and row.from_version != before.to_version and row.action != ADOPTED:
            wrong.append(f"{what}: began at {row.from_version}, where {before.to_version} was")
        before = row
    return wrong


def _wrong_decision(
    row: Entry, database: Database, client: MlflowClient, settings: Settings
) -> list[str]:
    """Every copy of the decision that a row names must have the sha256 that it names."""
    sha256 = row.decision_sha256
    if sha256 is None:
        return []
    what = f"sequence {row.sequence}: decision {sha256[:12]}"
    text = recorded_text(database, sha256)
    if text is None:
        return [f"{what} is not in the ledger's database"]
    wrong = []
    if digest_of(text) != sha256:
        wrong.append(f"{what} was altered in the ledger's database")
    file = decision_file(sha256, settings)
    if file.exists() and digest_of(file.read_text()) != sha256:
        wrong.append(f"{what} was altered in {file}")
    tags = _tags_of(client, row)
    mine = tags.get("emsam.decision_sha256") == sha256  # a later decision takes the tag's place
    if mine and digest_of(tags.get("emsam.decision", "")) != sha256:
        wrong.append(f"{what} was altered in the tag of {row.name}/{row.to_version}")
    return wrong


def _tags_of(client: MlflowClient, row: Entry) -> dict[str, str]:
    try:
        return dict(client.get_model_version(row.name, str(row.to_version)).tags)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return {}
