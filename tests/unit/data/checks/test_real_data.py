"""What is found in real EM data: what its README says, and nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import tifffile

from emsam.data.checks import Checker, Finding
from emsam.data.halving import image_levels
from emsam.data.splits import ZRange

NEURITES = {"neurites": "labels.tif"}
MITOCHONDRIA = {"mitochondria": "mito.tif"}


def findings(folder: Path, labels: dict[str, str], **splits: ZRange) -> dict[str, Finding]:
    """By kind, all warnings about a set."""
    image = tifffile.imread(folder / "image.tif")
    ids = {task: tifffile.imread(folder / name) for task, name in labels.items()}
    checker = Checker(
        str(folder / "image.tif"), {task: str(folder / labels[task]) for task in labels}
    )
    for z, plane in enumerate(image):
        coarse = image_levels(plane)[-1]
        checker.look(plane, coarse, {task: stack[z] for task, stack in ids.items()})
    return {each.kind: each for each in checker.findings(splits) if each.level == "warning"}


def test_two_sections_of_ca1_were_annotated_twice_and_some_are_missing(shared_data: Path) -> None:
    folder = shared_data / "epfl6_hippocampus"
    found = findings(folder, NEURITES | MITOCHONDRIA, train=(0, 45), val=(46, 62))
    assert set(found) == {"duplicates", "jumps"}
    names = (folder / "names.txt").read_text().split()
    twins = {(pair.first, pair.second) for pair in found["duplicates"].pairs}
    assert {(names[a], names[b]) for a, b in twins} == {
        ("training0055", "training0055x"), ("training0056", "training0056x")
    }  # fmt: skip
    assert not any(pair.identical for pair in found["duplicates"].pairs)
    numbers = [int(name.removeprefix("training").removesuffix("x")) for name in names]
    gaps = [z for z, (a, b) in enumerate(pairwise(numbers), start=1) if b - a > 1]
    assert list(found["jumps"].slices) == gaps


def test_a_split_between_the_twins_is_leakage(shared_data: Path) -> None:
    folder = shared_data / "epfl6_hippocampus"
    leak = findings(folder, {}, train=(0, 33), val=(34, 62))["leakage"]
    assert [(pair.first, pair.second) for pair in leak.pairs] == [(33, 34)]


def test_isbi_has_one_jump(shared_data: Path) -> None:
    folder = shared_data / "isbi2012_vnc"
    found = findings(folder, NEURITES | MITOCHONDRIA, train=(0, 17), val=(19, 23))
    assert {kind: each.slices for kind, each in found.items()} == {"jumps": (10,)}


@pytest.mark.parametrize("labels", ["labels.tif", "labels_3d.tif"])
def test_fib25_is_sound_though_neighbours_look_alike(shared_data: Path, labels: str) -> None:
    folder = shared_data / "fib25_medulla"
    assert findings(folder, {"neurites": labels}, train=(0, 179), val=(200, 249)) == {}
    # and where the ranges touch: another section is no copy
    assert findings(folder, {}, train=(0, 179), val=(180, 249)) == {}


@pytest.mark.parametrize("labels", ["mito.tif", "mito_3d.tif"])
def test_cdeep3m_is_sound(shared_data: Path, labels: str) -> None:
    folder = shared_data / "cdeep3m_sbem_mito"
    assert findings(folder, {"mitochondria": labels}, train=(0, 13), val=(16, 19)) == {}


def test_synapses_of_vnc_stack1_left_objects_in_parts(shared_data: Path) -> None:
    found = findings(shared_data / "vnc_stack1", NEURITES | MITOCHONDRIA, train=(0, 6), val=(8, 9))
    assert set(found) == {"parts"}
    assert "127 objects of 2469" in found["parts"].message
    assert "up to 356 px" in found["parts"].message
