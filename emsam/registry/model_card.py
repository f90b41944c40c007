"""The card of a model package: what it is, what it learned from, what it scored, where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emsam.metrics.as_text import interval, number
from emsam.params import Params
from emsam.train.evaluation import current_scores
from emsam.train.run_directory import RunDirectory

CARD = "model-card.md"
_PRIMARY = {
    "neurites": "adapted Rand error of the SNEMI3D contest, lower is better",
    "mitochondria": "TP / (TP + FP + FN) at IoU 0.5, higher is better",
}
_LIMITS = """\
- It segments single slices; objects are linked through slices afterwards.
- It was judged on the slices above and on nothing else. Other tissue, staining, microscopes and
  voxel sizes are not covered: score it on labels of yours first (`emsam evaluate`, `emsam score`).
- Where it learned from slices of the same volume, they share cells with those it was judged on,
  and scores are optimistic.
- Masks are for research. Nobody has looked at whether they are good enough for anything else."""
_TO_FILL_IN = """\
Written by people, in the description of the version in MLflow: species and region, staining and
microscope, who labelled and how they agreed, what the model may be used for and what it may not,
licence of data and weights, whom to ask."""


def model_card(run: RunDirectory, params: Params, weights_sha256: str) -> str:
    """Markdown about the checkpoint of a run that is judged.

    Sections and their order are those of Mitchell et al. [1]_, as far as a program can fill them.

    Parameters
    ----------
    params
        What the model was trained with and is judged by.
    weights_sha256
        Of the package's ``model.safetensors``.

    References
    ----------
    .. [1] Mitchell et al., Model cards for model reporting, FAT* 2019, arXiv 1810.03993.
    """
    return "\n".join(_lines(run, params, weights_sha256)) + "\n"


def _lines(run: RunDirectory, params: Params, weights_sha256: str) -> Iterator[str]:
    inputs = run.inputs()
    step = int(run.judged_checkpoint().name.removeprefix("step-"))
    yield from (f"# {params.task.capitalize()} in electron microscopy: {run.name}", "")
    yield from ("## Model", "", *_model(params, inputs, weights_sha256), "")
    yield from ("## Data", "", "| volume | version | train | validation |", "|---|---|---|---|")
    yield from (_data_row(each) for each in inputs["data"])
    yield from ("", "## Training", "", *_training(params, inputs, step), "")
    yield from ("## Scores", "", *_scores(run, params), "")
    yield from ("## Limits", "", _LIMITS, "", "## To fill in", "", _TO_FILL_IN)


def _model(params: Params, inputs: dict[str, Any], weights_sha256: str) -> list[str]:
    name = params.model.name
    encoder = "no encoder of SAM" if name == "unet" else f"SAM's encoder {params.model.encoder}"
    first = inputs.get("weights")
    began = f"{first['source']}, sha256 {first['sha256'][:12]}" if first else "random weights"
    segment = params.settled_segment
    return [
        f"- Network `{name}`, {encoder}; began with {began}",
        f"- Predicts: {', '.join(params.maps)}",
        f"- Objects: `{segment.method}`, threshold {segment.threshold:g}, foreground "
        f"{segment.foreground:g}, least size {segment.min_size} pixels, least confidence "
        f"{segment.min_confidence:g}",
        f"- Weights: sha256 {weights_sha256}; all parameters are in `params.yaml`",
    ]


def _data_row(data: dict[str, Any]) -> str:
    ranges = [
        "-".join(map(str, data.get("splits", {}).get(split, ["none"])))
        for split in ("train", "val")
    ]
    return f"| {data['name']} | {data['digest']} | {ranges[0]} | {ranges[1]} |"


def _training(params: Params, inputs: dict[str, Any], step: int) -> list[str]:
    packages, hardware = inputs["packages"], inputs["hardware"]
    devices = ", ".join(map(str, hardware.get("gpus", []))) or hardware.get("processor", "a CPU")
    return [
        f"- {step} steps of {params.train.batch_size} × {params.train.patch}² pixels, "
        f"mode `{params.train.mode}`, {params.train.precision}, seed {params.seed}",
        f"- On {devices}; torch {packages['torch']}, EM-SAM {packages['emsam']}, commit "
        f"{inputs['git']['commit'] or 'unknown'}",
    ]


def _scores(run: RunDirectory, params: Params) -> Iterator[str]:
    entries = current_scores(run)
    if not entries:
        yield "None were made of it before it was registered."
        return
    yield "Mean over slices with a 95 % interval. The first metric decides: "
    yield f"{_PRIMARY[params.task]}."
    yield from ("", "| volume | slices | metric | mean | interval |", "|---|---|---|---|---|")
    for entry in entries:
        for each in entry["means"]:
            place = f"| {entry['data']} | {entry['split']} | `{each['metric']}` "
            yield f"{place}| {number(each['mean'])} | {interval(each['low'], each['high'])} |"
