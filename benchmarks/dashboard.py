"""How fast a new slice of a large volume is seen in the review app, and what the app takes for it.

    python benchmarks/dashboard.py --slices 24

A volume of 4096² slices with ground truth and the masks of two models, the app, and Chromium
without a window. Rows: seconds from a key press until all five panels are drawn with a slice that
nobody has looked at (median and the worst), the same near by at full resolution, and the memory of
the app after 200 slices. The peer of the times is the half second that people do not wait for, that
of memory 1 GB. Then the page that compares runs, with hundreds of them. ``--only`` leaves one out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _table import Row, options, ratio, show

sys.path.insert(0, str(Path(__file__).parents[1]))

from _dashboard_compare import measure_compare, seed_runs

from emsam.data.halving import image_levels
from emsam.data.predictions import PredictionWriter
from emsam.data.store import Volume, VolumeInfo
from emsam.data.synthetic import synthesize_volume
from emsam.data.writer import VolumeWriter
from emsam.segment.kept_predictions import errors_file
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory
from tests.dashboards.browser import CHROMIUM, running_app, running_browser, watched_page
from tests.dashboards.review_lab import describe_run

SIDE, TILE = 4096, 1024
"""Sides of a slice, and of the tissue that is drawn; the rest are copies with ids of their own."""
LONGEST, MEMORY = 0.5, 1000.0
LOOKS = 200
_FIND = """() => {
    const find = root => root.querySelector('.viewer') ?? [...root.querySelectorAll('*')]
        .filter(e => e.shadowRoot).map(e => find(e.shadowRoot)).find(Boolean);
    return find(document)?.dataset ?? {};
}"""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--slices", type=int, default=24, help="slices of the volume")
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one")
    parser.add_argument("--lab", type=Path, help="folder that keeps volumes and runs for later")
    parser.add_argument("--make", action="store_true", help="make --lab and measure nothing")
    parser.add_argument("--repeats", type=int, default=3, help="of the page that compares runs")
    parser.add_argument("--only", choices=("review", "compare"), help="one of the pages")
    arguments = parser.parse_args()
    if not CHROMIUM.exists():
        parser.error(f"no {CHROMIUM}; apt-get install -y chromium")
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        for page, make, look_at in (
            ("review", make_lab, measure),
            ("compare", lambda settings, _: seed_runs(settings), measure_compare),
        ):
            if arguments.only in (None, page):
                settings = lab_of((arguments.lab or Path(temporary)).absolute() / page)
                if not (settings.home / "made").exists():
                    make(settings, arguments.slices)
                    (settings.home / "made").touch()
                if not arguments.make:
                    rows += look_at(settings, arguments)
    show(rows, arguments.json, line)


def lab_of(folder: Path) -> Settings:
    """Settings of a lab in ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return Settings(
        home=folder / "home", data_root=folder / "data", runs_root=folder / "runs", mlflow_uri=""
    )


def line(row: Row) -> str:
    return (
        f"{row['name']:80} ours {row['ours']:8.2f}  peer {row['peer']:8.1f} {row['unit']}  "
        f"{row['ratio']:.2f}"
    )


def measure(settings: Settings, arguments: argparse.Namespace) -> list[Row]:
    log = settings.home.with_name("log")
    with running_app(settings, log) as address, running_browser() as browser:
        with watched_page(browser, address) as page:
            whole, near = look(page, address, arguments.slices)
        memory = app_memory(settings)
    rows = [
        ("whole slice in view, median", statistics.median(whole), LONGEST, "s"),
        ("whole slice in view, slowest", max(whole), LONGEST, "s"),
        ("at full resolution, median", statistics.median(near), LONGEST, "s"),
        ("at full resolution, slowest", max(near), LONGEST, "s"),
        (f"memory of the app after {LOOKS} slices", memory, MEMORY, "MB"),
    ]
    return [
        {"name": f"review 4096², new slice: {name}", "ours": a, "peer": b, "ratio": ratio(a, b),
         "unit": unit}
        for name, a, b, unit in rows
    ]  # fmt: skip


def look(page: Any, address: str, slices: int) -> tuple[list[float], list[float]]:
    """Seconds for each new slice: with the whole slice in view, and near by."""
    page.goto(address)
    page.get_by_role("link", name="Review masks").click()
    wait(page)
    whole = [turn(page, "ArrowUp") for _ in range(slices // 2 - 1)]
    for _ in range(8):
        page.keyboard.press("+")
    wait(page)
    near = [turn(page, "ArrowUp") for _ in range(slices - slices // 2 - 1)]
    for at in range(LOOKS - len(whole) - len(near)):
        turn(page, "ArrowDown" if at // (slices // 2) % 2 == 0 else "ArrowUp")
    return whole, near


def turn(page: Any, key: str) -> float:
    """Press a key; seconds until the slice is drawn, as the viewer took them."""
    before = page.evaluate(_FIND)["z"]
    page.wait_for_timeout(30)
    page.keyboard.press(key)
    state = wait(page, before)
    return float(state["seconds"])


def wait(page: Any, other_than: str = "") -> dict[str, str]:
    """The state of the viewer once all is drawn."""
    page.wait_for_function(
        f"z => {{ const seen = ({_FIND})(); return seen.state === 'ready' && seen.z !== z }}",
        arg=other_than,
    )
    return dict(page.evaluate(_FIND))


def app_memory(settings: Settings) -> float:
    """Resident MB of the Streamlit process that has these settings."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "streamlit" in command and process.environ().get("EMSAM_HOME") == str(settings.home):
            return process.memory_info().rss / 1e6
    raise SystemExit("the app is gone")


def make_lab(settings: Settings, slices: int) -> None:
    """Volume ``large``, of which every slice is judged, and two runs with masks."""
    drawn = settings.home.with_name("seed") / "volume.zarr"
    seed = synthesize_volume("seed", drawn, shape=(8, TILE, TILE))
    path = settings.volume_path("large")
    path.parent.mkdir(parents=True)
    info = VolumeInfo("large", (30.0, 6.0, 6.0), splits={"test": (0, slices - 1)})
    with VolumeWriter(
        path, (slices, SIDE, SIDE), np.dtype(np.uint8), {"neurites": np.dtype(np.uint32)}
    ) as writer:
        for image, truth in planes(seed, slices):
            writer.append(image_levels(image), {"neurites": truth})
        writer.finish(info)
    volume = Volume(path)
    for number, name in enumerate(("first", "second")):
        run = RunDirectory(settings.runs_root / name)
        store = run.predictions_of("large", "test")
        store.parent.mkdir(parents=True)
        masks = PredictionWriter(store, (SIDE, SIDE), range(slices), info.voxel_size, {})
        for z, (_, truth) in enumerate(planes(seed, slices)):
            masks.append(z, np.where(truth % 50 == number, truth + 1, truth))
        masks.finish()
        errors = [
            {"z": z, "kind": "merge", "y": 17 * k, "x": 13 * k, "area": 900, "severity": 1e-4,
             "truth": [50 * k + number + 1, 50 * k + number], "pred": [50 * k + number + 1]}
            for z in range(slices) for k in range(1, 100)
        ]  # fmt: skip
        errors_file(store).write_text(json.dumps({"errors": errors}))
        describe_run(run, name, volume, "test", [], settings)


def planes(seed: Volume, slices: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Grey values and ids of each slice: one tissue, shifted and with other ids in each tile."""
    count = SIDE // TILE
    offsets = np.kron(
        np.arange(count * count, dtype=np.uint32).reshape(count, count) * 5000,
        np.ones((TILE, TILE), np.uint32),
    )
    for z in range(slices):
        shift = (37 * z % TILE, 91 * z % TILE)
        image = np.roll(seed.grey(z % 8), shift, (0, 1))
        ids = np.roll(seed.labels("neurites", z % 8), shift, (0, 1)).astype(np.uint32)
        tiled = np.tile(ids, (count, count))
        yield np.tile(image, (count, count)), np.where(tiled > 0, tiled + offsets, 0)


if __name__ == "__main__":
    main()
