"""Small files in exactly the layout of each source, and what must become of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import tifffile

SIDE = 20


@dataclass
class Expected:
    """A volume that is made: grey values and ids, (z, y, x)."""

    image: np.ndarray
    ids: np.ndarray


def grey(depth: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (depth, side, side), dtype=np.uint8)


def columns(depth: int, side: int = SIDE) -> np.ndarray:
    """Two objects through all slices, with background around them."""
    ids = np.zeros((depth, side, side), np.uint16)
    ids[:, 2:8, 2:8], ids[:, 11:17, 11:17] = 1, 2
    return ids


def write_zip(archive: Path, folder: Path) -> Path:
    """``folder`` with all that is in it, as people zip folders."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
        file.writestr("__MACOSX/._junk.png", b"junk")
    return archive


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))


def snemi3d(folder: Path) -> dict[str, Expected]:
    """snemi.zip: image/train-input.tif, seg/train-labels.tif, image/test-input.tif."""
    image, ids = grey(100), columns(100)
    inside = folder / "in" / "snemi"
    for part in ("image", "seg"):
        (inside / part).mkdir(parents=True)
    tifffile.imwrite(inside / "image" / "train-input.tif", image, photometric="minisblack")
    tifffile.imwrite(inside / "image" / "test-input.tif", grey(100, 1), photometric="minisblack")
    tifffile.imwrite(inside / "seg" / "train-labels.tif", ids, photometric="minisblack")
    write_zip(folder / "snemi.zip", inside)
    return {"snemi3d": Expected(image, ids)}


def mitoem(folder: Path, letter: str) -> dict[str, Expected]:
    """EM30-?-im.zip: im/im0000.png …; labels: mito-train-v2/seg0000.tif …, mito-val-v2/…"""
    image, ids = grey(500), columns(500)
    inside = folder / "in"
    for z in range(500):
        _png(inside / "im" / f"im{z:04}.png", image[z])
        part = inside / "mito" / ("mito-train-v2" if z < 400 else "mito-val-v2")
        part.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(part / f"seg{z:04}.tif", ids[z], photometric="minisblack")
    for z in range(500, 510):
        _png(inside / "im" / f"im{z:04}.png", image[0])
    write_zip(folder / f"EM30-{letter}-im.zip", inside / "im")
    with zipfile.ZipFile(folder / f"EM30-{letter}-mito-train-val-v2.zip", "w") as file:
        for path in sorted((inside / "mito").rglob("*.tif")):
            file.write(path, path.relative_to(inside / "mito"))
    return {f"mitoem-{letter.lower()}": Expected(image, ids)}


def cremi(folder: Path, letter: str) -> dict[str, Expected]:
    """sample_?_20160501.hdf, the cropped version; ids above 0xff…fc are no neurons."""
    image, ids = grey(125), columns(125).astype(np.uint64)
    stored = ids + np.uint64(5) * (ids > 0).astype(np.uint64)
    special = np.array([0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFD], np.uint64)
    stored[:, 0, :2] = special
    with h5py.File(folder / f"sample_{letter}_20160501.hdf", "w") as file:
        for name, data in (("raw", image), ("labels/neuron_ids", stored)):
            made = file.create_dataset(f"volumes/{name}", data=data, compression="gzip")
            made.attrs["resolution"] = (40.0, 4.0, 4.0)
        file.create_dataset("volumes/labels/clefts", data=np.full(ids.shape, special[0]))
        file.create_dataset("annotations/locations", data=np.zeros((3, 3)))
    return {f"cremi-{letter.lower()}": Expected(image, np.where(ids > 0, ids + 5, 0))}


def cremi_padded(folder: Path) -> dict[str, Expected]:
    """sample_A_padded_20160501.hdf: the labels begin at ``offset`` (z, y, x; nm) in the raw."""
    ids = columns(125).astype(np.uint64)
    whole = np.random.default_rng(3).integers(1, 255, (131, 36, 40), dtype=np.uint8)
    with h5py.File(folder / "sample_A_padded_20160501.hdf", "w") as file:
        raw = file.create_dataset("volumes/raw", data=whole)
        labels = file.create_dataset("volumes/labels/neuron_ids", data=ids)
        raw.attrs["resolution"] = labels.attrs["resolution"] = (40.0, 4.0, 4.0)
        labels.attrs["offset"] = (3 * 40.0, 7 * 4.0, 9 * 4.0)
    return {"cremi-a": Expected(whole[3:128, 7 : 7 + SIDE, 9 : 9 + SIDE], ids)}


def _two_stacks() -> tuple[np.ndarray, np.ndarray, Expected]:
    """Images and masks (0 and 255) of two stacks, and the volume: ids of the second go on."""
    image = np.concatenate([grey(165), grey(165, 1)])
    mask = np.where(columns(330) > 0, np.uint8(255), np.uint8(0))
    ids = columns(330)
    ids[165:] += 2 * (ids[165:] > 0).astype(np.uint16)
    return image, mask, Expected(image, ids)


def epfl(folder: Path) -> dict[str, Expected]:
    """training.tif, training_groundtruth.tif, testing.tif, testing_groundtruth.tif."""
    image, mask, expected = _two_stacks()
    for name, where in (("training", slice(0, 165)), ("testing", slice(165, 330))):
        tifffile.imwrite(folder / f"{name}.tif", image[where], photometric="minisblack")
        tifffile.imwrite(folder / f"{name}_groundtruth.tif", mask[where], photometric="minisblack")
    return {"epfl": expected}


def lucchi_pp(folder: Path) -> dict[str, Expected]:
    """Lucchi++/{Train,Test}_In/mask0000.png, {Train,Test}_Out/0.png; masks in RGBA."""
    image, mask, expected = _two_stacks()
    inside = folder / "in" / "Lucchi++"
    for name, first in (("Train", 0), ("Test", 165)):
        for z in range(165):
            _png(inside / f"{name}_In" / f"mask{z:04}.png", image[first + z])
            rgba = np.repeat(mask[first + z][..., None], 4, axis=2)
            rgba[..., 3] = 255
            _png(inside / f"{name}_Out" / f"{z}.png", rgba)
    write_zip(folder / "lucchi_pp.zip", inside)
    return {"lucchi-pp": expected}


def kasthuri_pp(folder: Path) -> dict[str, Expected]:
    """Kasthuri++/…; masks in RGB: white, black and (2, 2, 2) where there is no tissue."""
    inside, expected = folder / "in" / "Kasthuri++", {}
    for name, depth, side in (("Train", 20, SIDE), ("Test", 7, SIDE + 4)):
        image, ids = grey(depth, side=side), columns(depth, side)
        mask = np.where(ids > 0, np.uint8(255), np.uint8(0))
        mask[:, -1] = 2
        for z in range(depth):
            _png(inside / f"{name}_In" / f"{name.lower()}{z:03}.png", image[z])
            _png(
                inside / f"{name}_Out" / f"{name.lower()}{z:03}.png",
                mask[z, ..., None].repeat(3, 2),
            )
        expected[f"kasthuri-pp-{name.lower()}"] = Expected(image, ids)
    write_zip(folder / "kasthuri_pp.zip", inside)
    return expected


def isbi2012(folder: Path) -> dict[str, Expected]:
    """ISBI-2012-challenge/train-volume.tif, train-labels.tif …: black membranes, white cells."""
    image = grey(30)
    mask = np.full(image.shape, 255, np.uint8)
    mask[:, 10] = 0
    mask[15:, :, 9] = 0
    ids = np.ones(image.shape, np.uint16)
    ids[:, 11:] = 2
    ids[15:, :10, 10:], ids[15:, 11:, :9], ids[15:, 11:, 10:] = 2, 3, 4
    ids[mask == 0] = 0
    inside = folder / "in" / "ISBI-2012-challenge"
    inside.mkdir(parents=True)
    for name, data in (("train-volume", image), ("train-labels", mask), ("test-volume", image)):
        tifffile.imwrite(inside / f"{name}.tif", data, photometric="minisblack")
    write_zip(folder / "ISBI-2012-challenge.zip", inside)
    return {"isbi2012": Expected(image, ids)}


def fib25(folder: Path) -> dict[str, Expected]:
    """Samples with raw, and with stack (pieces) and transforms (piece, neuron)."""
    expected = {}
    table = np.array([[0, 0], [9, 3], [4, 3], [7, 8]], np.uint64)
    samples = (
        ("training_sample2", "grayscale_maps.h5", "train"),
        ("validation_sample", "grayscale_maps.h5", "val"),
        ("tstvol-520-1", "raw.h5", "test"),
    )
    for seed, (sample, file_name, use) in enumerate(samples):
        image = grey(10 + seed, seed)
        pieces = np.zeros(image.shape, np.uint64)
        pieces[:, :5], pieces[:, 5:9], pieces[:, 9:15], pieces[:, 15:] = 9, 4, 7, 5
        neurons = np.zeros(image.shape, np.uint64)
        neurons[:, :9], neurons[:, 9:15] = 3, 8
        (folder / sample).mkdir()
        with h5py.File(folder / sample / file_name, "w") as file:
            file["raw"] = image
        with h5py.File(folder / sample / "groundtruth.h5", "w") as file:
            file["stack"], file["transforms"] = pieces, table
        expected[f"fib25-{use}"] = Expected(image, neurons)
    return expected


def axonem(folder: Path, letter: str) -> dict[str, Expected]:
    """im_Z-Y-X_pad.h5 and seg_Z-Y-X_pad.h5 with ``main``; one image has no labels."""
    inside, expected = folder / "in", {}
    inside.mkdir()
    margin = [(20, 20), (512, 512), (512, 512)]
    for seed, place in enumerate(("100-200-300", "250-800-800")):
        image, ids = grey(3, seed), columns(3)
        with h5py.File(inside / f"im_{place}_pad.h5", "w") as file:
            file.create_dataset("main", data=np.pad(image, margin, "reflect"), compression="lzf")
        with h5py.File(inside / f"seg_{place}_pad.h5", "w") as file:
            padded = np.pad(ids, margin) if seed else ids
            file.create_dataset("main", data=padded, compression="lzf")
        expected[f"axonem-{letter.lower()}-{place}"] = Expected(image, ids)
    for lonely in ("im_675-800-800_pad.h5", "valid_mask.h5"):
        with h5py.File(inside / lonely, "w") as file:
            file["main"] = grey(2)
    archive = folder / f"EM30-{letter}-train-9vol-pad-20-512-512.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in inside.iterdir():
            file.write(path, path.name)
    return expected


SOURCES: dict[str, Callable[[Path], dict[str, Expected]]] = {
    "snemi3d": snemi3d,
    "mitoem-r": lambda folder: mitoem(folder, "R"),
    "mitoem-h": lambda folder: mitoem(folder, "H"),
    "cremi-a": lambda folder: cremi(folder, "A"),
    "cremi-b": lambda folder: cremi(folder, "B"),
    "cremi-c": lambda folder: cremi(folder, "C"),
    "lucchi-pp": lucchi_pp,
    "epfl": epfl,
    "kasthuri-pp": kasthuri_pp,
    "isbi2012": isbi2012,
    "fib25": fib25,
    "axonem-h": lambda folder: axonem(folder, "H"),
    "axonem-m": lambda folder: axonem(folder, "M"),
}
"""By data set, what writes the files that its downloads are, and says what becomes of them."""
