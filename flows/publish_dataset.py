"""Publish a volume as a data set version."""

from __future__ import annotations

from prefect import flow, get_run_logger

from emsam import versioning
from emsam.settings import Settings


@flow(name="publish-dataset", flow_run_name="publish {name}")
def publish_dataset(name: str) -> dict[str, str]:
    """DVC add, push, verify and tag the volume ``name``.

    Returns
    -------
    dict
        ``digest`` and ``version`` (the git tag).
    """
    version = versioning.publish(name, Settings(), get_run_logger().info)
    return {"digest": version.digest, "version": version.tag}
