"""A decision for people: one HTML page without scripts or anything from elsewhere, and pictures.

The page is a tree of elements, written by :mod:`xml.etree`, which escapes every name.
"""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from PIL import Image

from emsam.documents import whole_folder
from emsam.metrics.as_text import interval, number
from emsam.registry.decision import Decision
from emsam.segment.kept_predictions import errors_file

_DASH = "–"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em;
       color: #222; }
h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; } td, th { padding: 2px 14px 2px 0; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 18px 0; } figcaption { font-size: 13px; color: #555; }
img { max-width: 100%; }
.verdict { font-size: 20px; padding-left: 10px; border-left: 6px solid #999; }
.promote { border-color: #009e73; } .reject { border-color: #d55e00; }
code { font-size: 13px; overflow-wrap: anywhere; }
"""

CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True)
class Picture:
    """A slice on which the two models differ.

    Attributes
    ----------
    name
        Of the file.
    pixels
        (y, x, 3) uint8.
    """

    name: str
    caption: str
    pixels: np.ndarray


def predictions_name(volume: int, who: str) -> str:
    """Folder of the ids that ``who`` predicted on the judged volume at this place."""
    return f"predictions/volume{volume + 1}-{who}.zarr"


def write_decision(
    decision: Decision,
    rows: str,
    pictures: Sequence[Picture],
    root: Path,
    predictions: Mapping[str, Path] | None = None,
) -> Path:
    """Write ``decision.json``, ``scores.json``, ``index.html``, pictures and masks below ``root``.

    The folder has the first 12 digits of the decision's sha256 as its name. The same decision
    again keeps it. The sha256 covers the document alone: masks are for looking at.

    Parameters
    ----------
    rows
        JSON of every score of both models.
    predictions
        Stores by :func:`predictions_name`; they are moved, each with its list of errors.

    Returns
    -------
    Path
        The folder.
    """
    folder = root / decision.sha256[:12]
    if (folder / "decision.json").exists():
        same = (folder / "decision.json").read_text() == decision.to_json() + "\n"
        if same and all((folder / name).exists() for name in predictions or ()):
            return folder
        shutil.rmtree(folder)  # somebody changed it, or it is from before masks were kept
    root.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as part:
        files = [(each, _png(each.pixels)) for each in pictures]
        for each, png in files:
            (part / each.name).write_bytes(png)
        for name, store in (predictions or {}).items():
            (part / name).parent.mkdir(exist_ok=True)
            shutil.move(store, part / name)
            shutil.move(errors_file(store), errors_file(part / name))
        (part / "scores.json").write_text(rows + "\n")
        (part / "index.html").write_text(html_page(decision, files))
        (part / "decision.json").write_text(decision.to_json() + "\n")
    return folder


def html_page(decision: Decision, pictures: Sequence[tuple[Picture, bytes]]) -> str:
    """The whole page; pictures are written into it."""
    title = f"{decision.verdict}: {decision.candidate}"
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "title").text = title
    SubElement(head, "style").text = _STYLE
    body = SubElement(html, "body")
    SubElement(body, "h1").text = f"{decision.candidate} against {decision.champion or 'nobody'}"
    SubElement(
        body, "p", {"class": f"verdict {decision.verdict}"}
    ).text = f"{decision.verdict}: {decision.reason}"
    for note in decision.notes:
        SubElement(body, "p").text = f"Note: {note}."
    _add_metrics(body, decision)
    _add_volumes(body, decision)
    _add_pictures(body, decision, pictures)
    _add_facts(body, decision)
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html")


def _add_metrics(body: Element, decision: Decision) -> None:
    SubElement(body, "h2").text = "Scores"
    confidence = f"{(decision.gate or {}).get('confidence', 0):.0%}"
    head = [
        "metric",
        "candidate",
        "champion",
        "better by",
        f"{confidence} interval",
        "may be worse by",
    ]
    margins = (decision.gate or {}).get("margins", {})
    rows = [
        [each["metric"], number(each["candidate"], _DASH), number(each["champion"], _DASH),
         number(each["improvement"], _DASH), interval(each["low"], each["high"], _DASH),
         "decides" if each["metric"] == decision.metric else f"{margins.get(each['metric'], 0):g}"]
        for each in decision.metrics
    ]  # fmt: skip
    _add_table(body, head, rows)


def _add_volumes(body: Element, decision: Decision) -> None:
    SubElement(body, "h2").text = f"{decision.metric} by volume"
    rows = [
        [each["data"], each["split"], str(len(each["slices"])), number(each["improvement"], _DASH),
         each["digest"]]
        for each in decision.judged
    ]  # fmt: skip
    _add_table(body, ["volume", "split", "slices", "better by", "data set version"], rows)


def _add_pictures(
    body: Element, decision: Decision, pictures: Sequence[tuple[Picture, bytes]]
) -> None:
    if not pictures:
        return
    both = decision.champion is not None
    SubElement(body, "h2").text = "Where they differ most" if both else "What it predicts"
    order = "image, truth, champion, candidate" if both else "image, truth, candidate"
    SubElement(body, "p").text = (
        f"From left to right: {order}. An object has the colour of the true object that it "
        "covers most."
    )
    for each, png in pictures:
        figure = SubElement(body, "figure")
        address = "data:image/png;base64," + base64.b64encode(png).decode()
        SubElement(figure, "img", src=address, alt=each.caption)
        SubElement(figure, "figcaption").text = each.caption


def _add_facts(body: Element, decision: Decision) -> None:
    SubElement(body, "h2").text = "What it rests on"
    looks = "-" if decision.looks is None else str(decision.looks)
    gate = {k: v for k, v in (decision.gate or {}).items() if k != "margins"}
    facts: list[tuple[str, Any]] = [
        ("sha256 of this decision", decision.sha256),
        ("models that were scored on these slices", looks),
        *((f"package of the {who}", f"{sha}") for who, sha in (decision.packages or {}).items()),
        *((f"gate.{name}", value) for name, value in gate.items()),
        *(decision.evaluator or {}).items(),
    ]
    table = SubElement(body, "table")
    for name, value in facts:
        row = SubElement(table, "tr")
        SubElement(row, "th", scope="row").text = name
        SubElement(SubElement(row, "td"), "code").text = str(value)


def _add_table(body: Element, head: list[str], rows: list[list[str]]) -> None:
    table = SubElement(body, "table")
    line = SubElement(table, "tr")
    for name in head:
        SubElement(line, "th", scope="col").text = name
    for cells in rows:
        line = SubElement(table, "tr")
        for index, cell in enumerate(cells):
            SubElement(line, "td", {"class": "number"} if 0 < index < 5 else {}).text = cell


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()
