"""Tiles of a scene: what is read and sent, and what never is."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboards.queries.review import inside, open_volume
from dashboards.viewer import tiles
from dashboards.viewer.component import message
from dashboards.viewer.scene import Masks, Scene
from dashboards.viewer.tiles import TILE, Tile, TileCache, asked_tiles, encode_tiles, pack
from emsam.data.halving import image_levels
from emsam.data.predictions import PredictionWriter
from emsam.data.store import Volume, VolumeInfo
from emsam.data.writer import VolumeWriter
from emsam.errors import InputError
from emsam.segment.kept_predictions import errors_file
from emsam.settings import Settings
from tests.dashboards.conftest import folders

SIDE = (600, 530)
DEPTH = 5


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return folders(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def scene(settings: Settings) -> Scene:
    """Random grey values and ids; the model was judged on slices 1 and 3."""
    rng = np.random.default_rng(0)
    path = settings.volume_path("noise")
    path.parent.mkdir(parents=True)
    types = {"neurites": np.dtype(np.uint64)}
    with VolumeWriter(path, (DEPTH, *SIDE), np.dtype(np.uint8), types) as writer:
        for _ in range(DEPTH):
            grey = rng.integers(0, 256, SIDE, np.uint8)
            ids = rng.integers(0, 1 << 32, SIDE, np.uint64)
            writer.append(image_levels(grey), {"neurites": ids})
        writer.finish(VolumeInfo("noise", (30.0, 8.0, 8.0)))
    store = settings.runs_root / "a" / "noise-test.zarr"
    store.parent.mkdir(parents=True)
    masks = PredictionWriter(store, SIDE, (1, 3), (30.0, 8.0, 8.0), {})
    for z in (1, 3):
        masks.append(z, rng.integers(0, 1 << 20, SIDE, np.int32))
    masks.finish()
    errors = [{"z": 3, "kind": "merge", "severity": 0.5}, {"z": 1, "kind": "split", "severity": 1}]
    errors_file(store).write_text(json.dumps({"errors": errors}))
    return Scene(Volume(path), "neurites", "0.dir", {"a": Masks.open("model", store, "again")})


def decode(tile: Tile, encoded: bytes, shape: tuple[int, int]) -> np.ndarray:
    """What the browser makes of a tile."""
    if tile.layer == "image":
        return np.asarray(Image.open(io.BytesIO(encoded)))
    ids = zlib.decompress(encoded)
    return np.frombuffer(ids, f"<u{len(ids) // (shape[0] * shape[1])}").reshape(shape)


@pytest.mark.parametrize("layer", ["image", "truth", "a"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_tiles_together_are_the_slice(scene: Scene, layer: str, level: int) -> None:
    height, width = (-(-side >> level) for side in SIDE)
    every = [
        Tile(layer, 3, level, row, column)
        for row in range(-(-height // TILE)) for column in range(-(-width // TILE))
    ]  # fmt: skip
    assert asked_tiles(scene, [list(vars(tile).values()) for tile in every]) == every
    whole = np.zeros((height, width), np.uint32)
    for tile, encoded in encode_tiles(scene, every, TileCache()).items():
        y, x = tile.row * TILE, tile.column * TILE
        part = whole[y : y + TILE, x : x + TILE]
        part[:] = decode(tile, encoded, part.shape)
    stored = scene.read(layer, 3, level, slice(None), slice(None))
    np.testing.assert_array_equal(whole, stored)
    if level == 0 and layer == "truth":
        np.testing.assert_array_equal(whole, scene.volume.labels("neurites", 3))


@pytest.mark.parametrize(
    "asked",
    [
        None, "image", [["image"]], [["image", 1, 0, 0]], [["../../etc", 1, 0, 0, 0]],
        [["b", 1, 0, 0, 0]], [["image", 2, 0, 0, 0]], [["image", -1, 0, 0, 0]],
        [["image", 1, 3, 0, 0]], [["image", 1, -1, 0, 0]], [["image", 1, 0, 3, 0]],
        [["image", 1, 0, 0, -1]], [["image", 1.0, 0, 0, 0]], [["image", True, 0, 0, 0]],
        [[None, 1, 0, 0, 0]], {"image": 1},
    ],
)  # fmt: skip
def test_what_is_no_tile_of_the_scene_is_left_out(scene: Scene, asked: object) -> None:
    assert asked_tiles(scene, asked) == []
    assert message(scene, {"token": scene.token, "tiles": asked}, {})


def test_an_answer_is_bounded_however_much_is_asked(scene: Scene) -> None:
    asked = [["image", 1, 0, row % 3, column % 3] for row in range(99) for column in range(99)]
    assert len(asked_tiles(scene, asked)) <= 9
    assert len(asked_tiles(scene, [["image", 1, 0, 0, 0]] * 10_000)) == 1


def test_only_the_window_is_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(
        Scene, "read", lambda self, *where: read.append(where) or np.zeros((2 * TILE, TILE))
    )
    wanted = [Tile("truth", 1, 0, 0, 1), Tile("truth", 1, 0, 1, 1)]
    cache = TileCache()
    encode_tiles(scene, wanted, cache)
    assert read == [("truth", 1, 0, slice(0, 2 * TILE), slice(TILE, 2 * TILE))]
    encode_tiles(scene, wanted, cache)
    assert len(read) == 1  # the second time they are in the cache


def test_the_cache_stays_within_its_bytes() -> None:
    cache = TileCache(limit=1000)
    for column in range(50):
        cache.put("scene", Tile("image", 0, 0, 0, column), bytes(90))
    assert cache.size <= 1000
    assert cache.get("scene", Tile("image", 0, 0, 0, 49)) is not None
    assert cache.get("scene", Tile("image", 0, 0, 0, 0)) is None
    assert cache.get("another", Tile("image", 0, 0, 0, 49)) is None


def test_a_slice_that_one_model_was_not_judged_on_is_empty_there(scene: Scene) -> None:
    assert scene.slices == [1, 3]
    assert not scene.read("a", 2, 1, slice(0, TILE), slice(TILE, 2 * TILE)).any()
    assert scene.read("a", 2, 1, slice(0, TILE), slice(TILE, 2 * TILE)).shape == (TILE, 9)


def test_a_message_tells_what_the_browser_does_not_know_yet(scene: Scene) -> None:
    def header(wanted: dict) -> dict:
        text = message(scene, wanted, {"comments": []})
        (length,) = struct.unpack("<I", text[:4])
        return json.loads(text[4 : 4 + length])

    first = header({})
    assert [error["z"] for error in first["scene"]["worst"]] == [1, 3]  # by severity
    assert first["scene"]["shape"] == [DEPTH, *SIDE]
    later = header({"token": scene.token, "errors": [3, 4, "x"], "number": 7})
    assert "scene" not in later
    assert later["answers"] == 7
    assert later["errors"] == {"3": {"a": [{"z": 3, "kind": "merge", "severity": 0.5}]}}


def test_ids_that_do_not_fit_are_said(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Scene, "read", lambda self, *where: np.full((TILE, TILE), 1 << 33, np.uint64)
    )
    monkeypatch.setattr("dashboards.viewer.component.tile_cache", TileCache)
    text = message(scene, {"token": scene.token, "tiles": [["truth", 1, 0, 0, 0]]}, {})
    assert b"8589934592 is too large to be shown" in text


@pytest.mark.parametrize("name", ["", "..", "../noise", "/etc", "a/b"])
def test_a_name_cannot_lead_elsewhere(settings: Settings, name: str) -> None:
    with pytest.raises(InputError, match="no name of a volume"):
        open_volume(name, settings)


def test_a_link_cannot_lead_elsewhere(settings: Settings, scene: Scene, tmp_path: Path) -> None:
    (settings.data_root / "linked").symlink_to(tmp_path)
    scene.volume.path.rename(tmp_path / "volume.zarr")
    try:
        with pytest.raises(InputError, match="leads outside"):
            open_volume("linked", settings)
    finally:
        (tmp_path / "volume.zarr").rename(scene.volume.path)
    assert inside(scene.volume.path, settings.data_root)


def test_masks_of_another_grid_are_refused(scene: Scene, tmp_path: Path) -> None:
    store = tmp_path / "small.zarr"
    masks = PredictionWriter(store, (64, 64), (1,), (30.0, 8.0, 8.0), {})
    masks.append(1, np.ones((64, 64), int))
    masks.finish()
    errors_file(store).write_text('{"errors": []}')
    with pytest.raises(InputError, match=r"small: its masks have slices of \(64, 64\)"):
        Scene(scene.volume, "neurites", "", {"a": Masks.open("small", store, "")})
    errors_file(store).write_text("{")
    with pytest.raises(InputError, match=r"errors\.json: missing or damaged; do that"):
        Masks.open("small", store, "do that")


def test_the_message_is_header_then_tiles() -> None:
    text = pack({"a": 1}, {Tile("image", 1, 2, 3, 4): b"xyz"})
    (length,) = struct.unpack("<I", text[:4])
    assert json.loads(text[4 : 4 + length]) == {"a": 1, "tiles": [["image", 1, 2, 3, 4, 3]]}
    assert text[4 + length :] == b"xyz"
    assert tiles.MOST_TILES * TILE**2 < 10_000_000
