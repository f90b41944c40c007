"""EPFL's hippocampus and its revised labels, Lucchi++: mitochondria of CA1."""

from __future__ import annotations

from dataclasses import replace

from emsam.data.catalog.entry import NOT_VERIFIED, Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Mask

_AT_EPFL = (
    "https://documents.epfl.ch/groups/c/cv/cvlab-unit/www/data/%20ElectronMicroscopy_Hippocampus"
)
_RANGES = "train=0-139,val=140-164,test=165-329"

EPFL = Entry(
    name="epfl",
    title="EPFL hippocampus (Lucchi)",
    tissue="hippocampus CA1; mouse according to the literature",
    task="mitochondria",
    voxel_size=(5.0, 5.0, 5.0),
    shape=(330, 768, 1024),
    licence=NOT_VERIFIED,
    citation=(
        "Lucchi et al., Learning for structured prediction using approximate subgradient descent "
        "with working sets, CVPR 2013, doi 10.1109/CVPR.2013.259"
    ),
    page="https://www.epfl.ch/labs/cvlab/data/data-em/",
    official_split=(
        "165 slices train, another 165 test; z 0-164 of the volume are the training stack, of "
        "which the last 25 validate here, and 165-329 are the testing stack, which lies elsewhere "
        "in the tissue: objects do not go on across z 165"
    ),
    how=(
        "download training.tif, training_groundtruth.tif, testing.tif and testing_groundtruth.tif "
        "from https://www.epfl.ch/labs/cvlab/data/data-em/"
    ),
    ids=(
        "the source has a mask of 0 and 255 (or 1); its connected parts (3D, voxels that share a "
        "side) became ids, so mitochondria that touch are one"
    ),
    layout=Mask(through_slices=True),
    recipes=(
        Recipe(
            (
                Part("training.tif", "training_groundtruth.tif"),
                Part("testing.tif", "testing_groundtruth.tif"),
            ),
            _RANGES,
            330,
        ),
    ),
    downloads=tuple(
        Download(f"{_AT_EPFL}/{name}", name)
        for name in (
            "training.tif",
            "training_groundtruth.tif",
            "testing.tif",
            "testing_groundtruth.tif",
        )
    ),
    verified=(
        "public repositories that fetch these addresses and quote the page (addresses, shape, "
        "voxel size); the page itself could not be read",
    ),
)

LUCCHI_PP = replace(
    EPFL,
    name="lucchi-pp",
    title="Lucchi++",
    citation=(
        "Casser et al., Fast mitochondria detection for connectomics, MIDL 2020, arXiv 1812.06024; "
        "images: Lucchi et al., CVPR 2013, doi 10.1109/CVPR.2013.259"
    ),
    page="https://sites.google.com/view/connectomics/",
    how="download lucchi_pp.zip from the link at https://sites.google.com/view/connectomics/",
    recipes=(
        Recipe(
            (Part("Train_In/*.png", "Train_Out/*.png"), Part("Test_In/*.png", "Test_Out/*.png")),
            _RANGES,
            330,
        ),
    ),
    downloads=(
        Download(
            "http://www.casser.io/files/lucchi_pp.zip",
            "lucchi_pp.zip",
            "sha256:770ce9e98fc6f29c1b1a250c637e6c5125f2b5f1260e5a7687b55a79e2e8844d",
            "torch-em, lucchi.py",
        ),
    ),
    verified=(
        "torch-em, torch_em/data/datasets/electron_microscopy/lucchi.py (address, sha256, folders, "
        "colours of the masks)",
        "micro-sam, sample data (165 slices, mask0000.png …)",
    ),
)
