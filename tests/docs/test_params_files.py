"""The files in ``params/``: each loads, fits its data set and describes a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emsam.data.catalog import CATALOG
from emsam.data.splits import parse_splits
from emsam.model.build import build_model
from emsam.params import load_params

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").rglob("*.yaml"))]
FOR_DATA_SETS = [file for file in FILES if file.stem in CATALOG]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_it_describes_a_network_with_a_map_for_each_target(file: Path) -> None:
    params = load_params(file)
    with torch.device("meta"):
        network = build_model(params)
        out = network.eval()(torch.empty(1, 1, 64, 64))
    assert out.shape == (1, len(params.maps), 64, 64)


@pytest.mark.parametrize("file", FOR_DATA_SETS, ids=name_of)
def test_it_fits_its_data_set(file: Path) -> None:
    params, entry = load_params(file), CATALOG[file.stem]
    assert (params.data.name, params.task) == (entry.name, entry.task)
    assert not isinstance(entry.shape, str)
    assert params.train.patch <= min(entry.shape[1:])
    (recipe,) = entry.recipes
    assert params.evaluate.split in parse_splits(recipe.split, entry.shape[0])
    assert (params.model.encoder, params.model.weights) == ("vit_b", "official")


def test_the_data_sets_of_the_paper_have_ours_and_the_published_model() -> None:
    names = {name_of(file): load_params(file).model.name for file in FOR_DATA_SETS}
    assert names == {
        f"params/{folder}{name}.yaml": model
        for name in ("snemi3d", "mitoem-r", "mitoem-h")
        for folder, model in (("", "emsam"), ("published/", "published"))
    }
