"""A real MLflow store with registered versions, made once and copied for each test."""

from __future__ import annotations

import multiprocessing
import shutil
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from emsam.data.digest import file_sha256
from emsam.registry.aliases import Aliases, read_aliases
from emsam.registry.client import experiment_id, open_client
from emsam.registry.database import Database
from emsam.registry.ledger import Entry, Ledger
from emsam.registry.promotion import apply_decision
from emsam.registry.verify import verify_ledger
from emsam.settings import Settings
from tests.postgres_server import run_postgres_server
from tests.registry.workers import NAME, make_decision

Start = Callable[..., int | None]


def settings_in(folder: Path, **more: object) -> Settings:
    places = {name: folder / name for name in ("home", "data_root", "runs_root")}
    return Settings(**places, **more)  # type: ignore[arg-type]


def register(settings: Settings, count: int) -> None:
    """Versions of one model, each a package of its own run's."""
    client = open_client(settings)
    package = settings.home / "package"
    (package / "artifacts").mkdir(parents=True, exist_ok=True)
    weights = package / "artifacts" / "model.safetensors"
    weights.write_bytes(b"weights of a test")
    (package / "artifacts" / "params.yaml").write_text("task: neurites\n")
    run = client.create_run(experiment_id(client, settings)).info.run_id
    client.log_artifacts(run, str(package), "model")
    client.create_registered_model(NAME)
    tags = {"emsam.weights_sha256": file_sha256(weights), "emsam.package": "p", "emsam.run": "r"}
    for _ in range(count):
        client.create_model_version(NAME, source=f"runs:/{run}/model", run_id=run, tags=tags)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with three versions, the first of which is champion by a decision."""
    folder = tmp_path_factory.mktemp("template")
    settings = settings_in(folder)
    register(settings, 3)
    assert apply_decision(make_decision(1, None), settings, by="Grace")
    return folder


@pytest.fixture
def settings(template: Path, tmp_path: Path) -> Settings:
    """A copy of the template; MLflow's artifacts stay where they are."""
    shutil.copytree(template / "home", tmp_path / "home")
    return settings_in(tmp_path)


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that have imported what they need before they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.registry.workers"])
    return context


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with run_postgres_server() as url:
        yield url


def create_database(server: str) -> str:
    """URL of an empty database."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(make_url(server), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.rsplit("/", 1)[0].replace("+psycopg2", "") + f"/{name}"


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """URL of an empty database."""
    return create_database(postgres_server)


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], ids=lambda name: name
)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings whose ledger is an empty database of each kind."""
    uri = request.getfixturevalue("postgres") if request.param == "postgresql" else ""
    return settings_in(tmp_path, ledger_uri=uri)


def aliases_of(settings: Settings) -> Aliases:
    return read_aliases(open_client(settings), NAME, settings)


def rows_of(settings: Settings) -> list[Entry]:
    return Ledger(Database(settings)).entries(NAME)


def moves_of(settings: Settings) -> list[tuple[int, str, int | None, int | None]]:
    return [(r.sequence, r.action, r.from_version, r.to_version) for r in rows_of(settings)]


def assert_agree(settings: Settings, champion: int, previous: int | None) -> None:
    """One champion, the same everywhere, nothing open, the chain whole."""
    assert aliases_of(settings) == Aliases(champion, previous)
    assert Ledger(Database(settings)).intent(NAME) is None
    assert verify_ledger(NAME, settings) == (len(rows_of(settings)), [])
    last = rows_of(settings)[-1]
    assert (last.to_version, last.previous_version) == (champion, previous)
