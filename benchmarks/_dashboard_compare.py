"""The page that compares runs, with many of them, in a real browser."""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

from _table import Row, ratio
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from dashboards.kept import FRESH
from emsam.params import Params, flatten
from emsam.registry.client import experiment_id, open_client
from emsam.registry.tracking import SCORED, SECONDS
from emsam.settings import Settings
from tests.dashboards.browser import open_menu, running_app, running_browser, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RUNS, POINTS = 300, 2000
OPEN_LIMIT, CHANGE_LIMIT = 3.0, 1.0
"""Seconds until the page can be used, and until a changed selection is drawn."""
_DIGEST = "0123456789abcdef0123456789abcdef.dir"
_VARIANTS = ("arand_contest_2d", "voi_split_2d", "voi_merge_2d")


def measure_compare(settings: Settings, arguments: argparse.Namespace) -> list[Row]:
    """Opening the page, and plotting over minutes in place of steps and back."""
    log = settings.home.with_name("log")
    changed: list[float] = []
    with running_app(settings, log) as address, running_browser() as browser:
        first = _open(browser, address, changed)
        again = [_open(browser, address, changed) for _ in range(arguments.repeats)]
        time.sleep(FRESH + 1)
        old = _open(browser, address, changed)
    what = f"{RUNS} runs of {POINTS} points"
    opened = {
        "the first page of the app": first,
        f"nobody has looked for {FRESH:.0f} s": old,
        "again, median": tuple(map(statistics.median, zip(*again, strict=True))),
    }
    return [
        _row(f"compare page, {what}: {case}{state}", seconds, OPEN_LIMIT)
        for case, times in opened.items()
        for state, seconds in zip(("", ", curves drawn"), times, strict=True)
    ] + [
        _row(f"changed selection, {what}: median", statistics.median(changed), CHANGE_LIMIT),
        _row(f"changed selection, {what}: slowest", max(changed), CHANGE_LIMIT),
    ]


def _open(browser: Browser, address: str, changed: list[float]) -> tuple[float, ...]:
    """Seconds until all that a new session can use is there, and until the curves are, too.

    Then choices are changed in it.
    """
    with watched_page(browser, address) as page:
        began = time.perf_counter()
        page.goto(f"{address}/compare")
        page.get_by_text("Parameters that differ").wait_for()
        usable = time.perf_counter() - began
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
        drawn = time.perf_counter() - began
        page.wait_for_timeout(2000)  # a page that still draws closes an open menu
        for axis, title in (("minutes", "minutes of training"), ("step", "step")):
            open_menu(page, "Over")
            option = page.get_by_role("option", name=axis, exact=True)
            option.wait_for()
            began = time.perf_counter()
            option.click()
            page.locator(".xtitle", has_text=title).first.wait_for()
            changed.append(time.perf_counter() - began)
    return usable, drawn


def _row(name: str, seconds: float, limit: float) -> Row:
    return {"name": name, "ours": seconds, "peer": limit, "ratio": ratio(seconds, limit),
            "unit": "s"}  # fmt: skip


def seed_runs(settings: Settings) -> None:
    """Runs as :mod:`emsam.registry.tracking` mirrors them, with made-up numbers."""
    client, chance = open_client(settings), random.Random(0)
    experiment = experiment_id(client, settings)
    params, rows = flatten(Params().training_part()), []
    for number in range(RUNS):
        tags = {
            "emsam.key": f"key {number}", "emsam.task": "neurites",
            "emsam.model": chance.choice(["unet", "emsam"]), "emsam.data": "tissue",
            "emsam.data_digest": _DIGEST, "emsam.state": "done", SECONDS: str(60 + number),
            f"{SCORED}tissue.test": _DIGEST,
        }  # fmt: skip
        run = client.create_run(experiment, tags=tags, run_name=f"run {number}").info
        own = params | {"seed": number}
        client.log_batch(run.run_id, params=[Param(k, json.dumps(v)) for k, v in own.items()])
        _log(client, run.run_id, run.start_time, chance)
        rows += [
            (run.run_id, "train/loss", 1 / step + 0.1 * chance.random(), step, 0,
             run.start_time + 100 * step)
            for step in range(1, POINTS)
        ]  # fmt: skip
    # through MLflow's client the same rows take minutes
    with closing(sqlite3.connect(settings.tracking_uri.removeprefix("sqlite:///"))) as database:
        database.executemany(
            "INSERT INTO metrics (run_uuid, key, value, step, is_nan, timestamp) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.commit()


def _log(client: MlflowClient, run_id: str, began: int, chance: random.Random) -> None:
    """Newest values, as MLflow keeps them beside the histories."""
    means = [Metric("train/loss", 1 / POINTS, began + 100 * POINTS, POINTS)]
    for variant in _VARIANTS:
        mean = 0.1 * chance.random()
        for suffix, value in (("", mean), ("_low", mean - 0.01), ("_high", mean + 0.01)):
            means.append(Metric(f"tissue/test/{variant}{suffix}", value, began, POINTS))
    client.log_batch(run_id, metrics=means, tags=[RunTag("emsam.described", "true")])
