"""The ledger's database on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text as sql

from emsam.errors import InputError, LedgerFailed
from emsam.registry.database import Busy, Database
from emsam.registry.looks import count_looks, looks_of, record_look
from emsam.registry.tables import METADATA, VERSION_TABLE
from emsam.settings import Settings
from tests.registry.conftest import settings_in

DIGEST = "0123456789abcdef0123456789abcdef.dir"


def test_the_migrations_make_the_tables(either: Settings) -> None:
    with Database(either).begin() as connection:
        options = {"version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_the_lock_of_a_model_keeps_others_out(either: Settings) -> None:
    database = Database(either)
    with database.lock("emsam-neurites") as check:
        check()
        second = Database(either).lock("emsam-neurites", wait=0.2)
        with pytest.raises(Busy, match=r"emsam-neurites: another process is moving"), second:
            pass
        with Database(either).lock("emsam-mitochondria", wait=0.2):
            pass
    with database.lock("emsam-neurites", wait=0.2):
        pass


def test_a_look_by_the_same_package_counts_once(either: Settings) -> None:
    def look(model: str, package: str, split: str = "test", purpose: str = "evaluate") -> bool:
        return record_look(
            DIGEST, split, either, model=model, package=package, purpose=purpose, by="Ada"
        )

    assert count_looks(DIGEST, "test", either) == 0
    assert look("runs/a", "1")
    assert not look("runs/a", "1", purpose="gate")
    assert look("emsam-neurites/1", "1")  # what was registered from it
    assert count_looks(DIGEST, "test", either) == 1
    assert look("runs/a", "2")
    assert look("runs/a", "2", split="val")
    assert count_looks(DIGEST, "test", either) == 2
    assert [(each.split, each.models) for each in looks_of("emsam-neurites", either)] == [
        ("test", 2), ("val", 1)
    ]  # fmt: skip


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with Database(settings).begin() as connection:
        connection.execute(sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(InputError, match=r"of a newer EM-SAM .revision 9999.*update"):
        Database(settings)


@pytest.mark.parametrize(
    "uri", ["mysql://ada:secret@lab/em", "sqlite://", "ledger.db", "postgresql:/ada:secret@lab"]
)
def test_other_databases_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match=r"EMSAM_LEDGER_URI=.*give postgresql://") as refused:
        Database(settings_in(tmp_path, ledger_uri=uri))
    assert "secret" not in str(refused.value)


def test_a_server_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ledger_uri="postgresql://ada:secret@127.0.0.1:1/em")
    with pytest.raises(LedgerFailed, match=r"ada:.*@127.0.0.1:1/em: .*refused") as away:
        Database(settings)
    assert "secret" not in str(away.value)


@pytest.mark.slow
def test_a_lock_that_the_server_took_away_is_noticed(postgres: str, tmp_path: Path) -> None:
    database = Database(settings_in(tmp_path, ledger_uri=postgres))
    others = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"

    def go_on() -> None:
        with database.lock("emsam-neurites") as check:
            with database.begin() as connection:
                connection.execute(sql(others))
            check()
            raise AssertionError("it went on without a lock")

    with pytest.raises(LedgerFailed, match=r"terminat"):
        go_on()
