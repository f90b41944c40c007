from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor
from weights_files import refused

from emsam.model import sam_checkpoint
from emsam.model.sam_checkpoint import read_encoder
from tests.sam_files import flat_state


class Evil:
    """Its pickle runs a command when it is read as pickles usually are."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.trace}'",)


def torch_archive(file: Path, index: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """What ``torch.save`` writes, around any pickle."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", index)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(4))
        archive.writestr("archive/version", "3\n")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "sam.pth"
    assert "no such file" in refused(file, root)
    assert "not a file" in refused(tmp_path, root)
    saved = io.BytesIO()
    torch.save({"weight": torch.rand(1000)}, saved)
    old = io.BytesIO()
    torch.save({"weight": torch.rand(9)}, old, _use_new_zipfile_serialization=False)
    whole = saved.getvalue()
    page = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"
    for content in (b"", os.urandom(5000), page, whole[:-1], whole[: len(whole) // 2],
                    old.getvalue()):  # fmt: skip
        file.write_bytes(content)
        line = refused(file, root)
        assert "no checkpoint of torch.save, or truncated or damaged" in line
        assert "fetch it again" in line
    file.write_bytes(whole.replace(b"archive/data/0", b"archive/data/7"))
    assert "damaged" in refused(file, root)


def test_code_in_a_checkpoint_is_not_run(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, file = tmp_path / "trace", tmp_path / "sam.pth"
    evil = {"weight": Evil(trace)}
    pickle.loads(pickle.dumps(Evil(trace)))
    assert trace.exists(), "this is how it would go"
    trace.unlink()

    torch.save(evil, file)
    line = refused(file, root)
    assert "wants to run" in line
    assert "system" in line
    assert "do not trust it" in line
    for protocol in range(6):
        torch_archive(file, pickle.dumps(evil, protocol))
        assert "wants to run" in refused(file, root)
        file.write_bytes(pickle.dumps(evil, protocol))
        assert "no checkpoint" in refused(file, root)
    monkeypatch.setattr(sam_checkpoint, "_DATA", re.compile(".*"))  # torch itself refuses too
    torch.save(evil, file)
    assert "damaged (Weights only load failed" in refused(file, root)
    assert not trace.exists()


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path, root: Path) -> None:
    file, many = tmp_path / "sam.pth", 50_000_000
    torch_archive(file, pickle.dumps(b"\0" * many, 2), zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < many / 100
    assert "compressed" in refused(file, root)
    torch_archive(file, b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x70\x85R.")
    assert "bytearray" in refused(file, root)


def test_other_weights_are_refused(flat: dict[str, Tensor], tmp_path: Path, root: Path) -> None:
    file = tmp_path / "sam.pth"
    token = "mask_decoder.iou_token.weight"
    one_less = {name: each for name, each in flat.items() if name != token}
    number = torch.tensor(1.0)
    cases = [
        ([1, 2], "holds no state dict"),
        ({"model": flat}, "holds no state dict"),
        (one_less, f"1 of 314 weights are missing, the first is {token}"),
        (flat | {"extra.weight": number}, "1 unexpected weights, the first is 'extra.weight'"),
        (flat | {token: number.expand(2, 256)}, f"{token} has shape (2, 256), not (1, 256)"),
        (flat | {token: number.half().expand(1, 256)}, f"{token} is float16, not float32"),
        (flat | {token: number.double().expand(1, 256)}, f"{token} is float64, not float32"),
        (flat | {"image_encoder.blocks.3.norm1.bias": (number / 0).expand(768)},
         "blocks.3.norm1.bias holds NaN or infinity"),
        (flat_state("vit_l"), "holds weights of vit_l, not of vit_b; ask for vit_l"),
    ]  # fmt: skip
    for state, words in cases:
        torch.save(state, file)
        assert words in refused(file, root)


def test_layout_is_all_that_a_fine_tuned_file_needs(
    flat: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "my fine-tuned one.pt"
    torch.save(flat, file)
    found = read_encoder(file, "vit_b")
    assert len(found) == len([k for k in flat if k[:13] == "image_encoder"]) - 6  # the neck's
    assert all(torch.equal(each, flat["image_encoder." + name]) for name, each in found.items())
