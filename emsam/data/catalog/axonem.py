"""AxonEM: cells of human and mouse cortex, nine small volumes of each."""

from __future__ import annotations

from emsam.data.catalog.entry import NOT_VERIFIED, Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Padded

_MARGIN = (20, 512, 512)
"""z, y, x: what the name of the archives says, 'pad-20-512-512'."""


def _species(letter: str, tissue: str, thickness: float, sha256: str) -> Entry:
    archive = f"EM30-{letter}-train-9vol-pad-20-512-512.zip"
    return Entry(
        name=f"axonem-{letter.lower()}",
        title=f"AxonEM-{letter}, training volumes",
        tissue=tissue,
        task="neurites",
        voxel_size=(thickness, 8.0, 8.0),
        shape=f"nine volumes; sides {NOT_VERIFIED}",
        licence="MIT (as the data card of pytc/AxonEM has it)",
        citation=(
            "Wei et al., AxonEM dataset: 3D axon instance segmentation of brain cortical regions, "
            "MICCAI 2021, doi 10.1007/978-3-030-87193-2_17"
        ),
        page="https://axonem.grand-challenge.org",
        official_split=(
            "all nine train; the test is the whole 30 µm volume on the challenge's server. Keep "
            "volumes of your choice for judging"
        ),
        how=f"download {archive} from https://huggingface.co/datasets/pytc/AxonEM",
        ids=(
            "3D ids as published; the margin of 20 × 512 × 512 voxels without labels is cut off; "
            "images without labels are left out"
        ),
        layout=Padded("main", _MARGIN),
        recipes=(Recipe((Part("im_*_pad.h5", "seg_*_pad.h5"),), "train", suffix="*"),),
        downloads=(
            Download(
                f"https://huggingface.co/datasets/pytc/AxonEM/resolve/main/{archive}",
                archive,
                f"sha256:{sha256}",
                "torch-em, axonem.py",
            ),
        ),
        verified=(
            "torch-em, torch_em/data/datasets/electron_microscopy/axonem.py (addresses, sha256, "
            "names, data set)",
            "https://axonem.grand-challenge.org (voxel size, tissue, of the whole volumes)",
            "https://huggingface.co/datasets/pytc/AxonEM (licence)",
        ),
    )


AXONEM_H = _species(
    "H", "human cortex", 30.0, "0b53d155ff62f5e24c552bf90adce329fcf9a8fefd5c697f8bcd0312a61fda60"
)
AXONEM_M = _species(
    "M", "mouse cortex", 40.0, "dae06b5dabe388ab7a0ff4e51548174f041a338d0d06bd665586aa7fdd43bac2"
)
