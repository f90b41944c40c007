"""Bad input: one clear line that names file, value and remedy; status 2; nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from tests.cli.conftest import Run
from tests.conftest import Laboratory

Make = Callable[[Path], None]
IMAGE = np.random.default_rng(0).integers(0, 255, (4, 48, 40), dtype=np.uint8)
LABELS = np.repeat(np.arange(1, 5, dtype=np.uint16), 480).reshape(1, 48, 40).repeat(4, axis=0)


@pytest.fixture
def emsam(typed: Run, lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that must be refused; returns the line it prints."""
    monkeypatch.chdir(lab.path)

    def refused(*arguments: str) -> str:
        before = lab.files()
        status, out, err = typed(*arguments)
        assert (status, out) == (2, ""), err
        assert err.count("\n") == 1, err
        assert lab.files() == before
        return err

    return refused


def ingest(image: str = "em.tif", labels: str = "neurites=ids.tif", *more: str) -> list[str]:
    return ["data", "ingest", "ca1", "--image", image, "--labels", labels,
            "--voxel-size", "30,8,8", *more]  # fmt: skip


def write_pair(folder: Path, image: np.ndarray = IMAGE, labels: np.ndarray = LABELS) -> None:
    tifffile.imwrite(folder / "em.tif", image, photometric="minisblack")
    tifffile.imwrite(folder / "ids.tif", labels, photometric="minisblack")


def nan_image() -> np.ndarray:
    image = IMAGE.astype(np.float32) / 255
    image[2, 5, 5] = np.nan
    return image


@pytest.mark.parametrize(
    ("image", "labels", "words"),
    [
        (IMAGE, LABELS[:, :-1], ["ids.tif", "(4, 47, 40)", "(4, 48, 40)", "same z,y,x grid"]),
        (IMAGE, LABELS.astype(np.float32), ["ids.tif", "float32", "convert"]),
        (IMAGE, np.zeros_like(LABELS), ["ids.tif", "all neurites labels are 0"]),
        (nan_image(), LABELS, ["em.tif", "slice 2", "NaN", "replace"]),
        (IMAGE.astype(np.complex64), LABELS, ["em.tif", "complex64", "8 or 16 bit"]),
    ],
    ids=["other shape", "float labels", "empty labels", "NaN", "complex"],
)
def test_ingest_refuses_arrays(
    lab: Laboratory,
    emsam: Callable[..., str],
    image: np.ndarray,
    labels: np.ndarray,
    words: list[str],
) -> None:
    write_pair(lab.path, image, labels)
    line = emsam(*ingest())
    assert all(word in line for word in words), line


def test_ingest_refuses_a_missing_file(lab: Laboratory, emsam: Callable[..., str]) -> None:
    write_pair(lab.path)
    assert "nowhere.tif: no such file" in emsam(*ingest(image="nowhere.tif"))


def as_page(folder: Path) -> str:
    (folder / "em.tif").write_text("<html><title>Sign in</title>")
    return "em.tif"


def as_jpeg(folder: Path) -> str:
    (folder / "em.jpg").write_bytes(b"\xff\xd8\xff")
    return "em.jpg"


def as_mixed_slices(folder: Path) -> str:
    (folder / "em").mkdir()
    tifffile.imwrite(folder / "em" / "z0.tif", IMAGE[0])
    (folder / "em" / "z1.png").write_bytes(b"")
    return "em"


def as_hdf5_of_several(folder: Path) -> str:
    with h5py.File(folder / "em.h5", "w") as file:
        file["raw"], file["ids"] = IMAGE, LABELS
    return "em.h5"


def as_huge_zarr(folder: Path) -> str:
    zarr.create_array(folder / "em.zarr", shape=(9, 9, 9), dtype="u1", chunks=(9, 9, 9))
    path = folder / "em.zarr" / "zarr.json"
    path.write_text(path.read_text().replace("9,", "1000000000000,", 1))
    return "em.zarr"


def as_damaged_n5(folder: Path) -> str:
    (folder / "em.n5").mkdir()
    (folder / "em.n5" / "attributes.json").write_text('{"dimensions": [9, 9')
    return "em.n5"


def as_cut_mrc(folder: Path) -> str:
    with mrcfile.new(folder / "em.mrc") as file:
        file.set_data(IMAGE.astype(np.int16))
    content = (folder / "em.mrc").read_bytes()
    (folder / "em.mrc").write_bytes(content[:-5])
    return "em.mrc"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (as_page, ["em.tif: is a web page", "download"]),
        (as_jpeg, ["em.jpg: the format .jpg is not known", ".h5", ".zarr", ".mrc"]),
        (as_mixed_slices, ["em: slices end in .png and .tif"]),
        (as_hdf5_of_several, ["em.h5:/PATH", "/ids (4, 48, 40) uint16", "/raw (4, 48, 40) uint8"]),
        (as_huge_zarr, ["em.zarr: says its shape is (1000000000000, 9, 9)", "damaged"]),
        (as_damaged_n5, ["em.n5: attributes.json is no metadata", "copy it again"]),
        (as_cut_mrc, ["em.mrc: shape (4, 48, 40)", "truncated"]),
    ],
)
def test_ingest_refuses_files_of_every_format(
    lab: Laboratory, emsam: Callable[..., str], write: Callable[[Path], str], words: list[str]
) -> None:
    write_pair(lab.path)
    line = emsam(*ingest(image=write(lab.path)))
    assert all(word in line for word in words), line


def test_ingest_needs_a_voxel_size(lab: Laboratory, emsam: Callable[..., str]) -> None:
    write_pair(lab.path)
    line = emsam("data", "ingest", "ca1", "--image", "em.tif")
    assert "em.tif: says no voxel size; give --voxel-size z,y,x in nm" in line


def test_ingest_refuses_a_colour_image(lab: Laboratory, emsam: Callable[..., str]) -> None:
    write_pair(lab.path)
    colour = np.repeat(IMAGE[..., None], 3, axis=-1)
    tifffile.imwrite(lab.path / "em.tif", colour, photometric="rgb")
    line = emsam(*ingest())
    assert "em.tif" in line
    assert "colour" in line
    assert "convert it to grey" in line


@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_ingest_refuses_a_truncated_tiff(
    lab: Laboratory, emsam: Callable[..., str], part: float
) -> None:
    write_pair(lab.path)
    tifffile.imwrite(lab.path / "em.tif", IMAGE, compression="zlib", photometric="minisblack")
    content = (lab.path / "em.tif").read_bytes()
    (lab.path / "em.tif").write_bytes(content[: int(len(content) * part)])
    line = emsam(*ingest())
    assert "em.tif" in line
    assert "truncated" in line


def test_ingest_refuses_an_unknown_task(lab: Laboratory, emsam: Callable[..., str]) -> None:
    write_pair(lab.path)
    line = emsam(*ingest(labels="axons=ids.tif"))
    assert "axons" in line
    assert "neurites, mitochondria" in line


def test_ingest_refuses_a_split_outside_the_volume(
    lab: Laboratory, emsam: Callable[..., str]
) -> None:
    write_pair(lab.path)
    line = emsam(*ingest("em.tif", "neurites=ids.tif", "--split", "train=0-2,val=3-9"))
    assert "val=3-9" in line
    assert "slices 0-3" in line


def test_a_misspelt_key_names_the_nearest(lab: Laboratory, emsam: Callable[..., str]) -> None:
    (lab.path / "params.yaml").write_text("train:\n  learning_rat: 0.1\n")
    line = emsam("train", "--data", "ca1")
    assert "params.yaml: unknown key train.learning_rat" in line
    assert "did you mean train.learning_rate?" in line


def test_train_refuses_an_unknown_task(emsam: Callable[..., str]) -> None:
    line = emsam("train", "--data", "ca1", "--task", "nuclei")
    assert "task = 'nuclei'" in line
    assert "'neurites' or 'mitochondria'" in line


def test_train_refuses_a_volume_that_is_not_there(emsam: Callable[..., str]) -> None:
    assert "data/ca1/volume.zarr: no such volume" in emsam("train", "--data", "ca1")


def test_pipeline_refuses_bad_input_in_one_line_too(
    lab: Laboratory, emsam: Callable[..., str]
) -> None:
    write_pair(lab.path, labels=LABELS.astype(np.float64))
    line = emsam("pipeline", *ingest()[3:], "--data", "ca1")
    assert "ids.tif" in line
    assert "float64" in line


def test_score_refuses_other_shapes(lab: Laboratory, emsam: Callable[..., str]) -> None:
    write_pair(lab.path, labels=LABELS)
    tifffile.imwrite(lab.path / "other.tif", LABELS[:2])
    line = emsam("score", "--truth", "ids.tif", "--pred", "other.tif", "--task", "neurites")
    assert "other.tif: shape (2, 48, 40)" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dims", "4d"), "--dims 4d: give 2d or 3d"),
        (("--dims", "3d", "--voxel-size", "30,8"), "--voxel-size 30,8: three numbers"),
        (("--dims", "3d", "--voxel-size", "30,8,0"), "--voxel-size 30,8,0: give three positive"),
        (("--voxel-size", "30,8,8"), "--voxel-size goes with --dims 3d"),
    ],
)
def test_score_refuses_dimensions_it_does_not_know(
    lab: Laboratory, emsam: Callable[..., str], options: tuple[str, ...], said: str
) -> None:
    write_pair(lab.path)
    files = ("--truth", "ids.tif", "--pred", "ids.tif")
    assert said in emsam("score", *files, "--task", "neurites", *options)


def test_segment_refuses_before_it_loads_a_model(
    lab: Laboratory, emsam: Callable[..., str]
) -> None:
    write_pair(lab.path)
    line = emsam("segment", "em.tif", "--model", "runs/none", "--out", "ids.tif")
    assert "ids.tif: exists already" in line
    assert "--overwrite" in line


def test_a_model_that_is_nowhere_is_named(lab: Laboratory, emsam: Callable[..., str]) -> None:
    write_pair(lab.path)
    line = emsam("segment", "em.tif", "--model", "runs/none", "--out", "out.tif")
    assert "runs/none: no run directory and no model" in line


def test_segment_and_tune_refuse_what_they_cannot_do(
    lab: Laboratory, emsam: Callable[..., str]
) -> None:
    write_pair(lab.path)
    line = emsam("segment", "em.tif", "--model", "runs/none", "--out", "out.tif", "--link", "4d")
    assert "--link 4d" in line
    assert "ca1" in emsam("tune", "runs/none", "--data", "ca1")
