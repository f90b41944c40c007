"""From what a person asks for to a job in its folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from safetensors.torch import save
from torch import nn

from emsam.data.readers import TIFF_SUFFIXES
from emsam.data.readers.regions import open_regions
from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.params import Params, dump_params
from emsam.segment.blocks.files import JOB, PARAMS, WEIGHTS
from emsam.segment.blocks.job import Job
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.region import parse_region
from emsam.segment.blocks.source import find_intensity, mask_factors
from emsam.segment.channels import require_channels


def is_zarr(out: Path) -> bool:
    """Whether ids are written as OME-Zarr, not as TIFF."""
    return out.suffix.lower() == ".zarr"


def check_output(out: Path, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises
    ------
    InputError
        Another format, no such folder, or a file that is there already. Of a Zarr that is there
        it is asked later what it is.
    """
    if not is_zarr(out) and out.suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(f"{out}: ids are written as .zarr or .tif; choose such a name")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: no folder {out.parent}; make it first")
    if out.exists() and not overwrite and not is_zarr(out):
        raise InputError(f"{out}: exists already; choose another name or add --overwrite")


def weights_of(network: nn.Module) -> bytes:
    """A network's state as a safetensors file."""
    return save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})


def plan_job(image: str, options: Options, params: Params, weights: bytes, fetched: Path) -> Job:
    """Look at the input, and settle all that the result depends on.

    Parameters
    ----------
    fetched
        Folder for what must be fetched before it can be read.

    Raises
    ------
    InputError
        Input that cannot be read or segmented, a region outside of it, a mask of another grid.
    """
    require_channels(params)
    stack, known_by = open_regions(image, fetched)
    mask_known_by = ""
    with stack:
        _refuse_no_image(stack.name, stack.dtype)
        if options.mask:
            mask, mask_known_by = open_regions(options.mask, fetched)
            with mask:
                mask_factors(mask, stack.shape)
        slices, region = parse_region(options.roi, options.slices, stack.shape)
        return Job(
            image=_absolute(image),
            mask=_absolute(options.mask),
            known_by=(known_by, mask_known_by),
            weights=hashlib.sha256(weights).hexdigest(),
            shape=stack.shape,
            slices=slices,
            region=region,
            intensity=find_intensity(stack, image),
            voxel_size=stack.voxel_size or (1.0, 1.0, 1.0),
            known_size=stack.voxel_size is not None,
            link=options.link,
            bf16=options.bf16,
            batch=options.batch,
            side=options.side,
            overlap=options.overlap,
            damaged=options.damaged,
        )


def _refuse_no_image(name: str, dtype: np.dtype[np.generic]) -> None:
    if dtype.kind not in "uf":
        raise InputError(f"{name}: dtype {dtype}; an image has unsigned or floating-point values")


def finished(out: Path, digest: str, overwrite: bool) -> dict[str, Any] | None:
    """What ``out`` says of itself if it is the result of this very job; ``None`` if there is none.

    Raises
    ------
    InputError
        It is something else, and may not be replaced.
    """
    if not out.exists():
        return None
    about: Any = None
    if is_zarr(out):
        try:
            about = zarr.open_group(out, mode="r").attrs["emsam"]
        except (KeyError, ValueError, FileNotFoundError, NotADirectoryError):
            about = None
        if isinstance(about, dict) and about.get("digest") == digest:
            return dict(about)
    if overwrite:
        return None
    raise InputError(
        f"{out}: exists already, from another model, input or setting; choose another name or add "
        "--overwrite"
    )


def folder_of(part: Path, digest: str) -> Path:
    """Folder of a job.

    It is named by the job: a worker of another one that nobody waits for any more cannot write
    into it.
    """
    return part / digest[:16]


def take_folder(
    folder: Path, out: Path, job: Job, params: Params, weights: bytes, overwrite: bool
) -> None:
    """Make a job's folder, with all that workers read, unless it is there.

    Raises
    ------
    InputError
        Another job was begun there, and may not be replaced.
    """
    for other in begun_in(folder.parent):
        if other == folder:
            return
        if not overwrite:
            of_model = Job.read(other / JOB).weights
            what = "another model" if of_model != job.weights else "other input or settings"
            raise InputError(
                f"{out}: was begun with {what} and not finished; run the same command as then, or "
                "add --overwrite to begin anew"
            )
        shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    settled = params.model_copy(update={"segment": params.settled_segment})
    (folder / PARAMS).write_text(dump_params(settled))
    write_whole(folder / JOB, job.text())  # the last one: what is begun is whole


def begun_in(part: Path) -> list[Path]:
    """Folders of jobs."""
    return sorted(path.parent for path in part.glob(f"*/{JOB}"))


def _absolute(location: str) -> str:
    """Workers may stand in other folders."""
    if not location or location.startswith("s3://"):
        return location
    return str(Path(location).absolute())
