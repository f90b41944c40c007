"""Data sets: versions, splits, what a check saw, a look at slices, and who learned from them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import streamlit as st

from dashboards.elements import banner, facts, list_runs, moment, plain, published
from dashboards.plots import draw_splits
from dashboards.queries.datasets import check_report, preview, volume_folder, volume_names
from emsam.data.store import Volume, rescale
from emsam.segment.figures import overlay
from emsam.settings import Settings


def choose_volume(settings: Settings) -> Volume:
    """One of this machine's volumes."""
    names = volume_names(settings)
    if not names:
        st.info(
            "No volume yet: run `emsam data ingest NAME --image FILE …`, or `emsam data synthetic "
            "demo`."
        )
        st.stop()
    name = st.selectbox("Volume", names, key="volume", bind="query-params")
    with banner():
        return Volume(volume_folder(name, settings))


def _source(recipe: str) -> str:
    """Digests of the input, of a volume that was ingested."""
    try:
        known = json.loads(recipe)
        return ", ".join(
            f"{name} {at}" for name, at in {"image": known["image"], **known["labels"]}.items()
        )
    except (ValueError, TypeError, KeyError):
        return recipe


def show_facts(volume: Volume) -> None:
    """What it is, and its splits over z."""
    info = volume.info
    facts(
        {
            "Shape (z, y, x)": " × ".join(map(str, volume.shape)),
            "Voxel (z, y, x)": " × ".join(f"{side:g}" for side in info.voxel_size) + " nm",
            "Labels": ", ".join(volume.tasks) or "none",
            "Made from": _source(info.source),
            "Licence": info.licence or "not known",
        }
        | {key.capitalize(): value for key, value in info.provenance.items()}
    )
    st.plotly_chart(
        draw_splits(info.splits, volume.shape[0], info.missing, info.unlabelled),
        width="stretch",
        alt="splits over z",
    )
    for warning in info.warnings:
        st.warning(plain(warning))


def show_versions(name: str, settings: Settings) -> None:
    """Published versions, and the runs that were trained on each."""
    st.header("Versions")
    with banner(ends=False):
        found, why = published(name)
        if why:
            st.info(plain(why))
            return
        runs = [run for run in list_runs(settings) if run.data == name]
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "version": each.tag.rpartition("/")[2],
                        "published": each.date[:16].replace("T", " "),
                        "by": each.author,
                        "MB": round(each.size / 1e6, 1),
                        "changes": each.changes,
                        "runs": ", ".join(r.label for r in runs if r.digest == each.digest),
                        "digest": each.digest,
                    }
                    for each in found
                ]
            ),
            width="stretch",
            hide_index=True,
        )


def show_check(name: str, settings: Settings) -> None:
    """The last report of ``emsam data check``."""
    st.header("Check")
    kept = check_report(name, settings)
    if kept is None:
        st.info(f"Not checked since it was ingested: run `emsam data check {name}`.")
        return
    if kept.is_old:
        st.warning(f"The volume was written again since: run `emsam data check {name}`.")
    findings = kept.document["findings"]
    if not findings:
        st.success("Nothing was found.")
    for each in findings:
        show = st.warning if each["level"] == "warning" else st.info
        show(plain(each["message"]))
    rows = [
        {"task": task} | {key: _short(value) for key, value in each.items()}
        for task, each in kept.document["classes"].items()
    ]
    if rows:
        st.subheader("Objects")
        st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)
    slices = pd.DataFrame(kept.document["slices"]).set_index("z")
    st.subheader("Grey values over z")
    st.line_chart(slices[["mean", "contrast"]], x_label="z")


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_preview(volume: Volume) -> None:
    """A slice, with the labels of a task over it."""
    st.header("Slices")
    left, middle, right = st.columns([3, 1, 1])
    last = volume.shape[0] - 1
    z = left.slider("z", 0, max(last, 1), last // 2, key="z", bind="query-params")
    task = middle.selectbox("Labels", [*volume.tasks, "none"])
    opacity = right.slider("Opacity", 0.0, 1.0, 0.45)
    image, labels = preview(volume, min(z, last), None if task == "none" else task)
    grey = (255 * rescale(image, volume.info.intensity)).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    if labels is not None:
        picture = overlay(picture, labels, opacity)
    st.image(picture, width="stretch", alt=f"slice {z}")


def show_users(name: str, settings: Settings) -> None:
    """All runs that were trained on any version."""
    st.header("Runs trained on it")
    with banner(ends=False):
        runs = [run for run in list_runs(settings) if run.data == name]
        if not runs:
            st.info(f"None yet: `emsam train --data {name} --task TASK`.")
            return
        rows = [
            {"run": r.label, "state": r.state, "started": moment(r.started), "version": r.digest}
            for r in runs
        ]
        st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)


def show_page(settings: Settings) -> None:
    """A volume from top to bottom."""
    st.title("Data sets")
    volume = choose_volume(settings)
    name = volume.path.parent.name
    show_facts(volume)
    show_preview(volume)
    show_versions(name, settings)
    show_check(name, settings)
    show_users(name, settings)


show_page(Settings())
