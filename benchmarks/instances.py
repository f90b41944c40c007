"""Ways from a network's maps to instances, on the validation slices of runs.

Maps are predicted once. Each method is tuned on one half of the slices and scored on the other,
both ways round, and timed on every slice::

    python benchmarks/instances.py runs/ca1 runs/isbi --trials 12 --every 2

Without a run it takes those of ``benchmarks/quality.py``. A run says where its volume is; one that
moved is looked for below ``EMSAM_DATA_ROOT``. Ours is the default method; a peer is
another of ours, or one from mwatershed, waterz or scikit-image where they are installed. Rows hold
the primary metric of the run's task, with both methods tuned alike and with default settings, then
seconds of CPU time per slice of 1024×768 pixels.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _table import Row, options, ratio, show
from scipy.ndimage import distance_transform_edt, label, mean
from skimage.segmentation import watershed

from emsam.data.store import Volume
from emsam.metrics.score_slice import score_slice
from emsam.metrics.variants import LOWER_IS_BETTER, PRIMARY
from emsam.model.package import load_network
from emsam.params import Params, SegmentParams
from emsam.segment.distance import split_at_necks
from emsam.segment.fragments import drop_small, interior_map, make_fragments
from emsam.segment.instances import make_instances
from emsam.segment.predict import predict_maps
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

RANGES: dict[str, tuple[float, float]] = {
    "threshold": (0.4, 0.97), "merge": (0.1, 0.8), "mutex_bias": (-0.3, 0.3),
    "seed_depth": (0.5, 8.0), "foreground": (0.3, 0.8), "min_confidence": (0.4, 0.95),
}  # fmt: skip
SLICE = 1024 * 768
"""Pixels of the slice for which the time is told."""

DEFAULT = SegmentParams().method
QUALITY = Path(__file__).parents[1] / ".emsam" / "benchmarks" / "quality" / "runs"

Method = Callable[[np.ndarray, Params], np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A method, and the keys of ``segment`` that are tuned for it."""

    make: Method
    keys: tuple[str, ...]


def ours(name: str) -> Method:
    """A method of EM-SAM as ``segment.method`` names it."""

    def make(maps: np.ndarray, params: Params) -> np.ndarray:
        return make_instances(maps, with_segment(params, {"method": name}))[0]

    return make


def without_unsure(make: Method) -> Method:
    """A peer's method that drops objects of less confidence than ``min_confidence``, as ours do."""

    def kept(maps: np.ndarray, params: Params) -> np.ndarray:
        ids = make(maps, params)
        numbers = np.unique(ids[ids > 0])
        sure = mean(interior_map(maps), ids, numbers) >= params.min_confidence
        return np.where(np.isin(ids, numbers[sure]), ids, 0)

    return kept


@without_unsure
def seeds_scikit_image(maps: np.ndarray, params: Params) -> np.ndarray:
    """``seeds`` with scikit-image's watershed."""
    segment, interior = params.segment, interior_map(maps)
    seeds = drop_small(label(interior > params.threshold)[0], segment.min_size)
    ids = watershed(-interior, seeds, mask=(maps[0] > params.foreground) | (seeds > 0))
    return np.asarray(ids)


@without_unsure
def mutex_mwatershed(maps: np.ndarray, params: Params) -> np.ndarray:
    """``mutex`` with mwatershed."""
    import mwatershed

    segment, offsets = params.segment, params.targets.offsets
    weights = maps[1:].astype(np.float64) - 0.5
    weights[:2] += segment.mutex_bias
    strides = [[1, 1]] * 2 + [[segment.mutex_stride] * 2] * (len(offsets) - 2)
    ids = mwatershed.agglom(weights, [list(offset) for offset in offsets], strides=strides)
    ids = np.where(maps[0] > params.foreground, ids, 0).astype(np.int64)
    return drop_small(np.unique(ids, return_inverse=True)[1].reshape(ids.shape), segment.min_size)


@without_unsure
def agglomerate_waterz(maps: np.ndarray, params: Params) -> np.ndarray:
    """``agglomerate`` with waterz, which takes neighbour affinities alone."""
    import waterz

    segment = params.segment
    fragments = make_fragments(
        interior_map(maps), maps[1:3], params.threshold, segment.min_size
    ).astype(np.uint64)
    affinities = np.zeros((3, 1, *fragments.shape), np.float32)  # to the pixel before, z, y, x
    affinities[1, 0, 1:], affinities[2, 0, :, 1:] = maps[2, :-1], maps[1, :, :-1]
    with no_output():
        (ids,) = waterz.agglomerate(affinities, [1 - segment.merge], fragments=fragments[None])
        ids = np.where(maps[0] > params.foreground, ids[0], 0).astype(np.int64)
    return drop_small(ids, segment.min_size)


@without_unsure
def distance_of_foreground(maps: np.ndarray, params: Params) -> np.ndarray:
    """``distance`` on the distance within the foreground, for a network that predicts none."""
    mask = maps[0] > params.foreground
    ids = split_at_necks(distance_transform_edt(mask), mask, params.segment.seed_depth)
    return drop_small(ids, params.segment.min_size)


def candidates(params: Params) -> dict[str, Candidate]:
    """By name; libraries that are not installed are left out."""
    found = {
        "agglomerate": Candidate(ours("agglomerate"), ("threshold", "merge")),
        "seeds": Candidate(ours("seeds"), ("threshold",)),
        "seeds (scikit-image)": Candidate(seeds_scikit_image, ("threshold",)),
        "multicut": Candidate(ours("multicut"), ("threshold", "merge")),
        "mutex": Candidate(ours("mutex"), ("mutex_bias",)),
    }
    if find_spec("mwatershed"):
        found["mutex (mwatershed)"] = Candidate(mutex_mwatershed, ("mutex_bias",))
    if find_spec("waterz"):
        found["agglomerate (waterz)"] = Candidate(agglomerate_waterz, ("threshold", "merge"))
    if params.task == "mitochondria":
        found["distance of foreground"] = Candidate(distance_of_foreground, ("seed_depth",))
        if "distance" in params.channels:
            found["distance"] = Candidate(ours("distance"), ("seed_depth",))
        found = {
            name: Candidate(each.make, (*each.keys, "foreground", "min_confidence"))
            for name, each in found.items()
        }
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="run directories")
    parser.add_argument("--trials", type=int, default=12, help="settings tried for each half")
    parser.add_argument("--every", type=int, default=1, help="take every n-th validation slice")
    parser.add_argument("--method", action="append", help="repeatable; all")
    parser.add_argument("--seed-depth", type=float, default=SegmentParams().seed_depth)
    arguments = parser.parse_args()
    runs = arguments.runs or sorted(QUALITY.glob("*"))
    if not runs:
        print(f"{QUALITY}: no run here; name runs, or run quality.py first", file=sys.stderr)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = [row for run in runs for row in compare(RunDirectory(run), arguments)]
    show(rows, arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']:60} ours {row['ours']:.4f}  peer {row['peer']:.4f}  "
        f"{row['ratio']:.3f} {row['unit']}"
    )


def compare(run: RunDirectory, arguments: argparse.Namespace) -> list[Row]:
    """Rows of quality, tuned and with default settings, and of time."""
    params = run.require().model_params()
    data = run.inputs()["data"][0]["name"]
    slices = read_slices(run, params, arguments.every)
    chosen = {
        name: each
        for name, each in candidates(params).items()
        if not arguments.method or name in {*arguments.method, DEFAULT}
    }
    defaults = {"min_size": params.segment.min_size, "seed_depth": arguments.seed_depth}
    default = with_segment(params, SegmentParams().model_dump() | defaults)
    results = {}
    for name, each in chosen.items():
        results[name] = measure(each, slices, default, arguments.trials)
        print(data, params.task, name, results[name], file=sys.stderr, flush=True)
    best = results[DEFAULT]
    metric = PRIMARY[params.task]
    return [
        {
            "name": f"{data} {params.task} {kind}: {DEFAULT}, {name}",
            "ours": best[kind],
            "peer": result[kind],
            "ratio": ratio(best[kind], result[kind]),
            "unit": unit,
        }
        for kind, unit in (("tuned", metric), ("default", metric), ("seconds", "s"))
        for name, result in results.items()
        if name != DEFAULT
    ]


def read_slices(
    run: RunDirectory, params: Params, every: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps (c, y, x) float16 and true ids of validation slices, in order of z."""
    data = run.inputs()["data"][0]
    path = Path(data["path"])
    volume = Volume(path if path.exists() else Settings().volume_path(data["name"]))
    checkpoint = run.require_checkpoint()
    network, _ = load_network(checkpoint / "model.safetensors", checkpoint / "params.yaml")
    return [
        (
            predict_maps(network, volume.image(z), params).astype(np.float16),
            volume.labels(params.task, z),
        )
        for z in volume.slices("val", params.task)[::every]
    ]


def measure(
    each: Candidate, slices: list[tuple[np.ndarray, np.ndarray]], default: Params, trials: int
) -> dict[str, float]:
    """``tuned``: mean metric of slices whose other half was tuned on; ``default``; ``seconds``.

    Default are all settings but the smallest object, which is the run's, and ``--seed-depth``.
    """
    started = time.process_time()
    for maps, _ in slices:
        each.make(maps.astype(np.float32), default)
    seconds = (time.process_time() - started) * SLICE / sum(maps[0].size for maps, _ in slices)
    middle = len(slices) // 2
    halves = slices[:middle], slices[middle:]
    tuned: list[float] = []
    for learn, judge in (halves, halves[::-1]):
        tuned += scores(each, judge, tune(each, learn, default, trials))
    return {
        "tuned": float(np.nanmean(tuned)),
        "default": float(np.nanmean(scores(each, slices, default))),
        "seconds": seconds,
    }


def tune(
    each: Candidate, slices: list[tuple[np.ndarray, np.ndarray]], start: Params, trials: int
) -> Params:
    """The best of some settings; the first are the defaults."""
    lower = PRIMARY[start.task] in LOWER_IS_BETTER
    study = optuna.create_study(
        direction="minimize" if lower else "maximize", sampler=optuna.samplers.TPESampler(seed=0)
    )
    study.enqueue_trial({key: getattr(start.settled_segment, key) for key in each.keys})

    def objective(trial: optuna.Trial) -> float:
        values = {key: trial.suggest_float(key, *RANGES[key]) for key in each.keys}
        return float(np.nanmean(scores(each, slices, with_segment(start, values))))

    study.optimize(objective, n_trials=trials)
    return with_segment(start, study.best_params)


def scores(
    each: Candidate, slices: list[tuple[np.ndarray, np.ndarray]], params: Params
) -> list[float]:
    """Primary metric of each slice."""
    return [
        score_slice(truth, each.make(maps.astype(np.float32), params), params.task)[
            PRIMARY[params.task]
        ]
        for maps, truth in slices
    ]


def with_segment(params: Params, values: dict[str, Any]) -> Params:
    """``params`` with other post-processing."""
    segment = SegmentParams.model_validate(params.segment.model_dump() | values)
    return params.model_copy(update={"segment": segment})


@contextmanager
def no_output() -> Iterator[None]:
    """Silence what a library's C++ prints."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    main()
