from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from weights_files import NAME, NOWHERE, names, refusal, refused

from emsam.data.digest import file_sha256
from emsam.model import weights_cache
from emsam.model.encoder import ENCODERS, EncoderConfig, SamEncoder
from emsam.model.torchvision_ops import declare_missing_operators
from emsam.model.weights import find_weights, get_weights, load_encoder_weights
from emsam.model.weights_cache import OFFICIAL, list_weights, store_weights
from tests.sam_files import flat_state
from tests.web_server import WebServer, serve

SMALL = EncoderConfig(24, 6, 2, (1, 2, 3, 5), window=3, image_size=80)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file as Meta publishes it, with random weights everywhere: 375 MB."""
    declare_missing_operators()
    from segment_anything import sam_model_registry

    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]()
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    state = sam.state_dict()
    assert len(state) == 314
    file = tmp_path_factory.mktemp("meta") / NAME
    torch.save(state, file)
    # what torch adds to the numbers is a few kB, as in the published file
    assert abs(file.stat().st_size - OFFICIAL["vit_b"].size) < 20_000
    del sam, state
    yield file
    file.unlink()


def test_a_local_checkpoint_becomes_an_encoder_in_the_cache(
    checkpoint: Path, root: Path, publish: Callable[[Path], None]
) -> None:
    publish(checkpoint)
    found = get_weights("vit_b", root, source=checkpoint, url=NOWHERE)
    folder = root / f"vit_b-{file_sha256(checkpoint)[:12]}"
    assert names(root) == [folder.name]
    assert names(folder) == ["encoder.safetensors", "manifest.json"]
    assert json.loads((folder / "manifest.json").read_text()) == {
        "encoder": "vit_b",
        "source": NAME,
        "sha256": file_sha256(checkpoint),
        "files": {"encoder.safetensors": {"sha256": file_sha256(found.path)}},
    }
    whole, kept = torch.load(checkpoint, mmap=True), load_file(found.path)
    assert {"image_encoder." + name for name in kept} == {
        name for name in whole if name.startswith("image_encoder.") and ".neck." not in name
    }
    assert all(torch.equal(each, whole["image_encoder." + name]) for name, each in kept.items())

    assert found.official
    assert found == find_weights("official", "vit_b", root)
    assert found == get_weights("vit_b", root, url=NOWHERE)  # asks nobody

    with found.path.open("r+b") as stream:  # a bad disk
        stream.seek(-1, os.SEEK_END)
        stream.write(b"?")
    again = get_weights("vit_b", root, source=checkpoint, url=NOWHERE)
    assert again == found
    assert file_sha256(again.path) == found.path_sha256


def test_a_broken_download_goes_on_where_it_broke(
    checkpoint: Path,
    root: Path,
    publish: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(checkpoint)
    monkeypatch.setenv("no_proxy", "*")
    size, seen = checkpoint.stat().st_size, []
    with serve(checkpoint.parent) as server:
        server.breaks = [200_000_001]
        found = get_weights(
            "vit_b", root, url=server.url + "/", progress=lambda *sizes: seen.append(sizes)
        )
        assert server.asked == ["", "bytes=200000001-"]
        assert get_weights("vit_b", root, url=server.url) == found
        assert len(server.asked) == 2
        assert found.source == f"{server.url}/{NAME}"
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert names(root) == [found.path.parent.name]
    here = torch.load(checkpoint, mmap=True)["image_encoder.pos_embed"]
    assert torch.equal(load_file(found.path)["pos_embed"], here)


@pytest.mark.slow
def test_embeddings_are_those_of_segment_anything(
    checkpoint: Path, root: Path, publish: Callable[[Path], None]
) -> None:
    from segment_anything import sam_model_registry

    publish(checkpoint)
    found = get_weights("vit_b", root, source=checkpoint, url=NOWHERE)
    sam = sam_model_registry["vit_b"](checkpoint=str(checkpoint))
    encoder = SamEncoder(ENCODERS["vit_b"]).eval()
    load_encoder_weights(encoder.vit, found.path, found.path_sha256)
    sam.image_encoder.neck = nn.Identity()
    ours, theirs = encoder.vit.state_dict(), sam.image_encoder.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(each, theirs[name]) for name, each in ours.items())

    # to block 2, the first that attends to the whole image; all twelve would take a minute
    sam.image_encoder.blocks = sam.image_encoder.blocks[:3]
    image = torch.rand((1, 1, 1024, 1024), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = sam.image_encoder(sam.preprocess(255 * image.expand(1, 3, -1, -1)))
        (features,) = encoder.forward_intermediates(image, [2])
    assert features.shape == (1, 768, 64, 64)
    assert float(wanted.std()) > 0.1
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-4)


def test_a_file_with_meta_s_name_must_be_meta_s(
    flat: dict[str, Tensor], tmp_path: Path, root: Path
) -> None:
    file = tmp_path / NAME
    torch.save(flat, file)
    line = refused(file, root)
    assert file_sha256(file)[:12] in line
    assert "ec2df6273261" in line
    for name in (OFFICIAL["vit_l"].name, OFFICIAL["vit_h"].name):
        file = file.rename(tmp_path / name)
        assert "Meta's file of that name" in refused(file, root)


def test_a_download_with_another_sha256_is_deleted(
    server: WebServer, root: Path, publish: Callable[[Path], None]
) -> None:
    publish(server.folder / NAME)
    root.mkdir(parents=True)
    (root / f"{NAME}.part").write_bytes(b"x" * 1000)  # from another file
    line = refusal(lambda: get_weights("vit_b", root, url=server.url))
    assert "sha256 of what came begins with" in line
    assert "it is deleted, run the same command again" in line
    assert names(root) == []


def store(root: Path, sha256: str, encoder: str = "vit_b") -> weights_cache.PretrainedWeights:
    root.mkdir(parents=True, exist_ok=True)
    return store_weights({"pos_embed": torch.rand(3)}, encoder, sha256, "mine.pth", root)


def test_weights_are_found_by_name_or_digits(root: Path) -> None:
    official = store(root, OFFICIAL["vit_b"].sha256)
    mine = store(root, "abcdef" + "0" * 58)
    store(root, OFFICIAL["vit_l"].sha256, "vit_l")
    assert find_weights("official", "vit_b", root) == official
    assert find_weights("abcdef", "vit_b", root) == mine
    assert find_weights(mine.sha256, "vit_b", root) == mine
    assert [each.official for each in list_weights(root)] == [False, True, True]

    store(root, "abcdef" + "1" * 58)
    (root / "vit_b-ffffffffffff").mkdir()
    (root / "vit_b-ffffffffffff" / "manifest.json").write_text("{}")
    assert len(list_weights(root)) == 4

    def line(name: str, encoder: str = "vit_b") -> str:
        return refusal(lambda: find_weights(name, encoder, root))

    assert "'abcdef': 2 of vit_b begin so" in line("abcdef")
    assert "'123456': none of vit_b" in line("123456")
    assert f"in {root}; run 'emsam weights get vit_b --from FILE'" in line("123456")
    assert "none of vit_h" in line("official", "vit_h")
    assert line("official", "vit_h").endswith("run 'emsam weights get vit_h'")
    for name in ("abcde", "best", "", "ABCDEF", "../../x"):
        assert "write 'official', or at least six digits" in line(name)
    for encoder in ("vit_t", "vit_s", "vit_x"):
        assert f"{encoder}: Meta published no weights" in line("official", encoder)
        assert f"run 'emsam weights get {encoder} --from FILE'" in line("abcdef", encoder)
    assert "vit_t: Meta published no" in refusal(lambda: get_weights("vit_t", root, url=NOWHERE))


def test_an_encoder_takes_all_weights_or_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, ours = SamEncoder(SMALL).vit, SamEncoder(SMALL).vit
    state = {name: torch.rand_like(each) for name, each in theirs.state_dict().items()}
    file = tmp_path / "encoder.safetensors"
    save_file(state, file)
    load_encoder_weights(ours, file, file_sha256(file))
    assert all(torch.equal(each, state[name]) for name, each in ours.state_dict().items())

    def line(path: Path, sha256: str = "") -> str:
        right = file_sha256(path) if path.is_file() else "0" * 64
        said = refusal(lambda: load_encoder_weights(ours, path, sha256 or right))
        assert said.startswith(f"{path}: ")
        assert "'emsam weights get'" in said
        assert all(torch.equal(each, state[name]) for name, each in ours.state_dict().items())
        return said

    assert "sha256" in line(file, "0" * 64)
    assert "no such file" in line(tmp_path / "none").lower()
    assert "directory" in line(tmp_path).lower()
    other = tmp_path / "other.safetensors"
    other.write_bytes(file.read_bytes()[:-1])
    assert "damaged" in line(other)
    changed = {name: torch.zeros_like(each) for name, each in state.items()}
    for wrong in (
        {name: each for name, each in changed.items() if name != "pos_embed"},
        changed | {"neck.0.weight": torch.zeros(1)},
        changed | {"pos_embed": torch.zeros(1, 5, 5, 25)},
        changed | {"pos_embed": changed["pos_embed"].half()},
    ):
        save_file(wrong, other)
        assert "weights of another encoder" in line(other)


def test_the_encoder_of_a_network_that_was_trained_here(tmp_path: Path, root: Path) -> None:
    encoder = SamEncoder(ENCODERS["vit_t"])
    state = {f"encoder.{name}": each for name, each in encoder.state_dict().items()}
    file = tmp_path / "model.safetensors"
    save_file(state | {"head.weight": torch.zeros(3)}, file)
    found = get_weights("vit_t", root, source=file, url=NOWHERE)
    assert found == find_weights(file_sha256(file)[:8], "vit_t", root)
    other = SamEncoder(ENCODERS["vit_t"])
    load_encoder_weights(other.vit, found.path, found.path_sha256)
    for name, each in encoder.vit.state_dict().items():
        assert torch.equal(other.vit.state_dict()[name], each), name


@pytest.mark.parametrize(
    ("state", "encoder", "named"),
    [
        ({"down.weight": torch.zeros(1)}, "vit_t", "missing"),
        ({f"encoder.{k}": v for k, v in SamEncoder(SMALL).state_dict().items()}, "vit_t", "vit_t"),
        ({"down.weight": torch.zeros(1)}, "vit_x", "vit_s"),
    ],
)
def test_a_network_with_another_encoder_is_refused(
    state: dict[str, Tensor], encoder: str, named: str, tmp_path: Path, root: Path
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(state, file)
    assert named in refusal(lambda: get_weights(encoder, root, source=file, url=NOWHERE))
    assert names(root) == []


def test_the_digits_in_a_name_must_be_those_of_a_checksum(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "plain.pth"
    torch.save(flat_state("vit_b"), file)
    sha256 = file_sha256(file)
    wrong = file.rename(tmp_path / "sam_vit_b_abcdef.pth")
    line = refusal(lambda: get_weights("vit_b", root, source=wrong, url=NOWHERE))
    assert str(wrong) in line
    assert "abcdef" in line
    assert sha256[:12] in line
    assert names(root) == []
    right = wrong.rename(tmp_path / f"sam_vit_b_{sha256[:6]}.pth")
    assert get_weights("vit_b", root, source=right, url=NOWHERE).sha256 == sha256
