"""Commands around MLflow: mirror runs, register models, promote; and the whole pipeline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from emsam.cli.console import (
    FORMATS,
    AsJson,
    DataName,
    Overrides,
    ParamsFile,
    TaskName,
    emit,
    progress,
    resolve_params,
    score_lines,
    table,
)
from emsam.cli.ledger import By
from emsam.errors import InputError

app = typer.Typer(no_args_is_help=True, help="MLflow: runs, registered models, champions.")

RunFolder = Annotated[Path, typer.Argument(help="Run directory.")]


def add_commands(parent: typer.Typer) -> None:
    """Put this file's commands under ``emsam``."""
    panel = "Decide"
    parent.add_typer(app, name="registry", rich_help_panel=panel)
    parent.command(
        rich_help_panel=panel,
        epilog="Example: emsam promote emsam-neurites/3 --data demo --split test",
    )(promote)
    parent.command(
        rich_help_panel="All of it",
        epilog="Example: emsam pipeline --data ca1 --task neurites --image em.tif "
        "--labels neurites=cells.tif --voxel-size 5,5,5",
    )(pipeline)


@app.command(epilog="Example: emsam registry sync runs/first")
def sync(run: RunFolder, as_json: AsJson = False) -> None:
    """Mirror a run directory into MLflow; again is harmless."""
    from emsam.registry.tracking import sync_run
    from emsam.settings import Settings
    from emsam.train.run_directory import RunDirectory

    settings = Settings()
    run_id = sync_run(RunDirectory(run).require(), settings)
    emit({"run": str(run), "mlflow_run_id": run_id}, as_json, [f"{run} is MLflow run {run_id}"])


@app.command(epilog="Example: emsam registry register runs/first")
def register(run: RunFolder, as_json: AsJson = False) -> None:
    """Package the checkpoint of a run that is judged and register it as a model version."""
    from emsam.registry.models import register_run
    from emsam.registry.names import version_name
    from emsam.settings import Settings
    from emsam.train.run_directory import RunDirectory

    found = register_run(RunDirectory(run).require(), Settings())
    reference = version_name(found)
    emit({"model": reference, "run": str(run)}, as_json, [reference])


@app.command(epilog="Example: emsam registry log emsam-neurites")
def log(
    name: Annotated[str, typer.Argument(help="Registered model.")], as_json: AsJson = False
) -> None:
    """List the versions of a model, what moved its champion, and looks at its test sets."""
    from emsam.registry.history import history_of
    from emsam.settings import Settings

    history = history_of(name, Settings())
    emit(history, as_json, history_lines(name, history))


def history_lines(name: str, history: dict[str, Any]) -> list[str]:
    """Three tables: versions, ledger, looks."""
    versions = [
        [f"{name}/{v['version']}", ",".join(v["aliases"]), v["run"], v["data_digest"][:12],
         v["reason"]]
        for v in history["versions"]
    ]  # fmt: skip
    rows = [
        [str(r["sequence"]), r["action"], _version(r["from_version"]), _version(r["to_version"]),
         r["by"], r["approved_by"] or "-", r["at"], (r["decision_sha256"] or "-")[:12], r["reason"]]
        for r in history["ledger"]
    ]  # fmt: skip
    looks = [[each["digest"][:12], each["split"], str(each["models"])] for each in history["looks"]]
    moved = ["sequence", "action", "from", "to", "by", "approved", "when", "decision", "reason"]
    return [
        *table(f"versions of {name}", ["version", "alias", "run", "data", "decision"], versions),
        "",
        *table("ledger", moved, rows),
        "",
        *table("models that were scored", ["data", "split", "models"], looks),
        *history["notes"],
    ]


def _version(number: int | None) -> str:
    return "-" if number is None else str(number)


@app.command(epilog="Example: emsam registry verify emsam-neurites")
def verify(
    name: Annotated[str, typer.Argument(help="Registered model.")], as_json: AsJson = False
) -> None:
    """Check a model's ledger: chain of digests, decisions, aliases; exit 1 if one is wrong."""
    from emsam.registry.verify import verify_ledger
    from emsam.settings import Settings

    count, wrong = verify_ledger(name, Settings())
    well = f"{name}: {count} rows, the chain is whole, decisions and aliases agree"
    emit({"model": name, "rows": count, "wrong": wrong}, as_json, wrong or [well])
    if wrong:
        raise typer.Exit(1)


def promote(
    candidate: Annotated[
        str, typer.Argument(help="NAME/VERSION; not with --decision.", show_default=False)
    ] = "",
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Name of a volume; repeatable.")
    ] = None,
    split: Annotated[str, typer.Option(help="Slices that decide: val or test.")] = "test",
    params: ParamsFile = None,
    overrides: Overrides = None,
    decision: Annotated[
        str, typer.Option(help="Carry out one that was made: its sha256's first digits, or file.")
    ] = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Compare a candidate with the champion on the same slices; a better one is champion.

    The verdict is promote, reject or inconclusive; docs/gate.md says how it is made. Where a
    person must approve (EMSAM_APPROVAL=required), the decision waits for 'emsam approve'.
    """

    from emsam.errors import NotPromoted
    from emsam.registry.promotion import apply_decision, carry_out
    from emsam.settings import Settings

    settings = Settings()
    if bool(decision) == bool(candidate) or bool(decision) == bool(data):
        raise InputError(
            "give a candidate with --data, or --decision alone: 'emsam promote NAME/VERSION --data "
            "VOLUME' or 'emsam promote --decision SHA256'"
        )
    note = ""
    if decision:
        made, moved = carry_out(decision, settings, by=by)
    else:
        gate = resolve_params(params, overrides).gate
        made, moved = _decide(candidate, data or [], split, settings, gate), False
        try:
            moved = apply_decision(made, settings, by=by)
        except NotPromoted as why:
            note = str(why)
    emit(
        asdict(made) | {"sha256": made.sha256, "moved": moved, "note": note},
        as_json,
        [f"{made.verdict}: {made.candidate}, {made.reason}", *([note] if note else [])],
    )


def _decide(candidate: str, data: list[str], split: str, settings: Any, gate: Any) -> Any:
    """Score candidate and champion."""
    from emsam.data.store import Volume
    from emsam.registry.gate import decide
    from emsam.registry.models import find_version

    on = [(Volume(settings.volume_path(name)), split) for name in data]
    found = find_version(candidate, settings)
    with progress("scoring slices") as report:
        return decide(found, on, settings, gate, progress=report)


def pipeline(
    data: DataName,
    task: TaskName = None,
    image: Annotated[
        str | None, typer.Option(help=f"To ingest first. {FORMATS} Or s3://bucket/key.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="TASK=FILE of instance ids; repeatable.")
    ] = None,
    voxel_size: Annotated[
        str, typer.Option(help="z,y,x in nm, with --image that does not say it.")
    ] = "",
    split: Annotated[str, typer.Option(help="z-ranges of the volume, with --image.")] = "",
    params: ParamsFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """The whole loop as a Prefect flow: publish, fine-tune, evaluate, register, promote."""
    from emsam.cli.data import ingest as ingest_command
    from emsam.settings import Settings

    resolved = resolve_params(params, overrides, task=task, data__name=data)
    if image is None and (labels or voxel_size or split):
        raise InputError("--labels, --voxel-size and --split go with --image; name the image too")
    if image is not None:
        _quietly(ingest_command, as_json, data, image, voxel_size, labels, split)
    from flows.local import run_locally

    report = run_locally(resolved, Settings(), quiet=as_json)
    emit(report, as_json, pipeline_lines(report))


def _quietly(command: Any, as_json: bool, *arguments: Any) -> None:
    """Run another command first, without its document."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) if as_json else contextlib.nullcontext():
        command(*arguments)


def pipeline_lines(report: dict[str, Any]) -> list[str]:
    """What a pipeline reached and where each thing lies."""
    title = f"{report['run_name']} on {report['data']} {report['split']} slices"
    places = {
        "data set": f"{report['data_version']}  {report['digest']}",
        "volume": report["volume"],
        "run": report["run"],
        "figures": report["figures"],
        "MLflow": f"{report['tracking_uri']}  run {report['mlflow_run_id']}",
        "model": f"{report['model']}  {report['verdict']}: {report['reason']}",
        "champion": report["champion"],
        "dashboard": "make dashboard",
    }
    width = max(map(len, places))
    return [
        "",
        *score_lines(title, report["means"]),
        "",
        *(f"{name:>{width}}  {place}" for name, place in places.items()),
    ]
