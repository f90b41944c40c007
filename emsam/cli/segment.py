"""``emsam segment``: use a model on an image of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsam.cli.console import FORMATS, AsJson, emit, progress

if TYPE_CHECKING:  # heavy, and no --help should wait for them
    from torch import nn

    from emsam.params import Params
    from emsam.segment.blocks.options import Options

Image = Annotated[
    str, typer.Argument(metavar="INPUT", help=f"{FORMATS} Any of these as s3://bucket/key too.")
]
Model = Annotated[
    str,
    typer.Option(
        help="Run directory, NAME@champion or NAME/VERSION; champion is the only one there is."
    ),
]
Out = Annotated[Path, typer.Option(help="Ids: .zarr (OME-Zarr pyramid, table of objects) or .tif.")]
Link = Annotated[
    str, typer.Option(help="2d: an object is in one slice; 3d: an id goes through the slices.")
]
Roi = Annotated[str, typer.Option(help="z0:z1,y0:y1,x0:x1; a side may be left out.")]
Slices = Annotated[str, typer.Option("--z", help="Slices, such as 0,5,10-19.")]
Mask = Annotated[
    str, typer.Option(help="Stack on the same or a coarser grid; where it is 0 is no object.")
]
Memory = Annotated[float, typer.Option(help="GB; fewer workers run if need be.")]
Workers = Annotated[int, typer.Option(min=1, help="Slices that are worked on at a time.")]
Processes = Annotated[bool, typer.Option("--processes/--threads", help="What each worker is.")]
Dask = Annotated[str, typer.Option(help="Scheduler, such as tcp://host:8786, whose workers do it.")]
Window = Annotated[int, typer.Option(min=64, help="Pixels in which objects are found.")]
Batch = Annotated[int, typer.Option(min=1, help="Tiles that the network sees together.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Calculate with 16 bits.")]
Damaged = Annotated[str, typer.Option(help="stop or skip, where the image cannot be decoded.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say how long it takes, and how much memory and disk.")
]
Overwrite = Annotated[
    bool, typer.Option(help="Replace OUT, and what was begun of it with another model.")
]


def add_commands(app: typer.Typer) -> None:
    """Put this file's command under ``emsam``."""
    app.command(
        rich_help_panel="Use",
        epilog="Example: emsam segment em.tif --model emsam-neurites@champion --out ids.tif",
    )(segment)


def segment(
    image: Image,
    model: Model,
    out: Out,
    link: Link = "2d",
    roi: Roi = "",
    z: Slices = "",
    mask: Mask = "",
    memory: Memory = 4.0,
    workers: Workers = 2,
    processes: Processes = False,
    dask: Dask = "",
    window: Window = 2048,
    batch: Batch = 4,
    bf16: Bf16 = False,
    damaged: Damaged = "stop",
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Segment an image of any size with a model, block by block.

    The same command goes on where it was stopped or killed.
    """
    from emsam.errors import InputError
    from emsam.registry.models import open_model
    from emsam.segment.blocks.options import Options
    from emsam.segment.blocks.prepare import check_output
    from emsam.settings import Settings

    if link not in ("2d", "3d"):
        raise InputError(f"--link {link}: objects are linked in 2d or in 3d")
    options = Options(
        link=link == "3d", roi=roi, slices=z, mask=mask, side=window, batch=batch, bf16=bf16,
        damaged=damaged,  # type: ignore[arg-type]  # it looks
        memory=memory, workers=workers, processes=processes, dask=dask, overwrite=overwrite,
    )  # fmt: skip
    check_output(out, overwrite)  # before the model is fetched
    network, params = open_model(model, Settings())
    if dry_run:
        _estimate(network, image, out, params, options, as_json)
    else:
        about = {"input": image, "model": model, "out": str(out)}
        _segment(network, image, out, params, options, about, as_json)


def _estimate(
    network: nn.Module, image: str, out: Path, params: Params, options: Options, as_json: bool
) -> None:
    """Say what it would cost."""
    from emsam.segment.blocks.estimate import estimate, estimate_lines

    expected = estimate(network, image, out, params, options)
    emit(expected, as_json, estimate_lines(expected))


def _segment(
    network: nn.Module, image: str, out: Path, params: Params, options: Options,
    about: dict[str, Any], as_json: bool,
) -> None:  # fmt: skip
    """Do it, and say what came out, beside what is known of it."""
    from emsam.segment.blocks.run import segment_volume
    from emsam.segment.blocks.viewers import viewer_lines

    with progress(f"segmenting {image}") as report:
        made = segment_volume(network, image, out, params, options, report)
    lines = [f"{out}: {made['objects']} objects"]
    for z, y0, y1, x0, x1 in made["damaged"]:
        where = f"slice {z}, rows {y0} to {y1 - 1}, columns {x0} to {x1 - 1}"
        lines.append(f"skipped, damaged: {where}")
    emit(about | made, as_json, [*lines, *viewer_lines(image, out)])
