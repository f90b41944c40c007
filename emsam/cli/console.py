"""What commands print: a document for scripts or lines for people; progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from emsam.documents import finite_or_none
from emsam.errors import InputError
from emsam.metrics.as_text import interval, number

FORMATS = (
    "Grey z,y,x stack: TIFF, a folder of TIFF or PNG slices, HDF5 (file.h5:/path), Zarr, N5 or MRC."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
DataName = Annotated[str, typer.Option("--data", help="Name of the volume.")]
ParamsFile = Annotated[
    Path | None, typer.Option("--params", help="YAML file; params.yaml if it is here.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override, such as train.steps=200; repeatable.")
]
TaskName = Annotated[str | None, typer.Option("--task", help="neurites or mitochondria.")]


def emit(document: Any, as_json: bool, lines: Sequence[str] = ()) -> None:
    """Print ``document`` as JSON, or ``lines``."""
    if as_json:
        print(json.dumps(finite_or_none(document), indent=2, default=str, allow_nan=False))
    else:
        print("\n".join(lines))


class Report(Protocol):
    """Moves a bar: called with (done, total) and, if there is one, a note."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(what: str, *, in_bytes: bool = False) -> Iterator[Report]:
    """A bar on stderr; the caller calls back with (done, total), which may be bytes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bars.update(bar, completed=done, total=total, note=note)

        yield report


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a plain table, first column to the left, the others to the right."""
    if not rows:
        return [f"{title}: none"]
    width = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, width, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return [title, line(columns), *(line(row) for row in rows)]


def score_lines(title: str, means: Sequence[dict[str, Any]]) -> list[str]:
    """A table of means with their 95 % intervals."""
    rows = [[m["metric"], number(m["mean"]), interval(m["low"], m["high"])] for m in means]
    return table(title, ["metric", "mean", "95 % interval"], rows)


def triple(option: str, text: str, kind: type) -> tuple:  # type: ignore[type-arg]
    """``"30,8,8"`` → ``(30, 8, 8)``."""
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise InputError(f"{option} {text}: three numbers z,y,x are needed, such as 30,8,8")
    return values


def resolve_params(
    file: Path | None, overrides: Sequence[str] | None, **sections: str | None
) -> Any:
    """Parameters from a file, ``--set`` and options of their own (``task``, ``data__name``)."""
    from emsam.params import load_params

    if file is None and Path("params.yaml").exists():
        file = Path("params.yaml")
    extra = [
        f"{key.replace('__', '.')}={json.dumps(value)}"
        for key, value in sections.items()
        if value is not None
    ]
    return load_params(file, [*(overrides or ()), *extra])
