from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from emsam.data import pyramid
from emsam.data.halving import halve_labels
from emsam.data.predictions import Predictions, PredictionWriter
from emsam.errors import InputError

SLICES = (5, 6, 9, 10, 14)


def planes(side: tuple[int, int] = (300, 530)) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {z: rng.integers(0, 1 << 20, side, dtype=np.int32) for z in SLICES}


def written(path: Path, ids: dict[int, np.ndarray]) -> Predictions:
    side = next(iter(ids.values())).shape
    writer = PredictionWriter(path, side, list(ids), (30.0, 8.0, 8.0), {"task": "neurites"})
    for z, plane in ids.items():
        writer.append(z, plane)
    writer.finish()
    return Predictions(path)


@pytest.mark.parametrize("slab", [pyramid.LARGEST_SLAB, 1 << 20])
def test_every_window_of_every_level_is_what_was_written(
    tmp_path: Path, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid, "LARGEST_SLAB", slab)  # shards of many slices, and of one
    ids = planes()
    found = written(tmp_path / "a.zarr", ids)
    assert found.slices == SLICES
    assert found.about["task"] == "neurites"
    for z, plane in ids.items():
        np.testing.assert_array_equal(found.ids(z), plane)
        for level in range(2):
            part = found.window(z, level, slice(100, 400), slice(0, 200))
            np.testing.assert_array_equal(part, plane[100:400, :200])
            plane = halve_labels(plane)


def test_a_slice_that_was_not_predicted_is_refused(tmp_path: Path) -> None:
    found = written(tmp_path / "a.zarr", planes())
    with pytest.raises(InputError, match="slice 7 was not predicted"):
        found.ids(7)


def test_a_viewer_finds_the_ids_where_the_volume_has_these_slices(tmp_path: Path) -> None:
    written(tmp_path / "a.zarr", planes())
    multiscale = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["multiscales"][0]
    assert [each["path"] for each in multiscale["datasets"]] == ["0", "1", "2"]
    for level, dataset in enumerate(multiscale["datasets"]):
        scale, moved = dataset["coordinateTransformations"]
        assert scale["scale"] == [30.0, 8.0 * 2**level, 8.0 * 2**level]
        assert moved["translation"] == [5 * 30.0, 0, 0]


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "old.tif").write_bytes(b"II*\x00")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    for name in ("absent.zarr", "empty.zarr", "old.tif", "other.zarr"):
        with pytest.raises(InputError, match=rf"{name}: no predictions here") as refused:
            Predictions(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a.zarr", planes((20, 30)))
    (shard,) = (path for path in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if path.is_file())
    shard.write_bytes(shard.read_bytes()[:9])
    with pytest.raises(InputError, match=r"a\.zarr: 0 cannot be read"):
        Predictions(tmp_path / "a.zarr").ids(5)
