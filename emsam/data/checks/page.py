"""The report of a check as one HTML page: no script, nothing from elsewhere.

The page is built as a tree of elements and written by :mod:`xml.etree`, which escapes every name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from emsam.data.checks.finding import Finding
from emsam.data.checks.plots import add_bars, add_curve, add_splits
from emsam.data.checks.report import report
from emsam.data.checks.thumbnails import object_picture, slice_picture
from emsam.data.checks.volume import Examination

MOST_PICTURES = 6
"""Slices, pairs or objects that are shown of a finding."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2em auto; padding: 0 1em;
       color: #222; }
h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; } td, th { padding: 2px 14px 2px 0; text-align: left; }
figure { display: inline-block; margin: 0 12px 12px 0; }
figcaption { font-size: 13px; color: #555; }
img { image-rendering: auto; max-width: 256px; }
.warning { border-left: 5px solid #d55e00; padding-left: 10px; }
.note { border-left: 5px solid #999; padding-left: 10px; }
.pair { display: inline-block; border: 1px solid #ddd; padding: 4px; margin: 0 8px 8px 0; }
"""


def html_page(examination: Examination) -> str:
    """The whole page."""
    document = report(examination)
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "title").text = f"Check of {document['name']}"
    SubElement(head, "style").text = _STYLE
    body = SubElement(html, "body")
    SubElement(body, "h1").text = f"Check of {document['name']}"
    _add_facts(body, document)
    _add_findings(body, examination)
    _add_curves(body, examination, document)
    for task, statistics in document["classes"].items():
        _add_class(body, task, statistics)
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html")


def _add_facts(body: Element, document: dict[str, Any]) -> None:
    _add_table(body, [
        ("store", document["path"]),
        ("shape (z, y, x)", " × ".join(map(str, document["shape"]))),
        ("voxel (z, y, x)", " × ".join(f"{side:g}" for side in document["voxel_size"]) + " nm"),
        ("labels", ", ".join(document["tasks"]) or "none"),
        ("licence", document["licence"] or "not said"),
        ("searched for copies", ", ".join(document["compared"]) or "no other volume"),
    ])  # fmt: skip


def _add_findings(body: Element, examination: Examination) -> None:
    SubElement(body, "h2").text = "Findings"
    if not examination.findings:
        SubElement(body, "p").text = "Nothing was found."
    for finding in examination.findings:
        block = SubElement(body, "div", {"class": finding.level})
        SubElement(block, "h3").text = f"{finding.level}: {finding.kind}"
        SubElement(block, "p").text = finding.message
        for group in _pictures(finding, examination):
            box = SubElement(block, "div", {"class": "pair"})
            for caption, address in group:
                figure = SubElement(box, "figure")
                SubElement(figure, "img", src=address, alt=caption)
                SubElement(figure, "figcaption").text = caption


def _pictures(finding: Finding, examination: Examination) -> Iterator[list[tuple[str, str]]]:
    """Groups of (caption, address) that belong side by side."""
    volume = examination.volume
    if finding.pairs:
        for pair in finding.pairs[:MOST_PICTURES]:
            other = examination.others[pair.volume] if pair.volume else volume
            name = f"{pair.volume} {pair.second}" if pair.volume else f"slice {pair.second}"
            yield [
                (f"slice {pair.first}", slice_picture(volume, pair.first)),
                (f"{name}, correlation {pair.correlation:.5f}", slice_picture(other, pair.second)),
            ]
    elif finding.ids:
        for z, number in finding.ids[:MOST_PICTURES]:
            yield [(f"slice {z}, id {number}", object_picture(volume, finding.task, z, number))]
    else:
        for z in finding.slices[:MOST_PICTURES]:
            yield [(f"slice {z}", slice_picture(volume, z))]


def _add_curves(body: Element, examination: Examination, document: dict[str, Any]) -> None:
    SubElement(body, "h2").text = "Over z"
    add_splits(body, document["splits"], document["shape"][0])
    for key, title, kind in (
        ("mean", "mean grey value", "intensity"),
        ("contrast", "contrast (standard deviation of the grey values)", "intensity"),
        ("neighbour", "correlation with the slice before", "jumps"),
    ):
        marked = {z for each in examination.findings if each.kind == kind for z in each.slices}
        add_curve(body, title, [each[key] for each in document["slices"]], sorted(marked))


def _add_class(body: Element, task: str, statistics: dict[str, Any]) -> None:
    SubElement(body, "h2").text = f"Labels: {task}"
    quartiles = ", ".join(f"{value:g}" for value in statistics["area_quartiles"])
    _add_table(body, [
        ("objects, summed over slices", str(statistics["objects"])),
        ("labelled part", f"{statistics['labelled']:.1%}"),
        ("size in a slice: smallest, quartiles, largest", f"{quartiles} px"),
        ("ids", "one through the slices (3D)" if statistics["ids_through_slices"]
         else "numbered in each slice (2D)"),
    ])  # fmt: skip
    add_curve(body, f"{task}: objects per slice", statistics["objects_per_slice"])
    add_curve(body, f"{task}: labelled part of the slice", statistics["labelled_per_slice"])
    bars = [(f"≥ {bar['from']}", bar["objects"]) for bar in statistics["area_histogram"]]
    add_bars(body, f"{task}: objects by size in a slice, px", bars)


def _add_table(body: Element, rows: list[tuple[str, str]]) -> None:
    table = SubElement(body, "table")
    for name, value in rows:
        row = SubElement(table, "tr")
        SubElement(row, "th", scope="row").text = name
        SubElement(row, "td").text = value
