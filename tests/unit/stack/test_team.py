"""A team's folder: its settings, its passwords, and what services are made of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from emsam.backup.restore import write_settings as write_restored_settings
from emsam.credentials import (
    Secrets,
    make_secrets,
    mlflow_client_environment,
    prefect_auth,
    read_secrets,
    s3_client_options,
    secrets_file,
)
from emsam.errors import InputError
from emsam.settings import Settings
from emsam.stack import plan, postgres, seaweed, team
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("EMSAM_", "PREFECT_", "AWS_", "MLFLOW_TRACKING")):
            monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a team whose folder has its settings and passwords, and no data yet."""
    monkeypatch.setattr(postgres, "binary", lambda name: f"/pg/{name}")
    monkeypatch.setattr(postgres, "account", lambda: "")
    monkeypatch.setattr(seaweed, "binary", lambda: "/bin/weed")
    made = Settings(home=tmp_path / "home", profile="team", mlflow_port=5777)
    team.write_settings(made)
    make_secrets(made)
    return Settings(home=made.home)


def values(settings: Settings) -> set[str]:
    known = read_secrets(settings)
    return {known.value(name) for name in Secrets.model_fields if "username" not in name}


def refusal(settings: Settings) -> str:
    with pytest.raises(InputError) as caught:
        read_secrets(settings)
    line = str(caught.value)
    assert "\n" not in line
    assert str(secrets_file(settings)) in line
    return line


def test_the_folder_says_what_was_set_and_the_environment_wins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.is_team
    assert settings.own_mlflow_url == settings.tracking_uri == "http://127.0.0.1:5777"
    assert settings.remote_url == "s3://datasets"
    monkeypatch.setenv("EMSAM_MLFLOW_PORT", "5888")
    assert Settings(home=settings.home).mlflow_port == 5888
    assert not Settings(home=settings.home.parent).is_team
    monkeypatch.setenv("EMSAM_HOME", str(settings.home))
    assert Settings().is_team


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mlflow_port: many\n", "mlflow_port = 'many'"),
        ("colour: red\n", "colour = 'red'"),
        ("home: elsewhere\n", "home = 'elsewhere'"),
        ("- a list\n", "holds no settings"),
        ("{", "mend it"),
    ],
)
def test_a_bad_line_in_the_file_is_one_line_that_names_it(
    settings: Settings, text: str, said: str
) -> None:
    settings.team_file.write_text(text)
    with pytest.raises(InputError) as caught:
        Settings(home=settings.home)
    assert str(settings.team_file) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_passwords_are_made_once_and_only_for_us(settings: Settings) -> None:
    file = secrets_file(settings)
    assert file.stat().st_mode & 0o777 == 0o600
    before = values(settings)
    assert len(before) == len(Secrets.model_fields) - 1  # each its own
    make_secrets(settings)
    assert values(settings) == before
    assert not any(word in repr(read_secrets(settings)) for word in before)
    file.chmod(0o640)
    assert "chmod 600" in refusal(settings)


@pytest.mark.parametrize("name", ["LEDGER_DATABASE_PASSWORD", "AWS_SECRET_ACCESS_KEY"])
def test_a_file_that_is_not_whole_is_one_line_without_a_password(
    settings: Settings, name: str
) -> None:
    known, file = values(settings), secrets_file(settings)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith(name)))
    assert name in (line := refusal(settings))
    assert not any(word in line for word in known)
    file.write_text("\n".join([*lines, "SURPRISE=s3same"]))
    assert "SURPRISE" in (line := refusal(settings))
    assert "s3same" not in line
    file.unlink()
    assert "emsam up --profile team" in refusal(settings)


def test_services_start_in_order_and_show_no_password(settings: Settings) -> None:
    names = plan.planned(Settings(home=settings.home, pools="cpu"))
    assert names == ["postgres", "s3", "prefect", "mlflow", "worker-cpu", "dashboard"]
    known = values(settings)
    for name in names:
        service = plan.build(name, settings)
        shown = " ".join([*service.command, service.url, repr(service)])
        assert not any(word in shown for word in known), name
    mlflow = plan.build("mlflow", settings)
    assert "--serve-artifacts" in mlflow.command
    assert mlflow.environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] in known
    prefect = plan.build("prefect", settings).environment
    assert prefect["PREFECT_SERVER_API_AUTH_STRING"] == prefect["PREFECT_API_AUTH_STRING"]
    assert "asyncpg" in prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"]


def test_passwords_go_to_our_servers_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mlflow_client_environment(settings)["MLFLOW_TRACKING_USERNAME"] == "emsam"
    far = Settings(home=settings.home, mlflow_uri="http://far:5000")
    assert mlflow_client_environment(far) == {}
    assert prefect_auth(settings, settings.own_prefect_url).startswith("emsam:")
    assert prefect_auth(settings, "http://127.0.0.1:4999/api") == ""
    assert s3_client_options(settings)["endpoint_url"] == settings.s3_url
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert s3_client_options(settings) == {}
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ada:word")
    assert prefect_auth(settings, "http://far/api") == "ada:word"


def test_data_of_one_person_is_not_hidden_behind_a_team(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    settings = Settings(home=tmp_path, profile="team")
    with pytest.raises(InputError, match=r"mlflow\.db.*EMSAM_HOME"):
        team.create(settings)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.skipif(os.getuid() != 0, reason="a check for root")
def test_new_passwords_are_not_made_for_databases_that_know_the_old(settings: Settings) -> None:
    postgres.data_folder(settings).mkdir()
    (postgres.data_folder(settings) / "PG_VERSION").write_text("15\n")
    secrets_file(settings).unlink()
    with pytest.raises(InputError, match=r"secrets\.env: is gone.*take it from a backup"):
        team.create(settings)
    assert not secrets_file(settings).exists()


def test_a_restored_team_keeps_its_runs_where_room_was_looked_for(
    settings: Settings, tmp_path: Path
) -> None:
    here = Settings(home=tmp_path / "drill", runs_root=tmp_path / "drill-runs")
    write_restored_settings(b"profile: team\nruns_root: /lab/runs\napproval: required\n", here)
    found = Settings(home=here.home)
    assert (found.runs_root, found.approval) == (here.runs_root, "required")


def test_a_folder_that_postgresql_cannot_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(InputError, match=rf"{closed}: .*cannot enter"):
        postgres._require_way(closed, "nobody")


def test_the_lock_of_a_server_that_died_unnoticed_is_dropped(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    lock.write_text(f"{server.pid}\n{tmp_path}\n")
    postgres._forget_the_dead(tmp_path)
    assert lock.exists()
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE, "its death")
    postgres._forget_the_dead(tmp_path)
    assert not lock.exists()
    server.wait()
    postgres._forget_the_dead(tmp_path)
