"""ISBI 2012: neurites of a fly larva's ventral nerve cord."""

from __future__ import annotations

from emsam.data.catalog.entry import Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Mask

ISBI2012 = Entry(
    name="isbi2012",
    title="ISBI 2012 challenge, training stack",
    tissue="Drosophila first-instar larva, ventral nerve cord",
    task="neurites",
    voxel_size=(50.0, 4.0, 4.0),
    shape=(30, 512, 512),
    licence="non-commercial image segmentation software only; citation required",
    citation=(
        "Cardona et al., PLoS Biol 8(10):e1000502, 2010, doi 10.1371/journal.pbio.1000502, and "
        "TrakEM2: Cardona et al., PLoS ONE 7(6):e38011, 2012; challenge: Arganda-Carreras et al., "
        "Front. Neuroanat. 9:142, 2015, doi 10.3389/fnana.2015.00142"
    ),
    page="https://imagej.net/events/isbi-2012-segmentation-challenge",
    official_split="30 slices train, another 30 test; the last 6 training slices validate here",
    how=(
        "download ISBI-2012-challenge.zip from "
        "https://imagej.net/events/isbi-2012-segmentation-challenge"
    ),
    ids=(
        "the source has a mask, white in cells and black on membranes; the connected white parts "
        "of each slice (pixels that share a side) became ids, numbered from 1 in every slice, so a "
        "gap in a membrane joins two cells"
    ),
    layout=Mask(through_slices=False),
    recipes=(Recipe((Part("train-volume.tif", "train-labels.tif"),), "train=0-23,val=24-29", 30),),
    downloads=(
        Download("https://downloads.imagej.net/ISBI-2012-challenge.zip", "ISBI-2012-challenge.zip"),
    ),
    verified=(
        "https://imagej.net/events/isbi-2012-segmentation-challenge (address, tissue, resolution, "
        "meaning of the labels)",
        "public code that reads the archive (ISBI-2012-challenge/train-volume.tif …)",
        "terms as the challenge's own notice has them",
    ),
)
