"""A team's PostgreSQL, in a data folder of its own: a database and its owner for each server."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil

from emsam.credentials import PERSON, Secrets, read_secrets, write_secret
from emsam.errors import InputError, StackFailed, one_line
from emsam.settings import Settings
from emsam.stack.service import Service

DATABASES = ("mlflow", "prefect", "ledger")
"""Each has an owner of the same name, who can reach no other."""
ACCOUNT = "postgres"
"""Who runs the server where we are root, which PostgreSQL refuses to be."""
_CONNECTIONS = 200
_DEBIAN = "/usr/lib/postgresql"
"""Each version has a folder there."""


def service(settings: Settings) -> Service:
    """The server."""
    port, folder = settings.postgres_port, data_folder(settings)
    settings_of_it = {
        "listen_addresses": settings.listen,
        "unix_socket_directories": "",
        "max_connections": str(_CONNECTIONS),
        "password_encryption": "scram-sha-256",
    }
    options = [part for key, value in settings_of_it.items() for part in ("-c", f"{key}={value}")]
    return Service(
        "postgres",
        (_server(settings), "-D", str(folder), "-p", str(port), *options),
        {},
        f"postgresql://{settings.reachable}:{port}",
        lambda running: _accepts(settings),
        port,
        "EMSAM_POSTGRES_PORT",
        grace=60.0,
        stop_signal=signal.SIGINT,  # ends sessions; SIGTERM would wait for whoever is connected
        user=account(),
        folder=folder,
    )


def data_folder(settings: Settings) -> Path:
    return (settings.home / "postgres").absolute()


def is_made(settings: Settings) -> bool:
    """Whether there is a data folder already."""
    return _version_file(settings).exists()


def _version_file(settings: Settings) -> Path:
    return data_folder(settings) / "PG_VERSION"


def _server(settings: Settings) -> str:
    """The server of the version that made the data, where there may be several."""
    if not is_made(settings) or not Path(_DEBIAN).is_dir():
        return binary("postgres")
    version = _version_file(settings).read_text().strip()
    path = Path(_DEBIAN, version, "bin", "postgres")
    if not path.exists():
        raise InputError(
            f"{data_folder(settings)}: is of PostgreSQL {version}, which is not on this machine "
            f"any more; 'apt-get install postgresql-{version}', or bring the folder over with "
            "pg_upgrade"
        )
    return str(path)


def binary(name: str) -> str:
    """One of PostgreSQL's programs, of the newest version that Debian has installed.

    Raises
    ------
    InputError
        There is none.
    """
    found = sorted(
        Path(_DEBIAN).glob(f"*/bin/{name}"),
        key=lambda path: [int(part) for part in path.parts[4].split(".") if part.isdigit()],
    )
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise InputError(
            f"{name}: not on this machine, a team's stack needs PostgreSQL 14 or newer; "
            "'apt-get install postgresql'"
        )
    return path


def account() -> str:
    """Account of the server; empty for our own."""
    if os.getuid() != 0:
        return ""
    try:
        return pwd.getpwnam(ACCOUNT).pw_name
    except KeyError:
        raise InputError(
            f"PostgreSQL refuses to run as root, and there is no user {ACCOUNT}; "
            "'apt-get install postgresql', or run 'emsam up' as somebody else"
        ) from None


def create(settings: Settings) -> None:
    """The data folder with its superuser, and the file with everybody's passwords.

    Raises
    ------
    InputError
        No PostgreSQL here, or its account cannot come to the folder.
    StackFailed
        ``initdb`` refuses; the message quotes it.
    """
    _write_password_file(settings)
    final = data_folder(settings)
    if is_made(settings):
        _forget_the_dead(final)
        return
    user = account()
    final.parent.mkdir(parents=True, exist_ok=True)
    if user:
        _require_way(final.parent, user)
    part = final.with_name(".postgres.part")
    shutil.rmtree(part, ignore_errors=True)  # what a killed 'emsam up' left
    part.mkdir(mode=0o700)
    file = part / "password"
    write_secret(file, read_secrets(settings).value("postgres_password"))
    if user:
        for path in (part, file):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    done = subprocess.run(
        [binary("initdb"), "-D", str(part / "data"), "-U", PERSON, "--pwfile", str(file),
         "-A", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"],
        cwd=part, capture_output=True, text=True, **as_account(user),
    )  # fmt: skip
    file.unlink()
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise StackFailed(f"{final}: initdb: {said}")
    (part / "data").rename(final)
    part.rmdir()


def _forget_the_dead(folder: Path) -> None:
    """Drop the lock file of a server that was killed and that its parent has not waited for.

    PostgreSQL asks whether a process of that number exists, and for a zombie the answer is yes; in
    a container without an init it stays so.
    """
    file = folder / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n", 1)[0])
        dead = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return  # PostgreSQL sees the rest itself
    if dead:
        file.unlink()


def as_account(user: str) -> dict[str, Any]:
    """Arguments of ``subprocess`` that run a program as somebody else."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def prepare(settings: Settings) -> None:
    """Databases and their owners, with the passwords of the file; nothing that is there is lost."""
    from psycopg2 import extensions, sql

    known = read_secrets(settings)
    with _superuser(settings) as connection, connection.cursor() as cursor:
        for name in DATABASES:
            password = known.value(f"{name}_database_password")
            # a digest, since the server writes statements that fail into its log
            digest = extensions.encrypt_password(password, name, connection, "scram-sha-256")
            role = sql.Identifier(name)
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            text = sql.SQL(f"{verb} ROLE {{}} LOGIN PASSWORD {{}}")
            cursor.execute(text.format(role, sql.Literal(digest)))
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))


def run(settings: Settings, program: str, *arguments: str) -> None:
    """One of PostgreSQL's programs as the superuser.

    Raises
    ------
    StackFailed
        It fails; the message quotes it.
    """
    done = subprocess.run(
        [binary(program), "-h", settings.reachable, "-p", str(settings.postgres_port),
         "-U", PERSON, "--no-password", *arguments],
        env=os.environ | {"PGPASSFILE": str(settings.password_file)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise StackFailed(f"{program}: {' '.join(done.stderr.split())}")


class _superuser:  # noqa: N801
    """A connection that commits each statement, and is closed at the end of the block."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> Any:
        import psycopg2

        try:
            self._connection = psycopg2.connect(
                host=self._settings.reachable, port=self._settings.postgres_port, user=PERSON,
                dbname="postgres", passfile=str(self._settings.password_file),
            )  # fmt: skip
        except psycopg2.OperationalError as error:
            raise StackFailed(
                f"postgres: {one_line(error)}; are the passwords in secrets.env those with which "
                "this folder was made?"
            ) from None
        self._connection.autocommit = True
        return self._connection

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def _write_password_file(settings: Settings) -> None:
    known: Secrets = read_secrets(settings)
    lines = [f"*:*:*:{PERSON}:{known.value('postgres_password')}"]
    lines += [f"*:*:*:{name}:{known.value(f'{name}_database_password')}" for name in DATABASES]
    write_secret(settings.password_file, "\n".join(lines) + "\n")


def _accepts(settings: Settings) -> bool:
    """Whether the server takes connections."""
    place = ["-h", settings.reachable, "-p", str(settings.postgres_port), "-t", "5"]
    return subprocess.run([binary("pg_isready"), "-q", *place]).returncode == 0


def _require_way(folder: Path, user: str) -> None:
    """Refuse a folder that the account cannot come to."""
    entry = pwd.getpwnam(user)
    for path in (folder, *folder.parents):
        status = path.stat()
        if status.st_uid == entry.pw_uid:
            mine = status.st_mode >> 6
        else:
            mine = status.st_mode >> 3 if status.st_gid == entry.pw_gid else status.st_mode
        if not mine & 1:
            raise InputError(
                f"{path}: user {user}, who runs PostgreSQL where you are root, cannot enter it; "
                f"run 'chmod o+x {path}', set EMSAM_HOME to another place, or be no root"
            )
