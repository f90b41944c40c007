"""Comments on masks, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text as sql

from emsam.errors import InputError
from emsam.registry.comments import (
    LONGEST,
    add_comment,
    comments_on,
    decision_subject,
    run_subject,
)
from emsam.registry.database import REVISION, Database
from emsam.registry.looks import count_looks, record_look
from emsam.registry.tables import VERSION_TABLE
from emsam.settings import Settings
from tests.registry.conftest import settings_in

DIGEST = "0123456789abcdef0123456789abcdef.dir"
SUBJECT = decision_subject("a" * 64)


def test_comments_come_back_in_their_order(either: Settings) -> None:
    said = ["a merge? <script>", "Größe µ 神経", "x" * LONGEST]
    for z, text in enumerate(said):
        add_comment(
            (z, 5, 4096), f" {text}\n", either, digest=DIGEST, data="tissue", subject=SUBJECT,
            by="Ada",
        )  # fmt: skip
    found = comments_on(DIGEST, SUBJECT, either)
    assert [each.text for each in found] == said
    assert [(each.z, each.y, each.x, each.by) for each in found][1] == (1, 5, 4096, "Ada")
    assert sorted(each.at for each in found) == [each.at for each in found]


def test_comments_belong_to_a_data_version_and_to_what_was_compared(either: Settings) -> None:
    def say(digest: str, subject: str) -> None:
        add_comment((0, 0, 0), "here", either, digest=digest, data="a", subject=subject, by="Ada")

    say(DIGEST, SUBJECT)
    say("other.dir", SUBJECT)
    say(DIGEST, run_subject("2", "1"))
    assert len(comments_on(DIGEST, SUBJECT, either)) == 1
    assert len(comments_on(DIGEST, run_subject("1", "2"), either)) == 1  # in either order
    assert comments_on(DIGEST, run_subject("1"), either) == []


@pytest.mark.parametrize(("text", "message"), [(" \n", "says nothing"), ("x" * 2001, "at most")])
def test_what_cannot_be_kept_is_refused(tmp_path: Path, text: str, message: str) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(InputError, match=message):
        add_comment((0, 0, 0), text, settings, digest=DIGEST, data="a", subject=SUBJECT)
    assert comments_on(DIGEST, SUBJECT, settings) == []


def test_a_ledger_of_before_comments_keeps_its_rows(either: Settings) -> None:
    record_look(DIGEST, "test", either, model="a", package="b", purpose="gate", by="Ada")
    with Database(either).begin() as connection:
        connection.execute(sql("DROP TABLE comments"))
        connection.execute(sql(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))
    assert comments_on(DIGEST, SUBJECT, either) == []
    assert count_looks(DIGEST, "test", either) == 1
    with Database(either).read() as connection:
        assert connection.execute(sql(f"SELECT * FROM {VERSION_TABLE}")).scalar() == REVISION
