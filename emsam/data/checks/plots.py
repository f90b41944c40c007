"""Curves and bars over z as inline SVG.

Elements are built as a tree, so that every text is escaped when it is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from emsam.data.splits import ZRange

WIDTH, HEIGHT = 760, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 12, 22
_COLOURS = {"train": "#0072b2", "val": "#e69f00", "test": "#009e73"}  # Okabe & Ito
_LINE, _MARK = "#333333", "#d55e00"


def add_curve(
    parent: Element, title: str, values: Sequence[float], marked: Collection[int] = ()
) -> None:
    """A curve over z with gaps where a value is not finite; ``marked`` slices get a dot."""
    svg = _canvas(parent, title, HEIGHT)
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - 0.5, high + 0.5
    points = {
        z: (_x(z + 0.5, len(values)), _y((value - low) / (high - low)))
        for z, value in enumerate(values)
        if np.isfinite(value)
    }
    for run in _runs(sorted(points)):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (points[z] for z in run))
        SubElement(svg, "polyline", points=line, fill="none", stroke=_LINE)
    for z in [*marked, *(run[0] for run in _runs(sorted(points)) if len(run) == 1)]:
        if z in points:
            x, y = points[z]
            colour = _MARK if z in marked else _LINE
            dot = SubElement(svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3", fill=colour)
            SubElement(dot, "title").text = f"slice {z}: {values[z]:.4g}"
    _text(svg, _LEFT - 6, _y(1) + 4, f"{high:.3g}", anchor="end")
    _text(svg, _LEFT - 6, _y(0) + 4, f"{low:.3g}", anchor="end")
    _z_axis(svg, len(values), HEIGHT)


def add_splits(parent: Element, splits: Mapping[str, ZRange], depth: int) -> None:
    """Splits as a bar over z."""
    height = 52
    svg = _canvas(parent, "splits over z", height)
    for name, (first, last) in splits.items():
        left, right = _x(first, depth), _x(last + 1, depth)
        SubElement(
            svg, "rect", x=f"{left:.1f}", y="8", width=f"{right - left:.1f}", height="20",
            fill=_COLOURS.get(name, _LINE),
        )  # fmt: skip
        _text(svg, (left + right) / 2, 22, name, anchor="middle", fill="white")
    _z_axis(svg, depth, height)


def add_bars(parent: Element, title: str, bars: Sequence[tuple[str, int]]) -> None:
    """A histogram: a bar with its name below for every (name, count)."""
    svg = _canvas(parent, title, HEIGHT)
    most = max((count for _, count in bars), default=0)
    for i, (name, count) in enumerate(bars):
        left, right = _x(i, len(bars)), _x(i + 1, len(bars))
        top = _y(count / most)
        SubElement(
            svg, "rect", x=f"{left + 1:.1f}", y=f"{top:.1f}", width=f"{right - left - 2:.1f}",
            height=f"{_y(0) - top:.1f}", fill="#56b4e9",
        )  # fmt: skip
        _text(svg, (left + right) / 2, HEIGHT - 6, name, anchor="middle")
    _text(svg, _LEFT - 6, _y(1) + 4, str(most), anchor="end")


def _canvas(parent: Element, title: str, height: int) -> Element:
    figure = SubElement(parent, "figure")
    SubElement(figure, "figcaption").text = title
    svg = SubElement(
        figure, "svg", viewBox=f"0 0 {WIDTH} {height}", width=str(WIDTH), height=str(height),
        role="img",
    )  # fmt: skip
    SubElement(svg, "title").text = title
    return svg


def _z_axis(svg: Element, depth: int, height: int) -> None:
    _text(svg, _x(0, depth), height - 6, "z 0", anchor="start")
    _text(svg, _x(depth, depth), height - 6, str(depth - 1), anchor="end")


def _text(
    svg: Element, x: float, y: float, text: str, *, anchor: str, fill: str = "#555555"
) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "fill": fill}
    SubElement(svg, "text", place | {"font-size": "11"}).text = text


def _x(z: float, depth: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * z / depth


def _y(part: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * part


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """``[1, 2, 5]`` → ``[[1, 2], [5]]``."""
    grouped = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    return [[number for _, number in group] for _, group in grouped]
