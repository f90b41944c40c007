"""``emsam data …``: volumes in, checked and versioned."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsam.cli.console import FORMATS, AsJson, emit, progress, table, triple
from emsam.errors import InputError

if TYPE_CHECKING:
    from emsam.data.catalog import Entry

app = typer.Typer(no_args_is_help=True, help="Volumes: make, ingest, check, publish.")

Name = Annotated[str, typer.Argument(help="Name of the volume.")]


@app.command(
    epilog="Example: emsam data synthetic demo --shape 32,256,256 --seed 0",
)
def synthetic(
    name: Name,
    shape: Annotated[str, typer.Option(help="z,y,x in voxels.")] = "32,256,256",
    seed: Annotated[int, typer.Option(help="The same seed gives the same voxels.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic EM volume with labels of neurites and mitochondria."""
    from emsam.data.synthetic import synthesize_volume
    from emsam.settings import Settings

    sides = triple("--shape", shape, int)
    store = Settings().volume_path(_checked(name))
    with progress(f"synthesizing {name}") as report:
        volume = synthesize_volume(name, store, shape=sides, seed=seed, progress=report)
    _print_volume(volume, as_json)


@app.command(
    epilog="Example: emsam data ingest ca1 --image em.tif --labels neurites=cells.tif "
    "--voxel-size 5,5,5 --split train=0-43,val=44-62",
)
def ingest(
    name: Name,
    image: Annotated[str, typer.Option(help=f"{FORMATS} Or s3://bucket/key.")],
    voxel_size: Annotated[
        str, typer.Option(help="z,y,x in nm; needed unless the image says it.")
    ] = "",
    labels: Annotated[
        list[str] | None,
        typer.Option(help="TASK=FILE of instance ids, in the same formats; repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="z-ranges, both ends included.")] = "",
    licence: Annotated[str, typer.Option(help="Terms of the data, kept with the volume.")] = "",
    as_json: AsJson = False,
) -> None:
    """Check an image stack with its labels and store it as OME-Zarr."""
    from emsam.data.ingest import Source, ingest_volume
    from emsam.settings import Settings

    size = triple("--voxel-size", voxel_size, float) if voxel_size else None
    source = Source(image, parse_labels(labels), size, split, licence)
    with progress(f"ingesting {name}") as report:
        volume = ingest_volume(_checked(name), source, Settings().volume_path(name), report)
    _print_volume(volume, as_json)


@app.command("list", epilog="Example: emsam data list")
def list_(as_json: AsJson = False) -> None:
    """List the published data sets that 'emsam data get' knows."""
    from emsam.data.catalog.listing import COLUMNS, catalog_rows, table_row
    from emsam.settings import Settings

    settings = Settings()
    rows = catalog_rows(settings.downloads_root, settings.volume_path)
    lines = table("published data sets", COLUMNS, [table_row(row) for row in rows])
    emit(rows, as_json, [*lines, f"downloads are kept in {settings.downloads_root}"])


@app.command(epilog="Example: emsam data get cremi-a")
def get(
    name: Annotated[str, typer.Argument(help="Of a data set; 'emsam data list' names all.")],
    given: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", help="File, folder or archive that you downloaded yourself; repeatable."
        ),
    ] = None,
    volume: Annotated[
        str, typer.Option("--as", help="Name of the volume, if not that of the data set.")
    ] = "",
    keep: Annotated[
        bool, typer.Option("--keep/--remove", help="Keep the downloaded files in the cache.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Fetch a published data set, check it and store it as a volume; interrupted, it goes on."""
    from emsam.data.catalog import CATALOG
    from emsam.data.catalog.get import Places, get_volumes
    from emsam.settings import Settings

    if name not in CATALOG:
        raise InputError(f"{name}: no such data set; one of {', '.join(CATALOG)}")
    settings, entry = Settings(), CATALOG[name]
    volumes = get_volumes(
        entry,
        Places(settings.downloads_root, settings.volume_path, settings.downloads_url),
        lambda what, in_bytes: progress(what, in_bytes=in_bytes),
        name=_checked(volume) if volume else "",
        given=given or (),
        keep=keep,
    )
    lines = [line for each in volumes for line in [*_describe(each), *_warnings(each)]]
    documents = [_document(each) for each in volumes]
    emit(documents, as_json, [*lines, *_terms(entry, settings.downloads_root / entry.name)])


@app.command(epilog="Example: emsam data check ca1 --html ca1.html")
def check(
    name: Name,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with pictures to this file.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 on any warning.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a volume again: lost, double or odd slices, leakage between splits, odd labels.

    The dashboard shows the last report.

    Copies of its slices are searched in all volumes, where one trains and the other is judged.
    """
    from emsam.data.checks.report import report
    from emsam.data.checks.volume import examine_volume
    from emsam.data.store import Volume
    from emsam.documents import finite_or_none, write_whole
    from emsam.settings import Settings

    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise InputError(f"--html {html}: name a file in a folder that is there")
    settings = Settings()
    volume = Volume(settings.volume_path(name))
    with progress(f"checking {name}") as moved:
        seen = examine_volume(volume, settings.data_root.glob("*/volume.zarr"), moved)
    if html is not None:
        from emsam.data.checks.page import html_page

        write_whole(html, html_page(seen))
    document = report(seen)
    settings.check_file(name).parent.mkdir(parents=True, exist_ok=True)
    write_whole(settings.check_file(name), json.dumps(finite_or_none(document)) + "\n")
    emit(document, as_json, [*_describe(volume), *_check_lines(document)])
    if strict and seen.warned:
        raise typer.Exit(2)


@app.command(epilog="Example: emsam data publish ca1")
def publish(name: Name, as_json: AsJson = False) -> None:
    """Make a volume a data set version: DVC add, push, verify, tag."""
    from dataclasses import asdict

    from emsam import versioning
    from emsam.settings import Settings

    say = (lambda line: None) if as_json else (lambda line: typer.echo(line, err=True))
    version = versioning.publish(name, Settings(), say)
    emit(asdict(version), as_json, [f"{version.tag}  {version.digest}  {version.size} bytes"])


@app.command(epilog="Example: emsam data log ca1")
def log(name: Name, as_json: AsJson = False) -> None:
    """List the published versions of a volume."""
    from dataclasses import asdict

    from emsam import versioning

    found = versioning.versions(name)
    rows = [[v.tag, v.digest, v.date, v.author, f"{v.size / 1e6:.1f} MB", v.changes] for v in found]
    columns = ["version", "digest", "date", "author", "size", "changes"]
    emit(
        [asdict(version) for version in found],
        as_json,
        table(f"versions of {name}", columns, rows),
    )


@app.command(epilog="Example: emsam data diff ca1 v1 v2")
def diff(
    name: Name,
    first: Annotated[str, typer.Argument(help="A published version, such as v1.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Say which slices and labels changed between two published versions."""
    from emsam import versioning
    from emsam.data.summary import describe_changes

    changes = versioning.difference(name, first, second)
    said = describe_changes(changes) or "the same image and labels"
    emit(changes, as_json, [f"{name} {first} to {second}: {said}", *_changed_slices(changes)])


@app.command(epilog="Example: emsam data where data/ca1/v1")
def where(
    digest: Annotated[
        str, typer.Argument(help="A data set version: DVC's digest, its first digits, or its tag.")
    ],
    as_json: AsJson = False,
) -> None:
    """List the runs and models that were trained on a data set version."""
    from emsam.registry.lineage import users_of
    from emsam.settings import Settings
    from emsam.versioning import digest_of

    wanted = digest_of(digest)
    found = users_of(wanted, Settings())
    rows = [[each["kind"], each["name"], each["where"]] for each in found]
    emit(found, as_json, table(f"trained on {wanted}", ["", "name", "where"], rows))


def _changed_slices(changes: dict[str, Any]) -> list[str]:
    from emsam.data.checks.finding import z_ranges

    slices = {"image": changes.get("image", [])}
    slices |= {task: each["slices"] for task, each in changes.get("labels", {}).items()}
    return [f"  {what}: slices {z_ranges(each)}" for what, each in slices.items() if each]


def parse_labels(items: list[str] | None) -> dict[str, str]:
    """``["neurites=cells.tif"]`` → ``{"neurites": "cells.tif"}``."""
    labels: dict[str, str] = {}
    for item in items or ():
        task, equals, path = item.partition("=")
        if not equals or not path:
            raise InputError(f"--labels {item}: write it as TASK=FILE, such as neurites=cells.tif")
        if task in labels:
            raise InputError(f"--labels {item}: {task} is given twice; name one file a task")
        labels[task] = path
    return labels


def _checked(name: str) -> str:
    """A name that can be a folder, a git tag and part of a DVC path."""
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise InputError(f"{name!r}: a volume's name has letters, digits, '-' and '_' alone")
    return name


def _check_lines(document: dict[str, Any]) -> list[str]:
    """Statistics of the labels, findings, and what they were compared with."""
    rows = [
        [task, str(each["objects"]), f"{median(each['objects_per_slice']):g}",
         f"{each['area_quartiles'][2]:g}", f"{each['labelled']:.1%}",
         "3D" if each["ids_through_slices"] else "2D"]
        for task, each in document["classes"].items()
    ]  # fmt: skip
    columns = ["task", "objects in slices", "a slice", "size (px)", "labelled", "ids"]
    compared = document["compared"]
    return [
        *table("labels (medians)", columns, rows),
        *(f"{each['level']}: {each['message']}" for each in document["findings"]),
        f"{sum(each['level'] == 'warning' for each in document['findings'])} warnings; "
        f"searched for copies: {', '.join(compared) or 'no other volume'}",
    ]


def _describe(volume) -> list[str]:  # type: ignore[no-untyped-def]
    info = volume.info
    splits = ", ".join(f"{name} {a}-{b}" for name, (a, b) in info.splits.items())
    return [
        f"{volume.path}",
        f"  shape {' × '.join(map(str, volume.shape))} (z, y, x), voxel "
        f"{' × '.join(f'{side:g}' for side in info.voxel_size)} nm",
        f"  labels: {', '.join(volume.tasks) or 'none'};  splits: {splits}",
    ]


def _print_volume(volume, as_json: bool) -> None:  # type: ignore[no-untyped-def]
    emit(_document(volume), as_json, [*_describe(volume), *_warnings(volume)])


def _document(volume) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    from dataclasses import asdict

    where = {"path": str(volume.path), "shape": volume.shape, "tasks": volume.tasks}
    return asdict(volume.info) | where


def _warnings(volume) -> list[str]:  # type: ignore[no-untyped-def]
    return [f"  warning: {warning}" for warning in volume.info.warnings]


def _terms(entry: Entry, folder: Path) -> list[str]:
    """What whoever uses a data set has to know."""
    downloaded = any(folder.joinpath(each.name).exists() for each in entry.downloads)
    return [
        f"licence: {entry.licence}",
        f"cite: {entry.citation}",
        f"split: {entry.official_split}",
        f"ids: {entry.ids}",
        *([f"downloaded files: {folder}, which may be removed"] if downloaded else []),
    ]
