"""FIB-25: neurons of a fly's medulla."""

from __future__ import annotations

from emsam.data.catalog.entry import NOT_VERIFIED, Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import NeuroProof

_BUCKET = "https://storage.googleapis.com/ffn-flyem-fib25"
_FILES = {
    "training_sample2/grayscale_maps.h5": (
        "ea031c98ee2de778a9a3a1e6d410df5de73e4ac28022df8e7255d84e3394cafa"
    ),
    "training_sample2/groundtruth.h5": (
        "fd508e7aee1fe51ac9ae0460db4a841d275236f013c1f2552314b4f21b1010ea"
    ),
    "validation_sample/grayscale_maps.h5": (
        "400ccb2a7268a3880c63656e0d794f8e6252e62031869455cc8caeef245b2a83"
    ),
    "validation_sample/groundtruth.h5": (
        "2c5e31af0af5476bc9669b88d01a4570a26eb020799eaf6131aa75f2f7d92e98"
    ),
    "tstvol-520-1/raw.h5": "0667e701c8b4464003d8a6cb0cf9deb2aa79fb415ec51deeac92e5f9c67a5a66",
    "tstvol-520-1/groundtruth.h5": (
        "ae61ae78a9874eb35ae8e5ed29b4cbfe7bbd07a61789ddb70aef4deb2532eb4e"
    ),
}


def _recipe(sample: str, image: str, use: str) -> Recipe:
    return Recipe((Part(f"{sample}/{image}", f"{sample}/groundtruth.h5"),), use, suffix=use)


FIB25 = Entry(
    name="fib25",
    title="FIB-25, samples with dense ids",
    tissue="Drosophila, medulla of the optic lobe",
    task="neurites",
    voxel_size=(10.0, 10.0, 10.0),
    shape=f"250 × 250 × 250 (train); val and test {NOT_VERIFIED}",
    licence=(
        f"BSD-style LICENSE.txt of HHMI in neuroproof_examples; terms of the data {NOT_VERIFIED}"
    ),
    citation=(
        "Takemura et al., Synaptic circuits and their variations within different columns in the "
        "visual system of Drosophila, PNAS 112(44):13711-13716, 2015, doi 10.1073/pnas.1509820112"
    ),
    page="https://github.com/janelia-flyem/neuroproof_examples",
    official_split=(
        "training_sample2 trains, validation_sample and tstvol-520-1 are for judging: three volumes"
    ),
    how=(
        "copy training_sample2, validation_sample and tstvol-520-1 from gs://ffn-flyem-fib25 "
        "(https://github.com/google/ffn, third_party/neuroproof_examples) and give their folder"
    ),
    ids=(
        "3D ids of neurons: the pieces in 'stack' joined by the table 'transforms'; cells touch, "
        "there is no membrane class"
    ),
    layout=NeuroProof(),
    recipes=(
        _recipe("training_sample2", "grayscale_maps.h5", "train"),
        _recipe("validation_sample", "grayscale_maps.h5", "val"),
        _recipe("tstvol-520-1", "raw.h5", "test"),
    ),
    downloads=tuple(
        Download(f"{_BUCKET}/{name}", name, f"sha256:{sha256}", "torch-em, fib25.py")
        for name, sha256 in _FILES.items()
    ),
    verified=(
        "torch-em, torch_em/data/datasets/electron_microscopy/fib25.py (addresses, sha256, data "
        "sets, transforms)",
        "google/ffn, README (raw and stack)",
        "janelia-flyem/neuroproof_examples (roles of the samples, LICENSE.txt)",
    ),
)
