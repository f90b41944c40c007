from __future__ import annotations

import resource
from pathlib import Path

import torch
from torch import Tensor
from weights_files import NOWHERE, names, refusal

from emsam.model.weights import get_weights
from emsam.model.weights_cache import locked_cache


def test_a_full_disk_is_bad_input(flat: dict[str, Tensor], tmp_path: Path, root: Path) -> None:
    file = tmp_path / "sam.pth"
    torch.save(flat, file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        line = refusal(lambda: get_weights("vit_b", root, source=file, url=NOWHERE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{root}: cannot hold the weights" in line
    assert "File too large" in line
    assert names(root) == []


def test_a_root_that_is_no_folder_is_bad_input(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.touch()
    line = refusal(lambda: get_weights("vit_b", root, url=NOWHERE))
    assert f"{root}: cannot hold the weights" in line
    assert "EMSAM_WEIGHTS_ROOT" in line


def test_one_process_fetches_at_a_time(root: Path) -> None:
    with locked_cache(root):
        line = refusal(lambda: get_weights("vit_b", root, url=NOWHERE))
        assert f"{root}: another process" in line
    assert names(root) == []
    assert "cannot be reached" in refusal(lambda: get_weights("vit_b", root, url=NOWHERE))
