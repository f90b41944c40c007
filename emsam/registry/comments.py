"""What people say of places in the masks that they review."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import insert, select

from emsam.errors import InputError
from emsam.registry.database import Database
from emsam.registry.ledger import actor, now
from emsam.registry.tables import COMMENTS
from emsam.settings import Settings

LONGEST = 2000
"""Characters of a comment."""


@dataclass(frozen=True)
class Comment:
    """A remark on a pixel.

    Attributes
    ----------
    digest, data
        Data set version that was looked at, and the name of its volume.
    subject
        What was compared on it, see :func:`decision_subject` and :func:`run_subject`.
    at
        UTC, ISO 8601.
    """

    digest: str
    data: str
    subject: str
    z: int
    y: int
    x: int
    text: str
    by: str
    at: str


def decision_subject(sha256: str) -> str:
    """The masks that a decision was made on."""
    return f"decision {sha256}"


def run_subject(*run_ids: str) -> str:
    """The masks of one run or two, in whichever order they were chosen."""
    return "runs " + " ".join(sorted(run_ids))


def add_comment(
    place: tuple[int, int, int],
    text: str,
    settings: Settings,
    *,
    digest: str,
    data: str,
    subject: str,
    by: str = "",
) -> Comment:
    """Keep a comment on the pixel z, y, x.

    Raises
    ------
    InputError
        It says nothing, or too much.
    """
    text = text.strip()
    if not text:
        raise InputError("the comment says nothing; write what is to be seen there")
    if len(text) > LONGEST:
        raise InputError(f"the comment has {len(text)} characters; at most {LONGEST} are kept")
    z, y, x = place
    comment = Comment(digest, data, subject, z, y, x, text, actor(by), now())
    with Database(settings).begin() as connection:
        connection.execute(insert(COMMENTS), asdict(comment))
    return comment


def comments_on(digest: str, subject: str, settings: Settings) -> list[Comment]:
    """Comments on masks on a data set version, the oldest first."""
    query = (
        select(COMMENTS)
        .where(COMMENTS.c.digest == digest, COMMENTS.c.subject == subject)
        .order_by(COMMENTS.c.id)
    )
    with Database(settings).read() as connection:
        rows = connection.execute(query).mappings().all()
    return [Comment(**{k: v for k, v in row.items() if k != "id"}) for row in rows]
