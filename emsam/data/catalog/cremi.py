"""CREMI: neurons of an adult fly's brain, three training volumes."""

from __future__ import annotations

from emsam.data.catalog.entry import NOT_VERIFIED, Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Cremi


def _sample(letter: str, sha256: str) -> Entry:
    file = f"sample_{letter}_20160501.hdf"
    pattern = f"sample_{letter}_*.hdf"
    return Entry(
        name=f"cremi-{letter.lower()}",
        title=f"CREMI, sample {letter}",
        tissue="Drosophila, adult brain",
        task="neurites",
        voxel_size=(40.0, 4.0, 4.0),
        shape=(125, 1250, 1250),
        licence=NOT_VERIFIED,
        citation=(
            "Funke, Saalfeld, Bock, Turaga, Perlman, MICCAI Challenge on Circuit Reconstruction "
            "from Electron Microscopy Images (CREMI), 2016, https://cremi.org"
        ),
        page="https://cremi.org/data",
        official_split=(
            "samples A, B and C train, A+, B+ and C+ test, whose labels are not published; the "
            "last 25 slices validate here"
        ),
        how=f"download {file} (the cropped version; the padded one will do) from "
        "https://cremi.org/data",
        ids=(
            "3D ids as published; the label editor's special ids (above 0xfffffffffffffffc) are 0; "
            "of the padded version the part with labels is taken, by the attribute 'offset'"
        ),
        layout=Cremi(),
        recipes=(Recipe((Part(pattern, pattern),), "train=0-99,val=100-124", 125),),
        downloads=(
            Download(
                f"https://cremi.org/static/data/{file}",
                file,
                f"sha256:{sha256}",
                "torch-em, cremi.py",
            ),
        ),
        verified=(
            "https://cremi.org/data (format, offset, resolution, tissue)",
            "torch-em, torch_em/data/datasets/electron_microscopy/cremi.py (addresses, sha256)",
            "https://huggingface.co/datasets/MedOtter/CREMI (shape)",
        ),
    )


CREMI_A = _sample("A", "4c563d1b78acb2bcfb3ea958b6fe1533422f7f4a19f3e05b600bfa11430b510d")
CREMI_B = _sample("B", "887e85521e00deead18c94a21ad71f278d88a5214c7edeed943130a1f4bb48b8")
CREMI_C = _sample("C", "2874496f224d222ebc29d0e4753e8c458093e1d37bc53acd1b69b19ed1ae7052")
