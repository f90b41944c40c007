"""Work pools: each template is rendered as a worker renders it, and what comes out is valid."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from emsam.stack.deploy import declared, shipped
from emsam.stack.plan import POOLS

# Prefect's workers and Kubernetes' models take seconds to import
pytestmark = pytest.mark.slow

DEPLOYMENTS = {
    "publish-dataset/cpu", "fine-tune/gpu", "fine-tune/cpu", "evaluate/gpu", "evaluate/cpu",
    "promote/cpu", "rollback/cpu", "reconcile/cpu", "segment-volume/gpu", "segment-volume/cpu",
    "pipeline/gpu", "pipeline/cpu",
}  # fmt: skip


def render(configuration: Any, pool: str, **values: Any) -> Any:
    """A job's configuration as a worker of the pool makes it, without asking a server."""
    template = json.loads((shipped("pools") / f"{pool}.json").read_text())
    nobody = object()  # would be asked for blocks and variables, of which there are none
    return asyncio.run(configuration.from_template_and_values(template, values, client=nobody))


def test_every_deployment_goes_to_a_pool_that_exists_and_fetches_nothing() -> None:
    document = yaml.safe_load(shipped("prefect.yaml").read_text())
    assert declared(shipped("prefect.yaml")) == DEPLOYMENTS
    for entry in document["deployments"]:
        assert entry["work_pool"]["name"] in POOLS
        assert entry["name"] == entry["work_pool"]["name"]
    assert document["pull"] == []


def test_a_process_runs_in_the_folder_of_its_worker_and_writes_to_a_file(tmp_path: Path) -> None:
    from prefect.workers.process import ProcessJobConfiguration

    job = render(ProcessJobConfiguration, "process")
    assert job.working_dir == Path()
    assert not job.stream_output  # a pipe would break with the worker
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@ $EMSAM_HOME"\n')
    python.chmod(0o755)
    home = str(tmp_path / "a home")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EMSAM_HOME": home}
    done = subprocess.run(
        shlex.split(job.command), env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert Path(home, "logs", "runs.log").read_text() == f"-m prefect.engine {home}\n"


def test_a_docker_container_gets_gpus_and_the_project() -> None:
    from docker.types import HostConfig
    from prefect_docker.worker import DockerWorkerJobConfiguration

    job = render(DockerWorkerJobConfiguration, "docker-gpu", gpus=2, volumes=["/a:/project"])
    options = dict(job.container_create_kwargs)
    assert options.pop("working_dir") == "/project"
    assert options.pop("stop_signal") == "SIGTERM"
    made = HostConfig(version="1.43", **options)
    (request,) = made["DeviceRequests"]
    assert (request["Count"], request["Capabilities"]) == (2, [["gpu"]])
    assert made["ShmSize"] == 8 * 1024**3
    assert (job.image, job.volumes, job.network_mode) == ("emsam:latest", ["/a:/project"], "host")


def test_a_kubernetes_job_is_limited_to_its_gpus() -> None:
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    job = render(KubernetesWorkerJobConfiguration, "kubernetes-gpu", gpus=2, command="prefect x")
    manifest = dict(job.job_manifest)
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert container["resources"]["requests"]["nvidia.com/gpu"] == 2
    assert container["workingDir"] == "/project"
    # Prefect fills these in for each run
    container["args"], container["env"] = ["prefect", "x"], [{"name": "A", "value": "b"}]
    manifest["metadata"] = {"generateName": "run-", "namespace": "default"}
    # Kubernetes' models drop what Kubernetes does not know: nothing may be missing
    assert strings(asyncio.run(as_kubernetes_knows_it(manifest))) == strings(manifest)


async def as_kubernetes_knows_it(manifest: dict[str, Any]) -> Any:
    """A job through the models of Kubernetes' interface and back."""
    from kubernetes_asyncio.client import ApiClient

    async with ApiClient() as client:
        job = client.deserialize(SimpleNamespace(data=json.dumps(manifest)), "V1Job")
        return client.sanitize_for_serialization(job)


def strings(tree: Any) -> Any:
    """The tree with every value as text, as quantities may be either."""
    if isinstance(tree, dict):
        return {key: strings(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [strings(each) for each in tree]
    return str(tree)
