"""Ingest that is killed, interrupted, or not alone: from every format, and to the same bytes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from emsam.data.digest import folder_digest
from emsam.data.ingest import Source, ingest_volume
from emsam.data.new_store import part_of
from emsam.data.pyramid import SLAB
from emsam.data.store import Volume
from emsam.errors import InputError
from tests.n5 import write_n5
from tests.unit.data.conftest import VOXEL

DEPTH = 4 * SLAB + 5
FORMATS = ("tiff", "tiff in pages", "folder", "hdf5", "zarr", "n5", "mrc", "mrc, signed")


def write_as(kind: str, folder: Path, stack: np.ndarray) -> str:
    """A location with ``stack`` (z, y, x) in a format."""
    folder.mkdir(parents=True)
    if kind == "tiff":
        tifffile.imwrite(folder / "s.tif", stack, photometric="minisblack")
        return f"{folder}/s.tif"
    if kind == "tiff in pages":
        with tifffile.TiffWriter(folder / "s.tif", bigtiff=True) as writer:
            for plane in stack:
                writer.write(plane, contiguous=False, compression="zlib")
        return f"{folder}/s.tif"
    if kind == "folder":
        for z, plane in enumerate(stack):
            tifffile.imwrite(folder / f"z{z}.tif", plane, photometric="minisblack")
        return str(folder)
    if kind == "hdf5":
        with h5py.File(folder / "s.h5", "w") as file:
            file.create_dataset("main", data=stack, chunks=(7, 16, 16), compression="gzip")
        return f"{folder}/s.h5:/main"
    if kind == "zarr":
        zarr.create_array(folder / "s.zarr", data=stack, chunks=(7, 16, 16))
        return f"{folder}/s.zarr"
    if kind == "n5":
        write_n5(folder / "s.n5", stack, (7, 16, 16), "gzip")
        return f"{folder}/s.n5"
    with mrcfile.new(folder / "s.mrc") as file:
        file.set_data((stack // 2).astype(np.int8) if kind == "mrc, signed" else stack.astype("u2"))
    return f"{folder}/s.mrc"


@pytest.fixture(scope="module")
def stacks() -> tuple[np.ndarray, np.ndarray]:
    """Grey values and ids with all that the checks keep: lost slices, parts, blank objects."""
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, (DEPTH, 40, 48), np.uint8)
    grey[[3, 40, 130]] = 7
    grey[100] = grey[20]
    grey[90, :20, :20] = 5
    ids = np.zeros(grey.shape, np.uint16)
    ids[:] = np.arange(48) // 8 + 1
    ids[:, 20] = 0
    ids[50] = 0
    return grey, ids


def source_in(kind: str, folder: Path, stacks: tuple[np.ndarray, np.ndarray]) -> Source:
    grey, ids = stacks
    image = write_as(kind, folder / "em", grey)
    labels = write_as("tiff in pages" if "mrc" in kind else kind, folder / "ids", ids)
    return Source(image, {"neurites": labels}, VOXEL)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from emsam.data.ingest import Source, ingest_volume
image, labels, store, last, number = sys.argv[1:]
end = lambda done, total: done == int(last) and os.kill(os.getpid(), int(number))
source = Source(image, {"neurites": labels}, (30.0, 8.0, 8.0))
ingest_volume("ca1", source, Path(store), end)
"""


def end_at(done: int, source: Source, store: Path, number: int = signal.SIGKILL) -> None:
    """Ingest in another process, which gets a signal after ``done`` slices."""
    arguments = [source.image, source.labels["neurites"], store, done, int(number)]
    ended = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], check=False)
    assert ended.returncode == -number


def ingested_from(source: Source, store: Path) -> int:
    """Ingest; returns the first slice that was read for it."""
    seen: list[int] = []
    ingest_volume("ca1", source, store, lambda done, total: seen.append(done))
    assert seen[-1] == DEPTH
    return seen[0] - 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_killed_ingest_is_gone_on_with_and_ends_in_the_same_bytes(
    kind: str, store: Path, tmp_path: Path, stacks: tuple[np.ndarray, np.ndarray]
) -> None:
    source = source_in(kind, tmp_path / "input", stacks)
    end_at(DEPTH - 3, source, store)
    assert list(store.parent.iterdir()) == [part_of(store)]
    assert ingested_from(source, store) == 3 * SLAB
    assert list(store.parent.iterdir()) == [store]
    elsewhere = tmp_path / "elsewhere" / "volume.zarr"
    assert ingested_from(source, elsewhere) == 0
    assert folder_digest(store) == folder_digest(elsewhere)
    info = Volume(store).info
    assert info.missing == (3, 40, 130)
    assert any("20" in each and "100" in each for each in info.warnings)


@pytest.fixture
def tiff(tmp_path: Path, stacks: tuple[np.ndarray, np.ndarray]) -> Source:
    return source_in("tiff", tmp_path / "input", stacks)


def test_16_bits_keep_the_grey_range_of_slices_that_were_read_before(
    store: Path, tmp_path: Path, stacks: tuple[np.ndarray, np.ndarray]
) -> None:
    grey = stacks[0].astype(np.uint16) * 100
    grey[:SLAB] += 20_000
    source = source_in("tiff", tmp_path / "input", (grey, stacks[1]))
    end_at(DEPTH - 3, source, store)
    ingest_volume("ca1", source, store)
    elsewhere = tmp_path / "elsewhere" / "volume.zarr"
    ingest_volume("ca1", source, elsewhere)
    assert Volume(store).info.intensity == Volume(elsewhere).info.intensity
    assert folder_digest(store) == folder_digest(elsewhere)


def test_killed_again_and_again_it_still_ends(tiff: Source, store: Path, tmp_path: Path) -> None:
    for done in (5, SLAB, 2 * SLAB + 1, 3 * SLAB + 2, DEPTH):
        end_at(done, tiff, store)
        assert not store.exists()
    assert ingested_from(tiff, store) >= 2 * SLAB
    elsewhere = tmp_path / "elsewhere" / "volume.zarr"
    ingest_volume("ca1", tiff, elsewhere)
    assert folder_digest(store) == folder_digest(elsewhere)


def test_a_shard_that_was_torn_is_written_again(tiff: Source, store: Path, tmp_path: Path) -> None:
    end_at(DEPTH - 3, tiff, store)
    shards = sorted(part_of(store).glob("store/image/*/c/*/0/0"))
    torn = shards[-1].parents[1].with_name("3") / "0" / "0"
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_bytes(b"half a shard")
    with (part_of(store) / "journal.jsonl").open("a") as journal:
        journal.write('{"slices": 128, "lis')
    assert ingested_from(tiff, store) == 3 * SLAB
    elsewhere = tmp_path / "elsewhere" / "volume.zarr"
    ingest_volume("ca1", tiff, elsewhere)
    assert folder_digest(store) == folder_digest(elsewhere)


@pytest.mark.parametrize("change", ["image", "voxel size", "another boot"])
def test_what_was_begun_of_something_else_is_dropped(
    change: str, tiff: Source, store: Path, stacks: tuple[np.ndarray, np.ndarray]
) -> None:
    end_at(DEPTH - 3, tiff, store)
    source = tiff
    if change == "image":
        tifffile.imwrite(tiff.image, 255 - stacks[0], photometric="minisblack")
    elif change == "voxel size":
        source = Source(tiff.image, tiff.labels, (40.0, 8.0, 8.0))
    else:
        journal = part_of(store) / "journal.jsonl"
        header, rest = journal.read_text().split("\n", 1)
        journal.write_text(header.replace('"boot": "', '"boot": "x') + "\n" + rest)
    assert ingested_from(source, store) == 0
    assert list(store.parent.iterdir()) == [store]


def test_an_interrupted_ingest_is_gone_on_with(tiff: Source, store: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == DEPTH - 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_volume("ca1", tiff, store, interrupt)
    assert list(store.parent.iterdir()) == [part_of(store)]
    assert ingested_from(tiff, store) == 3 * SLAB
    assert list(store.parent.iterdir()) == [store]


def test_bad_input_after_a_kill_leaves_nothing(
    store: Path, tmp_path: Path, stacks: tuple[np.ndarray, np.ndarray]
) -> None:
    ids = stacks[1].astype(np.int32)
    ids[-1, 0, 0] = -1
    source = source_in("tiff", tmp_path / "input", (stacks[0], ids))
    end_at(DEPTH - 3, source, store)
    with pytest.raises(InputError, match=r"s\.tif: slice 132 has the id -1"):
        ingest_volume("ca1", source, store)
    assert list(store.parent.iterdir()) == []


def test_killed_between_its_name_and_the_end_it_is_tidied_up(tiff: Source, store: Path) -> None:
    end_at(DEPTH - 3, tiff, store)
    part = part_of(store)
    aside = part.rename(store.parent / "aside")
    ingest_volume("ca1", tiff, store)
    aside.rename(part)
    ingest_volume("ca1", tiff, store)
    assert list(store.parent.iterdir()) == [store]


def test_a_second_ingest_leaves_the_first_alone(tiff: Source, store: Path) -> None:
    refusals: list[str] = []

    def second(done: int, total: int) -> None:
        if done == 2:
            with pytest.raises(InputError) as caught:
                ingest_volume("ca1", tiff, store)
            refusals.append(str(caught.value))

    ingest_volume("ca1", tiff, store, second)
    (said,) = refusals
    assert f"{store}: process " in said
    assert "wait for it" in said
    assert Volume(store).shape[0] == DEPTH
    assert list(store.parent.iterdir()) == [store]


def test_the_part_of_another_machine_is_not_taken(tiff: Source, store: Path) -> None:
    end_at(5, tiff, store)
    lock = part_of(store) / "lock"
    assert lock.read_text().split()[1] == socket.gethostname()
    lock.write_text("17 microscope-3\n")
    with pytest.raises(InputError, match="process 17 on microscope-3 is writing it") as caught:
        ingest_volume("ca1", tiff, store)
    assert f"remove {part_of(store)} if it runs no more" in str(caught.value)
    assert part_of(store).is_dir()
