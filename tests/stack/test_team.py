"""A team's stack: PostgreSQL, S3 and passwords, used as a team would, killed, and mended."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from emsam.credentials import Secrets, read_secrets, s3_environment
from emsam.data.digest import folder_digest
from emsam.params import load_params
from emsam.settings import Settings
from emsam.stack.seaweed import admin_client
from emsam.stack.web import ask
from tests.conftest import TINY, make_laboratory
from tests.ports import free_ports
from tests.processes import kill_all
from tests.stack.conftest import Stack, kill
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

SERVICES = ["postgres", "s3", "prefect", "mlflow", "worker-cpu", "dashboard"]
PORTS = ("postgres", "prefect", "mlflow", "dashboard")
PUBLIC = {"mlflow_tracking_username"}
"""Of the secrets, what is none by itself."""


class Team(Stack):
    """A laboratory of a team."""

    @property
    def settings(self) -> Settings:
        return Settings(home=self.path / ".emsam")

    @property
    def secrets(self) -> Secrets:
        return read_secrets(self.settings)

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.settings.prefect_port}/api{path}"
        return ask(method, url, document, self.secrets.value("prefect_api_auth_string"))

    def keys(self, bucket: str) -> list[str]:
        listed = admin_client(self.settings).list_objects_v2(Bucket=bucket)
        return [entry["Key"] for entry in listed.get("Contents", ())]

    def tell(self, database: str, question: str) -> Any:
        """The first row that a database answers."""
        settings = self.settings
        with psycopg2.connect(
            host="127.0.0.1", port=settings.postgres_port, user=database, dbname=database,
            passfile=str(settings.password_file),
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute(question)
            return cursor.fetchone()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Pytest's folders are closed to the user who runs PostgreSQL for root."""
    path = Path(tempfile.mkdtemp(prefix="emsam-team-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def make_team(path: Path) -> Team:
    """A laboratory with ports of its own for a team's stack that does not run yet."""
    make_laboratory(path)
    team = Team(path)
    numbers = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"s3": free_ports(5)[0]}
    team.variables = {f"EMSAM_{name.upper()}_PORT": str(port) for name, port in numbers.items()}
    team.variables["EMSAM_POOLS"] = "cpu"
    return team


def stop(team: Team) -> None:
    """Nothing is left, whatever a test did."""
    with suppress(AssertionError):
        team.run("down")
    left = team.processes()
    kill_all(left)
    assert not left


@pytest.fixture(scope="module")
def team(folder: Path) -> Iterator[Team]:
    """A team's stack that runs; its tests build on each other in the order of this file."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and not shutil.which("initdb"):
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    made = make_team(folder / "lab")
    made.run("data", "synthetic", "tiny", "--shape", "16,96,96")
    try:
        made.run("up", "--profile", "team")
        made.variables = {}  # from now on the folder knows
        yield made
    finally:
        stop(made)


def status_of(url: str, user: str = "") -> int:
    """What a server answers to whoever says this ``user:password``; 0 where nothing listens."""
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def test_every_service_runs_and_is_found_without_a_variable(team: Team) -> None:
    rows = team.services()
    assert list(rows) == SERVICES
    assert {row["state"] for row in rows.values()} == {"running"}
    team.require_local()
    refused = team.run("up", "--profile", "local", status=2).stderr
    assert "team.yaml: this folder is a team's" in refused


def test_a_pipeline_of_the_worker_keeps_everything_in_postgresql_and_s3(team: Team) -> None:
    params = load_params(overrides=[*TINY, "data.name=tiny"]).model_dump(mode="json")
    team.wait_for_state(team.trigger("pipeline/cpu", params=params), "COMPLETED")
    (version,) = team.json("registry", "log", "emsam-neurites")["versions"]
    assert version["aliases"] == ["champion"]
    assert team.tell("ledger", "select count(*) from ledger") == (1,)
    assert team.tell("mlflow", "select count(*) from model_versions") == (1,)
    assert team.tell("prefect", "select count(*) > 3 from flow_run") == (True,)
    assert any(key.endswith("model.safetensors") for key in team.keys("artifacts"))
    assert any(key.startswith("files/md5/") for key in team.keys("datasets"))
    assert not list((team.path / ".emsam").rglob("*.db"))  # and no SQLite beside them
    assert not (team.path / ".emsam" / "dvc-remote").exists()
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert team.ask("POST", "/flow_runs/filter", scheduled)  # the next reconcile


def test_nobody_comes_in_without_a_password(team: Team) -> None:
    settings, known = team.settings, team.secrets
    auth = known.value("prefect_api_auth_string")
    mlflow = f"{settings.own_mlflow_url}/api/2.0/mlflow/registered-models/search"
    prefect = f"http://127.0.0.1:{settings.prefect_port}/api/work_pools/cpu"
    person = f"emsam:{known.value('mlflow_tracking_password')}"
    assert [status_of(mlflow, who) for who in ("", "emsam:guess", person)] == [401, 401, 200]
    assert [status_of(prefect, who) for who in ("", "emsam:guess", auth)] == [401, 401, 200]
    assert status_of(f"{settings.s3_url}/artifacts/") == 403
    for offset in (1, 2, 3, 4):  # SeaweedFS' other doors: nothing is read, written or deleted
        door = f"http://127.0.0.1:{settings.s3_port + offset}"
        paths = ("/buckets/", "/dir/assign", "/vol/status", "/col/delete?collection=datasets")
        assert {status_of(door + path) for path in paths} <= {0, 400, 401, 403, 404}, offset
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(host="127.0.0.1", port=settings.postgres_port, user="ledger",
                         dbname="ledger", password="guess")  # fmt: skip
    with pytest.raises(psycopg2.OperationalError):  # nor one server into another's database
        psycopg2.connect(host="127.0.0.1", port=settings.postgres_port, user="mlflow",
                         dbname="ledger", passfile=str(settings.password_file))  # fmt: skip


def test_a_password_is_in_files_of_mode_600_and_nowhere_else(team: Team) -> None:
    names = set(Secrets.model_fields) - PUBLIC
    words = [team.secrets.value(name).removeprefix("emsam:") for name in sorted(names)]
    assert min(map(len, words)) > 12
    listing = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
    assert not any(word in listing for word in words)
    patterns = team.path.parent / "patterns"
    patterns.write_text("\n".join(words) + "\n")
    grep = ["grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings"]
    found = subprocess.run(
        [*grep, "--file", patterns, team.path], capture_output=True, text=True
    ).stdout.split()
    patterns.unlink()
    home = team.path / ".emsam"
    kept = {home / "secrets.env", home / "secrets" / "pgpass"}
    kept |= {home / "seaweedfs" / name for name in ("s3.json", "security.toml")}
    assert {Path(path) for path in found} == kept
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    for table in ("params", "tags", "experiment_tags"):  # of MLflow, whose pages the above is not
        rows = team.tell("mlflow", f"select string_agg(value, ' ') from {table}")[0] or ""
        assert not any(word in rows for word in words)


def test_kill_9_of_the_stores_is_mended_by_up(team: Team) -> None:
    before = team.services()
    for name in ("postgres", "s3"):
        kill(before[name]["pid"])
    assert {team.services()[name]["state"] for name in ("postgres", "s3")} == {"died"}
    after = team.services("up")
    assert {row["state"] for row in after.values()} == {"running"}
    changed = {name for name, row in after.items() if row["pid"] != before[name]["pid"]}
    assert changed == {"postgres", "s3"}
    team.workers_at_rest()
    team.run("registry", "verify", "emsam-neurites")
    assert team.json("reconcile") == []
    team.run("data", "synthetic", "other", "--shape", "16,96,96", "--seed", "7")
    team.run("data", "publish", "other")


def test_a_backup_is_the_same_team_in_another_folder(team: Team, folder: Path) -> None:
    """Runs last: it stops the stack, and starts the one that was restored."""
    before = record(team)
    place = folder / "backups"
    place.mkdir()
    made = Path(team.json("backup", str(place))["file"])
    assert made.stat().st_mode & 0o777 == 0o600
    assert "there already" in team.run("backup", str(made), status=2).stderr
    stopped = team.json("down")["stopped"]
    assert stopped == ["dashboard", "worker-cpu", "mlflow", "prefect", "s3", "postgres"]
    assert "postgres: stopped" in team.run("backup", str(place), status=2).stderr
    assert list(place.iterdir()) == [made]
    assert "is not empty" in team.run("restore", str(made), status=2).stderr
    assert {row["state"] for row in team.services().values()} == {"stopped"}

    other = make_team(folder / "other")
    cut = folder / "cut.tar"
    cut.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    refused = other.run("restore", str(cut), status=2).stderr
    assert refused.count("\n") == 1
    assert "no whole backup" in refused
    assert not (other.path / ".emsam").exists()
    other.run("restore", str(made))
    assert not other.processes()
    variables, other.variables = other.variables, {}
    assert other.settings.mlflow_port == int(variables["EMSAM_MLFLOW_PORT"])
    try:
        other.run("up")
        assert record(other) == before
        other.run("registry", "verify", "emsam-neurites")
        assert other.json("reconcile") == []
        fetched = other.path / "fetched.zarr"
        environment = other.environment | s3_environment(other.settings)
        subprocess.run(
            [sys.executable, "-m", "dvc", "get", str(other.path), "data/tiny/volume.zarr",
             "--rev", "data/tiny/v1", "--out", str(fetched)],
            env=environment, cwd=other.path, check=True, capture_output=True,
        )  # fmt: skip
        (version,) = other.json("data", "log", "tiny")
        assert folder_digest(fetched) == version["digest"]
        other.run("segment", str(fetched), "--model", "emsam-neurites@champion",
                  "--out", str(other.path / "ids.tif"))  # fmt: skip
    finally:
        stop(other)


def record(team: Team) -> dict[str, Any]:
    """What a team would look for after a fire."""
    return {
        "models": team.json("registry", "log", "emsam-neurites"),
        "data": [team.json("data", "log", name) for name in ("tiny", "other")],
        "metrics": team.tell("mlflow", "select count(*), sum(value) from metrics"),
        "flow runs": team.tell(
            "prefect",
            "select count(*) from flow_run where state_type = 'COMPLETED'"
            " and deployment_id is not null and auto_scheduled is not true",
        ),
        "artifacts": sorted(team.keys("artifacts")),
        "runs": sorted(path.name for path in (team.path / "runs").iterdir()),
        "decisions": sorted(path.name for path in (team.path / ".emsam" / "decisions").iterdir()),
    }
