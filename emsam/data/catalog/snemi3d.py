"""SNEMI3D: neurites of mouse cortex."""

from __future__ import annotations

from emsam.data.catalog.entry import Download, Entry, Part, Recipe
from emsam.data.catalog.layouts import Ids

SNEMI3D = Entry(
    name="snemi3d",
    title="SNEMI3D, training volume (AC4)",
    tissue="mouse somatosensory cortex",
    task="neurites",
    voxel_size=(30.0, 6.0, 6.0),
    shape=(100, 1024, 1024),
    licence="CC-BY-4.0",
    citation=(
        "Kasthuri et al., Saturated reconstruction of a volume of neocortex, Cell 162(3):648-661, "
        "2015, doi 10.1016/j.cell.2015.06.054; data doi 10.5281/zenodo.7142003"
    ),
    page="https://zenodo.org/records/7142003",
    official_split=(
        "100 slices for training; the 100 slices of test-input.tif are for the challenge's test, "
        "their labels are not published. The last 20 training slices validate, as in DeepEM"
    ),
    how=(
        "download snemi.zip from https://zenodo.org/records/7142003, or register at "
        "https://snemi3d.grand-challenge.org and take train-input.tif and train-labels.tif"
    ),
    ids="3D ids as published; 0 is membrane and unlabelled",
    layout=Ids(),
    recipes=(Recipe((Part("train-input.tif", "train-labels.tif"),), "train=0-79,val=80-99", 100),),
    downloads=(
        Download(
            "https://zenodo.org/records/7142003/files/snemi.zip?download=1",
            "snemi.zip",
            "md5:3d25a7025f66698f33c7850ace885939",
            "Zenodo, as PyTorch Connectomics quotes it",
        ),
    ),
    verified=(
        "PyTorch Connectomics, tutorials/neuron_snemi (record, licence, md5, files, shape, split)",
        "https://brainiac2.mit.edu/SNEMI3D/organizers (publication)",
    ),
)
