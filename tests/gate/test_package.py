"""The model package in the hands of others: MLflow's pyfunc and server, and of an attacker."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pytest

from emsam.data.digest import file_sha256
from emsam.errors import InputError
from emsam.launch.process import run_training
from emsam.params import load_params
from emsam.quiet import QUIET_ENVIRONMENT
from emsam.registry.models import open_model
from emsam.segment.slices import segment_slice
from emsam.train.prepare import prepare_run
from tests.gate.conftest import Registry
from tests.ports import free_port
from tests.waiting import wait_until_served

pytestmark = pytest.mark.slow


def package_of(registry: Registry) -> Path:
    """Folder of the good model in the artifact store."""
    folder = registry.settings.home / "artifacts" / str(registry.good.run_id) / "artifacts"
    return folder / str(registry.good.source).split("/", 2)[2]


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def test_pyfunc_predicts_what_segment_does_and_unpickles_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    image = registry.unseen.grey(3)
    expected = segment_slice(*_with_image(registry, image))
    assert expected.max() > 1
    loaded = mlflow.pyfunc.load_model(str(package_of(registry)))
    np.testing.assert_array_equal(loaded.predict(image), expected)
    assert not list(package_of(registry).rglob("*.pkl"))


def _with_image(registry: Registry, image: np.ndarray):  # type: ignore[no-untyped-def]
    model, params = open_model(f"{registry.good.name}/{registry.good.version}", registry.settings)
    return model, image, params


@pytest.mark.parametrize("name", ["model.safetensors", "params.yaml"])
def test_a_changed_package_loads_nowhere(registry: Registry, name: str) -> None:
    path = package_of(registry) / "artifacts" / name
    content = path.read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1])
    if name == "params.yaml":
        changed = content.replace(b"threshold: 0.2", b"threshold: 0.3")
        assert changed != content
    with replaced(path, changed):
        with pytest.raises(InputError, match="does not have the sha256"):
            mlflow.pyfunc.load_model(str(package_of(registry)))
        with pytest.raises(InputError, match="do not have the registered sha256"):
            open_model(f"{registry.good.name}/{registry.good.version}", registry.settings)


def test_a_pickle_in_place_of_weights_is_never_executed(registry: Registry, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    evil = pickle.dumps(Payload(marker))
    path = package_of(registry) / "artifacts" / "model.safetensors"
    digests = package_of(registry) / "artifacts" / "sha256.json"
    (tmp_path / "evil").write_bytes(evil)
    forged = json.loads(digests.read_text()) | {"weights": file_sha256(tmp_path / "evil")}
    with replaced(path, evil), replaced(digests, json.dumps(forged).encode()):
        with pytest.raises(InputError, match="damaged weights"):
            mlflow.pyfunc.load_model(str(package_of(registry)))
        with pytest.raises(InputError, match="registered sha256"):
            open_model(f"{registry.good.name}/{registry.good.version}", registry.settings)
    assert not marker.exists()


def test_a_pickle_in_a_checkpoint_is_never_executed(registry: Registry, tmp_path: Path) -> None:
    """With a manifest that fits, so that nothing but the reader itself is in its way."""
    marker, settings = tmp_path / "executed", registry.settings
    source = settings.runs_root / "steps-2"
    params = load_params(source / "params.yaml", ["train.steps=4"])
    run = prepare_run(params, settings, tmp_path / "resumed")
    checkpoint = run.checkpoints / "step-000002"
    checkpoint.mkdir(parents=True)
    for file in (source / "checkpoints" / "step-000002").iterdir():
        (checkpoint / file.name).write_bytes(file.read_bytes())
    for name in ("trainer.pt", "model.safetensors"):
        intact = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(pickle.dumps(Payload(marker)))
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        manifest["files"][name]["sha256"] = file_sha256(checkpoint / name)
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
        assert run.newest_checkpoint() == checkpoint
        with pytest.raises(Exception, match=r"(?i)weights|header|pickle|failed"):
            run_training(run, settings)
        assert not marker.exists()
        (checkpoint / name).write_bytes(intact)
        manifest["files"][name]["sha256"] = file_sha256(checkpoint / name)
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists(), "the payload would have worked"


@contextmanager
def served(package: Path, log: Path) -> Iterator[int]:
    """``mlflow models serve`` on a port of its own; its process group is ended afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(package),
               "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1"]  # fmt: skip
    environment = os.environ | QUIET_ENVIRONMENT
    environment |= {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with log.open("wb") as stream:
        server = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        wait_until_served(f"http://127.0.0.1:{port}/ping", server, log)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def test_mlflow_serves_a_slice(registry: Registry, tmp_path: Path) -> None:
    image = registry.unseen.grey(5)
    expected = segment_slice(*_with_image(registry, image))
    with served(package_of(registry), tmp_path / "serve.log") as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": image.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.loads(urllib.request.urlopen(request, timeout=300).read())
    np.testing.assert_array_equal(np.array(answer["predictions"]), expected)
