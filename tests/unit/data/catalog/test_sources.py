"""Each entry's files, in exactly its source's layout, become the volume that they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from sources import SOURCES, Expected, columns, cremi_padded, grey, snemi3d

from emsam.data.catalog import CATALOG, Entry
from emsam.data.store import Volume
from emsam.errors import InputError
from tests.web_server import WebServer

SPLITS = {
    "snemi3d": {"train": (0, 79), "val": (80, 99)},
    "mitoem-r": {"train": (0, 399), "val": (400, 499)},
    "cremi-a": {"train": (0, 99), "val": (100, 124)},
    "epfl": {"train": (0, 139), "val": (140, 164), "test": (165, 329)},
    "kasthuri-pp-train": {"train": (0, 16), "val": (17, 19)},
    "kasthuri-pp-test": {"test": (0, 6)},
    "isbi2012": {"train": (0, 23), "val": (24, 29)},
    "fib25-val": {"val": (0, 10)},
    "axonem-m-250-800-800": {"train": (0, 2)},
}


def check(entry: Entry, volume: Volume, expected: Expected) -> None:
    last = volume.shape[0] - 1
    np.testing.assert_array_equal(volume.stored("image", 0, last), expected.image)
    np.testing.assert_array_equal(volume.stored(f"labels/{entry.task}", 0, last), expected.ids)
    info = volume.info
    assert (info.voxel_size, info.licence) == (entry.voxel_size, entry.licence)
    assert info.provenance["catalog"] == entry.name
    assert info.provenance["citation"] == entry.citation
    assert info.splits == SPLITS.get(info.name, info.splits)


def test_every_source_is_written() -> None:
    assert SOURCES.keys() == CATALOG.keys()


TWINS = ("mitoem-h", "cremi-b", "cremi-c", "axonem-h")
"""Data sets of the same layout as another one."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in TWINS)) for name in SOURCES],
)
def test_downloads_become_volumes(
    name: str,
    tmp_path: Path,
    server: WebServer,
    get: Callable[..., list[Volume]],
    without_checksum: Callable[..., Entry],
) -> None:
    expected = SOURCES[name](server.folder)
    entry = without_checksum(name, server.url)
    volumes = get(entry)
    assert [volume.info.name for volume in volumes] == list(expected)
    for volume in volumes:
        check(entry, volume, expected[volume.info.name])
        for each in entry.downloads:
            assert f"{each.name} sha256:" in volume.info.provenance["files"]
    asked = len(server.asked)
    assert asked == len(entry.downloads)
    again = get(entry)
    assert [volume.path for volume in again] == [volume.path for volume in volumes]
    assert len(server.asked) == asked
    for each in entry.downloads:  # what is made needs no files
        (tmp_path / "cache" / name / each.name).unlink()
    assert [volume.path for volume in get(entry)] == [volume.path for volume in volumes]
    assert len(server.asked) == asked


def test_files_fetched_by_hand(
    tmp_path: Path, get: Callable[..., list[Volume]], without_checksum: Callable[..., Entry]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    expected = snemi3d(mine)["snemi3d"]
    entry = without_checksum("snemi3d")
    inside = mine / "in" / "snemi"
    single = [inside / "image" / "train-input.tif", inside / "seg" / "train-labels.tif"]
    for i, given in enumerate(([inside], single, [mine / "snemi.zip"])):
        (volume,) = get(entry, given=given, name=f"mine{i}")
        assert volume.info.name == f"mine{i}"
        check(entry, volume, expected)


def test_cremi_padded(tmp_path: Path, get: Callable[..., list[Volume]]) -> None:
    expected = cremi_padded(tmp_path)["cremi-a"]
    (volume,) = get(CATALOG["cremi-a"], given=[tmp_path / "sample_A_padded_20160501.hdf"])
    check(CATALOG["cremi-a"], volume, expected)


def test_files_of_something_else(tmp_path: Path, refused: Callable[..., str]) -> None:
    def line(name: str, *given: str) -> str:
        said = refused(CATALOG[name], given=[tmp_path / each for each in given])
        assert not (tmp_path / "data").exists()
        return said

    with h5py.File(tmp_path / "sample_A_x.hdf", "w") as file:
        file["volumes/raw"] = grey(125)
    assert "no data set /volumes/labels/neuron_ids" in line("cremi-a", "sample_A_x.hdf")
    with h5py.File(tmp_path / "sample_B_x.hdf", "w") as file:
        file["volumes/raw"], file["volumes/labels/neuron_ids"] = grey(9), columns(9)
    assert "9 slices, but cremi-b has 125" in line("cremi-b", "sample_B_x.hdf")
    assert "no file sample_C_*.hdf in what was given; download sample_C_20160501.hdf" in line(
        "cremi-c", "sample_A_x.hdf"
    )
    assert "none: no such file or folder" in line("epfl", "none")
    (tmp_path / "sample_C_login.hdf").write_text("<!DOCTYPE html><title>Log in</title>")
    assert "sample_C_login.hdf: is a web page" in line("cremi-c", "sample_C_login.hdf")


def test_missing_slices(tmp_path: Path) -> None:
    images = [tmp_path / "im" / f"im{z:04}.png" for z in range(5)]
    labels = [tmp_path / "mito-train-v2" / f"seg{z:04}.tif" for z in range(5) if z != 3]
    with pytest.raises(InputError, match=r"slice 3 is in one of them alone \(1 such\)"):
        CATALOG["mitoem-r"].layout.ids(images, labels)


def test_strange_masks(
    tmp_path: Path, refused: Callable[..., str], without_checksum: Callable[..., Entry]
) -> None:
    import imagecodecs

    SOURCES["lucchi-pp"](tmp_path)
    out = tmp_path / "in" / "Lucchi++" / "Train_Out"
    good = (out / "3.png").read_bytes()
    entry = without_checksum("lucchi-pp")
    (out / "3.png").write_bytes(imagecodecs.png_encode(np.full((20, 20), 37, np.uint8)))
    assert "slice 3 has the value 37; a mask has 0, 1, 255 alone" in refused(
        entry, given=[tmp_path / "in"]
    )
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 255
    (out / "3.png").write_bytes(imagecodecs.png_encode(red))
    assert "a coloured image; a mask is black and white" in refused(entry, given=[tmp_path / "in"])
    (out / "3.png").write_bytes(good[:-30])
    assert "3.png" in refused(entry, given=[tmp_path / "in"])
