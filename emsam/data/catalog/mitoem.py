"""MitoEM: mitochondria of rat and human cortex, labels of version 2."""

from __future__ import annotations

from dataclasses import replace

from emsam.data.catalog.entry import Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Ids

_TORCH_EM = "torch-em, mitoem.py"
MITOEM_R = Entry(
    name="mitoem-r",
    title="MitoEM-R, labels v2",
    tissue="rat cortex",
    task="mitochondria",
    voxel_size=(30.0, 8.0, 8.0),
    shape=(500, 4096, 4096),
    licence="MIT (as the data cards of pytc/EM30 and pytc/MitoEM have it)",
    citation=(
        "Wei et al., MitoEM dataset: large-scale 3D mitochondria instance segmentation from EM "
        "images, MICCAI 2020, doi 10.1007/978-3-030-59722-1_7; version 2: Franco-Barranco et al., "
        "IEEE Trans. Med. Imaging 42(12):3956-3971, 2023, doi 10.1109/TMI.2023.3320497"
    ),
    page="https://mitoem.grand-challenge.org",
    official_split=(
        "slices 0-399 train, 400-499 validation, 500-999 test; the test labels are not published, "
        "and the volume has slices 0-499 alone"
    ),
    how=(
        "download EM30-R-im.zip (14 GB) from https://huggingface.co/datasets/pytc/EM30 and "
        "EM30-R-mito-train-val-v2.zip from https://huggingface.co/datasets/pytc/MitoEM"
    ),
    ids="3D ids of version 2 as published, a TIFF a slice; 0 is no mitochondrion",
    layout=Ids(),
    recipes=(
        Recipe(
            (Part("im/im0[0-4][0-9][0-9].png", "mito-*-v2/seg[0-9]*.tif"),),
            "train=0-399,val=400-499",
            500,
        ),
    ),
    downloads=(
        Download(
            "https://huggingface.co/datasets/pytc/EM30/resolve/main/EM30-R-im.zip",
            "EM30-R-im.zip",
            "sha256:6a2cac68adde5d01984542d3ee1d7753d1fa3e6eb2a042ce15ce297c95885bbe",
            _TORCH_EM,
        ),
        Download(
            "https://huggingface.co/datasets/pytc/MitoEM/resolve/main/EM30-R-mito-train-val-v2.zip",
            "EM30-R-mito-train-val-v2.zip",
            "sha256:c56380ac575428a818bd293ca3509d1249999846c3702ccbf11d308acdd2ae86",
            _TORCH_EM,
        ),
    ),
    verified=(
        "torch-em, torch_em/data/datasets/electron_microscopy/mitoem.py (addresses, sha256, "
        "folders)",
        "BiaPy-doc, tutorials/instance_seg/mitoem.rst (shape, split)",
        "https://huggingface.co/datasets/pytc/EM30 (licence)",
    ),
)

MITOEM_H = replace(
    MITOEM_R,
    name="mitoem-h",
    title="MitoEM-H, labels v2",
    tissue="human cortex",
    how=(
        "download EM30-H-im.zip and EM30-H-mito-train-val-v2.zip from the links at "
        "https://mitoem.grand-challenge.org; not EM30-H-im-pad.zip, whose images have a margin"
    ),
    downloads=(
        Download(
            "https://www.dropbox.com/s/z41qtu4y735j95e/EM30-H-im.zip?dl=1",
            "EM30-H-im.zip",
            "sha256:98fe259f36a7d8d43f99981b7a0ef8cdeba2ce2615ff91595f428ae57207a041",
            _TORCH_EM,
        ),
        Download(
            "https://www.dropbox.com/s/dhf89bc14kemw4e/EM30-H-mito-train-val-v2.zip?dl=1",
            "EM30-H-mito-train-val-v2.zip",
            "sha256:0e8ed292cfcd0c58701d9f4299244a1b66d6aeb506c85754c34f98a4eda0ef1b",
            _TORCH_EM,
        ),
    ),
)
