"""MLflow's database of one person is made whole, whoever dies and whoever comes meanwhile."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.db import upgrade
from sqlalchemy.exc import OperationalError

from emsam.documents import is_disk_full
from emsam.registry.client import open_client
from emsam.registry.tracking_database import make_tracking_database
from emsam.settings import Settings
from tests.dvc.small_disk import enlarge, small_disk

KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from emsam.registry.client import open_client
from emsam.settings import Settings

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *more):
    # the tables of this step are there, and the database does not know it yet
    if statement.startswith("UPDATE alembic_version SET version_num='a8c4a736bde6'"):
        os.kill(os.getpid(), signal.SIGKILL)

open_client(Settings(home=Path(sys.argv[1]))).search_experiments()
"""


@pytest.mark.slow
def test_one_that_is_killed_in_the_making_is_made_anew(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    client = open_client(Settings(home=tmp_path))
    assert [each.name for each in client.search_experiments()] == ["Default"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_of_several_at_once_one_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], upgrade.callback
    assert make is not None

    def count(url: str) -> None:
        made.append(url)
        make(url)

    monkeypatch.setattr(upgrade, "callback", count)
    file = tmp_path / "home" / "mlflow.db"
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(make_tracking_database, [file] * 4):
            pass  # raises what one of them met
    assert len(made) == 1
    assert file.exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 0.3) as disk:
        file = disk / "mlflow.db"
        command = [sys.executable, "-m", "emsam.registry.tracking_database", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(f"{file}: ")
        assert "database or disk is full" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert [path.name for path in disk.iterdir()] == [".mlflow.db.lock"]
        with pytest.raises(OperationalError) as full:
            open_client(Settings(home=disk))
        assert is_disk_full(full.value)
        enlarge(disk, 10)
        assert open_client(Settings(home=disk)).search_experiments()
