"""Commands that train and judge a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from emsam.cli.console import (
    AsJson,
    DataName,
    Overrides,
    ParamsFile,
    TaskName,
    emit,
    progress,
    resolve_params,
    score_lines,
    triple,
)
from emsam.metrics.as_text import number

model_app = typer.Typer(no_args_is_help=True, help="Networks: what they are made of.")

ModelName = Annotated[
    str, typer.Argument(help="Run directory, NAME@champion, NAME/VERSION or champion.")
]


def add_commands(app: typer.Typer) -> None:
    """Put this file's commands under ``emsam``."""
    panel = "Train and judge"
    app.add_typer(model_app, name="model", rich_help_panel=panel)
    app.command(
        rich_help_panel=panel,
        epilog="Example: emsam features --data demo --params params/frozen.yaml",
    )(features)
    app.command(
        rich_help_panel=panel,
        epilog="Example: emsam train --data demo --task neurites --run runs/first "
        "--set train.steps=200",
    )(train)
    app.command(rich_help_panel=panel, epilog="Example: emsam tune runs/first --data demo")(tune)
    app.command(
        rich_help_panel=panel, epilog="Example: emsam evaluate runs/first --data demo --split val"
    )(evaluate)
    app.command(
        rich_help_panel=panel,
        epilog="Example: emsam score --truth cells.tif --pred mine.tif --task neurites",
    )(score)


@model_app.command(epilog="Example: emsam model info --set model.name=unet")
def info(params: ParamsFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a network's parameters, operations and memory at 1024 × 1024 pixels."""
    from dataclasses import asdict

    from emsam.model.cost import SIDE, measure_cost

    resolved = resolve_params(params, overrides)
    cost = measure_cost(resolved)
    name = resolved.model.name
    document = {
        "model": name,
        "encoder": None if name == "unet" else resolved.model.encoder,
        "image": [SIDE, SIDE],
        "parameters": cost.parameters,
        "decoder_over_encoder": cost.ratio,
    }
    title = name if name == "unet" else f"{name}, {resolved.model.encoder}"
    shares = "" if cost.ratio is None else f", {cost.ratio:.3f} of the encoder"
    lines = [
        f"{title}: {cost.parameters:,} parameters",
        *(f"  {part:10} {count:>14,}" for part, count in cost.parts.items()),
        f"operations of a forward pass on {SIDE} × {SIDE} pixels (2 a multiply-add)",
        f"  encoder    {cost.encoder_flops / 1e9:>14,.1f} GFLOP",
        f"  decoder    {cost.decoder_flops / 1e9:>14,.1f} GFLOP{shares}",
        "memory in 32 bits",
        f"  weights    {cost.weight_bytes / 1e6:>14,.1f} MB, four times that in training",
        f"  kept       {cost.activation_bytes / 1e6:>14,.1f} MB an image in a training step",
    ]
    emit(document | asdict(cost), as_json, lines)


def features(
    data: DataName,
    task: TaskName = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compute a frozen encoder's features of all training patches, for train.cached_features."""
    from emsam.settings import Settings
    from emsam.train.prepare import prepare_features

    resolved = resolve_params(params, overrides, task=task, data__name=data)
    with progress(f"features of {data}") as report:
        document = prepare_features(resolved, Settings(), report)
    emit(document, as_json, [f"{document['path']}: {document['bytes'] / 1e6:,.1f} MB"])


def train(
    data: DataName,
    task: TaskName = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory; by default named after the job.")
    ] = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model in a process of its own; go on where it was stopped."""
    from emsam.launch.launcher import launch
    from emsam.settings import Settings
    from emsam.train.prepare import prepare_run

    resolved = resolve_params(params, overrides, task=task, data__name=data)
    settings = Settings()
    job = prepare_run(resolved, settings, run)
    with progress(f"training {job.name}") as report:
        launch(job, settings, lambda status: report(*training_progress(status)))
    status = job.status()
    emit(
        {"run": str(job.path)} | status,
        as_json,
        [f"{job.path}: {status['state']} at step {status['step']}, {status['seconds']:.0f} s"],
    )


def training_progress(status: dict[str, Any]) -> tuple[int, int, str]:
    """(done, total, note) of a run's status; per cent where the budget is in minutes."""
    loss = status.get("metrics", {}).get("train/loss")
    note = f"loss {loss:.3f}" if loss is not None else status.get("note") or "starting"
    if status.get("steps"):
        return status["step"], status["steps"], note
    return round(100 * status.get("fraction", 0)), 100, note


def tune(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    data: DataName,
    split: Annotated[str, typer.Option(help="val; other slices are refused.")] = "val",
    trials: Annotated[int, typer.Option(min=1, help="Settings that are tried.")] = 50,
    method: Annotated[
        list[str] | None,
        typer.Option(help="segment.method to try beside the run's own; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search a run's post-processing on validation slices; evaluate and segment then use it.

    The network runs once on each slice. Trials go to RUN/tuning.jsonl, the best to
    RUN/segment.yaml; the same command goes on where it was stopped.
    """
    from emsam.data.store import Volume
    from emsam.settings import Settings
    from emsam.train.run_directory import RunDirectory
    from emsam.train.tuning import Search, tune_run

    volume = Volume(Settings().volume_path(data))
    search = Search(trials=trials, methods=tuple(method or ()), seed=seed)
    with progress(f"tuning {run} on {data} {split}") as report:
        document = tune_run(RunDirectory(run), volume, split, search, report)
    chosen = ", ".join(f"{key} {value}" for key, value in document["segment"].items())
    lines = [
        f"{document['metric']} {number(document['before'])} before, {number(document['after'])} "
        f"with trial {document['trial']} of {trials}",
        f"{run}/segment.yaml: {chosen}",
    ]
    emit(document, as_json, lines)


def evaluate(
    model: ModelName,
    data: DataName,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    params: Annotated[
        Path | None, typer.Option("--params", help="YAML file; the run's own parameters if none.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on the slices of a split; a run keeps its scores, figures and masks.

    --params and --set bring the run's post-processing up to date: segment and evaluate. What
    'emsam tune' chose stays, unless they ask for another post-processing.
    """
    from emsam.data.store import Volume
    from emsam.errors import InputError
    from emsam.params import load_params, override_params
    from emsam.settings import Settings
    from emsam.train.run_directory import RunDirectory

    settings = Settings()
    volume = Volume(settings.volume_path(data))
    with progress(f"evaluating on {data} {split}") as report:
        run = RunDirectory(Path(model))
        if run.exists():
            from emsam.train.evaluation import evaluate_run

            if params:
                run.set_judging(load_params(params, overrides or ()))
            elif overrides:
                run.set_judging(override_params(run.params(), overrides), keep_tuned=False)
            _count_look(run, volume, split, settings)
            document = evaluate_run(run, volume, split, report)
        elif params or overrides:
            raise InputError(f"{model}: --params and --set change a run, not a registered model")
        else:
            document = _evaluate_registered(model, volume, split, settings, report)
    emit(document, as_json, score_lines(f"{model} on {data} {split}", document["means"]))


def _count_look(run: Any, volume: Any, split: str, settings: Any) -> None:
    """Test slices wear out; a machine that has no ledger says so and goes on."""
    from emsam.data.digest import folder_digest

    if split != "test":
        return
    try:
        from emsam.registry.looks import count_run_look
    except ModuleNotFoundError as error:
        print(f"this look at test slices is not counted: {error}", file=sys.stderr)
        return
    count_run_look(run.require(), volume, folder_digest(volume.path), split, settings)


def _evaluate_registered(
    reference: str, volume: Any, split: str, settings: Any, report: Any
) -> dict[str, Any]:
    from emsam.data.digest import folder_digest
    from emsam.registry.looks import EVALUATE, TEST, count_version_look
    from emsam.registry.models import find_version, open_model
    from emsam.segment.evaluate import evaluate_slices, score_rows, summarize

    network, params = open_model(reference, settings)
    volume.require_task(params.task)
    slices = volume.slices(split, params.task)
    if split == TEST:
        found = find_version(reference, settings)
        count_version_look(found, folder_digest(volume.path), split, settings, EVALUATE)
    results = evaluate_slices(network, volume, params, slices, report)
    pairs = [(each.z, each.scores) for each in results]
    means = summarize(pairs, params.evaluate)
    return {"model": reference, "means": means, "rows": score_rows(pairs)}


def score(
    truth: Annotated[Path, typer.Option(help="True instance ids: TIFF, Zarr or another format.")],
    pred: Annotated[Path, typer.Option(help="Predicted instance ids, on the same grid.")],
    task: Annotated[str, typer.Option(help="neurites or mitochondria.")],
    grow: Annotated[bool, typer.Option(help="Grow neurites until they touch.")] = True,
    dims: Annotated[
        str, typer.Option(help="2d: each slice; 3d: the stack, whose ids go through the slices.")
    ] = "2d",
    voxel_size: Annotated[
        str, typer.Option(help="z,y,x in nm, to grow in 3d; by default 1,1,1.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Score any two label files, slice by slice or in 3D, all metric variants of a task."""
    from emsam.errors import InputError
    from emsam.segment.stacks import score_stack_3d, score_stacks

    if dims not in ("2d", "3d"):
        raise InputError(f"--dims {dims}: give 2d or 3d")
    if voxel_size and dims == "2d":
        raise InputError("--voxel-size goes with --dims 3d; slices are grown by pixels")
    sides = triple("--voxel-size", voxel_size or "1,1,1", float)
    with progress(f"scoring {pred}") as report:
        if dims == "3d":
            document = score_stack_3d(truth, pred, task, grow=grow, voxel_size=sides)
        else:
            document = score_stacks(truth, pred, task, grow=grow, progress=report)
    emit(document, as_json, score_lines(f"{pred} against {truth}", document["means"]))
