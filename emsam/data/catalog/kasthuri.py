"""Kasthuri++: mitochondria of mouse cortex."""

from __future__ import annotations

from emsam.data.catalog.entry import NOT_VERIFIED, Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Mask

KASTHURI_PP = Entry(
    name="kasthuri-pp",
    title="Kasthuri++",
    tissue="mouse somatosensory cortex",
    task="mitochondria",
    voxel_size=(30.0, 3.0, 3.0),
    shape="85 × 1463 × 1613 and 75 × 1334 × 1553 (numbers of slices not verified)",
    licence=NOT_VERIFIED,
    citation=(
        "Casser et al., Fast mitochondria detection for connectomics, MIDL 2020, arXiv 1812.06024; "
        "images: Kasthuri et al., Cell 162(3):648-661, 2015, doi 10.1016/j.cell.2015.06.054"
    ),
    page="https://sites.google.com/view/connectomics/",
    official_split=(
        "a training and a testing stack of different sides, so two volumes; the last 15 % of the "
        "training slices validate here"
    ),
    how="download kasthuri_pp.zip from the link at https://sites.google.com/view/connectomics/",
    ids=(
        "the source has masks in colour: white is mitochondrion, (2, 2, 2) is empty and becomes 0; "
        "connected parts (3D, voxels that share a side) became ids, so mitochondria that touch "
        "are one"
    ),
    layout=Mask(through_slices=True, background=(0, 2)),
    recipes=(
        Recipe((Part("Train_In/*.png", "Train_Out/*.png"),), "train+val", suffix="train"),
        Recipe((Part("Test_In/*.png", "Test_Out/*.png"),), "test", suffix="test"),
    ),
    downloads=(
        Download(
            "http://www.casser.io/files/kasthuri_pp.zip",
            "kasthuri_pp.zip",
            "sha256:bbb78fd205ec9b57feb8f93ebbdf1666261cbc3e0305e7f11583ab5157a3d792",
            "torch-em, kasthuri.py",
        ),
    ),
    verified=(
        "torch-em, torch_em/data/datasets/electron_microscopy/kasthuri.py (address, sha256, "
        "folders, colours of the masks)",
        "public loaders of this set (sides of the slices); the voxel size is the literature's",
    ),
)
