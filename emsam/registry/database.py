"""The database of the ledger: SQLite in the home folder, or PostgreSQL for a team.

Why a lock beside the tables
----------------------------
Aliases live in MLflow, in another database, so no transaction covers both. A move of the champion
is therefore an intent, the aliases, a commit, and whoever meets an intent must know whether its
author still works. Pids and heartbeats guess; a lock that dies with its holder knows. Each model
has one, held from the first look at the ledger to the commit, so **an intent that can be seen by a
holder of the lock was left by a crash, always**, on any host.

- PostgreSQL: an advisory lock of a transaction that is kept open on a connection of its own. The
  server frees it when the connection ends: at once when the process dies, within a minute (TCP
  keepalive) when its host does. Each step asks first whether the connection still lives.
- SQLite: the kernel's lock of a file beside the database, freed when its holder dies. A lock inside
  SQLite would keep the holder itself from writing on another connection. SQLite is for processes
  that share a file system whose locks work, which it needs anyway; several hosts want PostgreSQL.

Should a lock be lost all the same, nothing is silently wrong: (name, sequence) is unique, so one
commit fails, and aliases that do not agree with the ledger stop every further move.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, func, inspect, select
from sqlalchemy import text as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError

from emsam.errors import InputError, LedgerFailed
from emsam.locks import try_lock
from emsam.registry.tables import VERSION_TABLE
from emsam.settings import Settings

REVISION = "0002"
"""Newest of the migrations."""
LOCK_SECONDS = 120.0
"""Patience with another process that moves the same champion, which takes it about a second."""
_BUSY_SECONDS = 60.0
_POLL = 0.05
_MIGRATIONS = Path(__file__).with_name("migrations")


class Busy(InputError):
    """Another process is moving the champion of this model."""


class Database:
    """Tables of the ledger, brought up to date when they are first opened.

    Raises
    ------
    InputError
        ``EMSAM_LEDGER_URI`` names no database that can be used.
    LedgerFailed
        The database cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = _parse(settings.ledger_url)
        self._file = Path(self.url.database) if self.url.database and self.is_sqlite else None
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _engine(self.url)
        with self._failing():
            _migrate(self._engine, self.address)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def address(self) -> str:
        """Its URL without the password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: all of it, or nothing if the block raises."""
        with self._failing(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that writes nothing, and on SQLite keeps nobody waiting who reads too."""
        with self._failing(), self._engine.connect().execution_options(**_READS) as connection:
            yield connection

    @contextmanager
    def lock(self, name: str, wait: float = LOCK_SECONDS) -> Iterator[Callable[[], None]]:
        """Hold the lock of a model; yields what raises if the lock was lost meanwhile.

        Raises
        ------
        Busy
            Another process held it for ``wait`` seconds.
        """
        hold = self._lock_file if self.is_sqlite else self._lock_key
        with self._failing(), hold(name, wait) as check:
            yield check

    @contextmanager
    def _lock_file(self, name: str, wait: float) -> Iterator[Callable[[], None]]:
        assert self._file is not None
        path = self._file.with_name(f".{self._file.name}.{name}.lock")
        until = time.monotonic() + wait
        while True:
            with try_lock(path) as ours:
                if ours:
                    yield lambda: None
                    return
            if time.monotonic() >= until:
                raise Busy(_busy(name))
            time.sleep(_POLL)

    @contextmanager
    def _lock_key(self, name: str, wait: float) -> Iterator[Callable[[], None]]:
        key = _lock_number(name)
        with self._engine.begin() as connection:
            for setting, value in _LOCK_SETTINGS.items():
                connection.execute(sql(f"SET LOCAL {setting} = '{value}'"))
            connection.execute(sql(f"SET LOCAL lock_timeout = '{max(1, int(wait * 1000))}ms'"))
            try:
                connection.execute(select(func.pg_advisory_xact_lock(key)))
            except OperationalError as error:
                if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                    raise
                raise Busy(_busy(name)) from None
            yield lambda: _ask(connection)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What drivers say, as one error of ours."""
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            raise LedgerFailed(f"ledger {self.address}: {said}") from error


_READS: dict[str, Any] = {"emsam_reads": True}
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK_SETTINGS = {
    "idle_in_transaction_session_timeout": "0",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
"""Of PostgreSQL: the lock's connection may idle, and its host's death is noticed in a minute."""


def _ask(connection: Connection) -> None:
    connection.execute(sql("SELECT 1"))


def _busy(name: str) -> str:
    return f"{name}: another process is moving its champion now; try again in a moment"


def _lock_number(name: str) -> int:
    """A signed 64-bit number for a name, PostgreSQL's key of an advisory lock."""
    digest = hashlib.sha256(f"emsam ledger {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        # what is no address cannot be searched for a password
        shown = "…" if "@" in text else text
        raise InputError(f"EMSAM_LEDGER_URI={shown}: {_WANTED}") from None
    if url.drivername in ("postgresql", "postgres"):  # SQLAlchemy 2.1 would take another driver
        url = url.set(drivername="postgresql+psycopg2")
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and _is_memory(url.database)):
        raise InputError(f"EMSAM_LEDGER_URI={url.render_as_string()}: {_WANTED}")
    return url


_WANTED = "give postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:////FILE"


def _is_memory(database: str | None) -> bool:
    return not database or database.startswith((":memory:", "file:"))


def _engine(url: URL) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    more: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}} if sqlite else {}
    try:
        engine = create_engine(url, poolclass=NullPool, **more)
    except ModuleNotFoundError as error:
        raise InputError(
            f"EMSAM_LEDGER_URI={url.render_as_string()}: needs the package {error.name}; "
            "install emsam[postgres]"
        ) from None
    if sqlite:
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    """Two that read and then write must not both believe that they came first."""
    reads = connection.get_execution_options().get("emsam_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _migrate(engine: Engine, address: str) -> None:
    """Bring the tables up to date; of several processes at once, one does it."""
    with engine.connect().execution_options(**_READS) as connection:
        if _revision(connection) == REVISION:
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_lock_number("migrations"))))
        revision = _revision(connection)
        if revision is None or revision < REVISION:
            _upgrade(connection)
        elif revision > REVISION:
            raise InputError(
                f"ledger {address}: is of a newer EM-SAM (revision {revision}, this one knows "
                f"{REVISION}); update EM-SAM"
            )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sql(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
