"""Segment a volume with a model, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger

from emsam.interrupts import raise_if_interrupted
from emsam.registry.models import open_model
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.prepare import check_output
from emsam.segment.blocks.run import segment_volume as run_segmentation
from emsam.settings import Settings

_STEPS = 20
"""Lines of progress in the log."""


@flow(name="segment-volume", flow_run_name="segment {image} with {model}")
def segment_volume(
    image: str,
    out: str,
    model: str = "champion",
    link: Literal["2d", "3d"] = "3d",
    roi: str = "",
    slices: str = "",
    mask: str = "",
    memory: float = 4.0,
    workers: int = 2,
    dask: str = "",
    damaged: Literal["stop", "skip"] = "stop",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Segment a volume of any size; the same run goes on where it was stopped or killed.

    Args:
        image: Grey stack: OME-Zarr, TIFF, HDF5 and more, or `s3://bucket/key`.
        out: `.zarr` becomes an OME-Zarr label pyramid, `.tif` a stack of ids.
        model: Run directory, `NAME@champion`, `NAME/VERSION`, or `champion` where there is one.
        link: `3d`: an id goes through the slices; `2d`: an object is in one slice.
        roi: Region `z0:z1,y0:y1,x0:x1`; empty for all.
        slices: Slices, such as `0,5,10-19`; empty for all.
        mask: Stack that is 0 where no objects are wanted; empty for none.
        memory: GB that the segmentation may take; of a Dask worker, where there are.
        workers: Slices that are worked on at a time.
        dask: Scheduler, such as `tcp://host:8786`, whose workers do the work; empty: here.
        damaged: What happens where the image cannot be decoded.
        overwrite: Replace an output that is from another model or setting.

    Returns:
        `objects`, `voxels`, what was `damaged` and skipped, and the digest of the job.
    """
    options = Options(
        link=link == "3d", roi=roi, slices=slices, mask=mask, damaged=damaged, memory=memory,
        workers=workers, dask=dask, overwrite=overwrite,
    )  # fmt: skip
    check_output(Path(out), overwrite)
    network, params = open_model(model, Settings())
    about = run_segmentation(network, image, Path(out), params, options, _Progress())
    get_run_logger().info("%s: %d objects", out, about["objects"])
    return about


class _Progress:
    """Some lines in the log, and a way to stop."""

    def __init__(self) -> None:
        self._log = get_run_logger()
        self._told = ("", 0)

    def __call__(self, done: int, total: int, what: str) -> None:
        raise_if_interrupted()
        step = (what.split(",")[0], _STEPS * done // max(1, total))
        if step != self._told:
            self._told = step
            self._log.info("%d of %d: %s", done, total, what)
