"""``emsam weights …``: Meta's pretrained weights of the image encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsam.cli.console import AsJson, emit, progress, table

if TYPE_CHECKING:
    from emsam.model.weights_cache import PretrainedWeights

app = typer.Typer(no_args_is_help=True, help="Segment Anything's pretrained weights.")


@app.command(epilog="Example: emsam weights get vit_b")
def get(
    encoder: Annotated[
        str, typer.Argument(help="vit_b, vit_l or vit_h; any other one --from a run.")
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Local .pth file in place of a download, or a run directory."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the weights of an encoder, check them and keep them; again is harmless."""
    from emsam.model.weights import get_weights
    from emsam.settings import Settings
    from emsam.train.run_directory import RunDirectory

    settings = Settings()
    run = RunDirectory(source) if source else None
    if run and run.exists():
        source = run.require_checkpoint() / "model.safetensors"
    what = f"downloading {encoder}" if source is None else f"reading {source}"
    with progress(what, in_bytes=True) as report:
        found = get_weights(
            encoder,
            settings.weights_root,
            source=source,
            url=settings.weights_url,
            progress=report,
        )
    lines = [f"{encoder} from {found.source}", f"  sha256 {found.sha256}", f"  {found.path}"]
    emit(_document(found), as_json, lines)


@app.command("list", epilog="Example: emsam weights list")
def list_(as_json: AsJson = False) -> None:
    """List the weights that were fetched, whose they are and where they lie."""
    from emsam.model.weights_cache import list_weights
    from emsam.settings import Settings

    root = Settings().weights_root
    found = list_weights(root)
    rows = [
        [each.encoder, each.sha256[:12], "official" if each.official else "-", each.source]
        for each in found
    ]
    emit(
        [_document(each) for each in found],
        as_json,
        table(f"weights in {root}", ["encoder", "sha256", "name", "source"], rows),
    )


def _document(found: PretrainedWeights) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found) | {"official": found.official}
