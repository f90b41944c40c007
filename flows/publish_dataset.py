"""Publish a volume as a data set version."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.deployments import run_deployment

from emsam import versioning
from emsam.params import load_params
from emsam.settings import Settings


@flow(name="publish-dataset", flow_run_name="publish {name}")
def publish_dataset(name: str, follow: bool = True) -> dict[str, str]:
    """DVC add, push, verify and tag the volume ``name``.

    Args:
        name: Name of the volume.
        follow: Start the deployment in `EMSAM_ON_PUBLISH`, if one is set, on a new version.

    Returns:
        `digest` and `version` (the git tag).
    """
    settings = Settings()
    version = versioning.publish(name, settings, get_run_logger().info)
    if follow and settings.on_publish:
        _start(settings.on_publish, name, version.digest)
    return {"digest": version.digest, "version": version.tag}


def _start(deployment: str, name: str, digest: str) -> None:
    """Start a deployment once for each version of the data, however often this is called."""
    file = Path("params.yaml")
    params = load_params(file if file.exists() else None, [f"data.name={name}"])
    run = run_deployment(
        deployment,
        parameters={"params": params.model_dump(mode="json"), "version": digest},
        timeout=0,
        as_subflow=False,
        idempotency_key=f"{deployment} {name} {digest}",
    )
    get_run_logger().info("%s on %s: run %s, %s", deployment, digest, run.id, run.state_name)
