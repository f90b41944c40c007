"""The store's metadata, as the OME-Zarr validator and viewers read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels

from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume

TASKS = ("neurites", "mitochondria")


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """One with odd sides and two levels."""
    store = tmp_path_factory.mktemp("ome") / "a" / "volume.zarr"
    return synthesize_volume("a", store, shape=(8, 97, 301))


def test_the_validator_accepts_image_and_labels(volume: Volume, tmp_path: Path) -> None:
    shutil.copytree(volume.path, tmp_path / "volume.zarr")
    group = zarr.open_group(tmp_path / "volume.zarr", mode="r+")
    for task in TASKS:
        # the schema asks for no colours, the validator (1.6) falls over labels that have none
        ome = dict(group[f"labels/{task}"].attrs["ome"])
        ome["image-label"]["colors"] = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
        group[f"labels/{task}"].attrs["ome"] = ome
    image = Image.from_zarr(group)
    labels = Labels.from_zarr(group["labels"])
    assert set(labels.ome_attributes.labels) == set(TASKS)
    for task in TASKS:
        label = ImageLabel.from_zarr(group[f"labels/{task}"])
        assert label.ome_attributes.image_label.source.image == "../../"
        assert len(label.ome_attributes.multiscales[0].datasets) == len(
            image.ome_attributes.multiscales[0].datasets
        )


def test_the_validator_refuses_what_is_wrong(volume: Volume, tmp_path: Path) -> None:
    """So that the test above says something."""
    group = zarr.create_group(tmp_path / "wrong.zarr", zarr_format=3)
    ome = dict(zarr.open_group(volume.path, mode="r").attrs["ome"])
    del ome["multiscales"][0]["axes"]
    group.attrs["ome"] = ome
    with pytest.raises(ValueError, match="axes"):
        Image.from_zarr(group)


@pytest.mark.parametrize("where", ["", "labels/neurites", "labels/mitochondria"])
def test_a_viewer_finds_every_level_at_its_scale(where: str, volume: Volume) -> None:
    """What napari and neuroglancer go by: paths, dtype, axes with units, nm a pixel."""
    group = zarr.open_group(volume.path / where, mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in scales["axes"]} == {"nanometer"}
    full = group[scales["datasets"][0]["path"]]
    extent = np.multiply(full.shape, volume.info.voxel_size)
    for each in scales["datasets"]:
        array = group[each["path"]]
        (transform,) = each["coordinateTransformations"]
        # a level covers the same tissue, up to the pixel that an odd side is filled up with
        beyond = np.multiply(array.shape, transform["scale"]) - extent
        assert (beyond >= 0).all()
        assert (beyond < transform["scale"]).all()
        assert array.dtype == (np.uint8 if where == "" else np.uint32)
        assert array.metadata.dimension_names == ("z", "y", "x")
        assert [codec["name"] for codec in array.metadata.to_dict()["codecs"]] == [
            "sharding_indexed"
        ]
