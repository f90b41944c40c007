from __future__ import annotations

import io
import json
import os
import pickle
import re
import resource
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emsam.data.digest import file_sha256
from emsam.errors import InputError
from emsam.model import sam_checkpoint, weights_cache
from emsam.model.download import download
from emsam.model.encoder import ENCODERS, EncoderConfig, SamEncoder
from emsam.model.sam_checkpoint import read_encoder
from emsam.model.torchvision_ops import declare_missing_operators
from emsam.model.weights import find_weights, get_weights, load_encoder_weights
from emsam.model.weights_cache import (
    OFFICIAL,
    OfficialFile,
    list_weights,
    locked_cache,
    store_weights,
)
from tests.weights_server import WeightsServer, flat_state, serve

NAME = "sam_vit_b_01ec64.pth"
NOWHERE = "http://127.0.0.1:9/nothing"
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


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A cache that does not exist yet; its contents go when the test is over."""
    folder = tmp_path / "cache" / "weights"
    yield folder
    for file in folder.rglob("*.safetensors"):
        file.unlink()


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file the one that Meta published for ViT-B."""

    def as_official(file: Path) -> None:
        official = OfficialFile(NAME, file_sha256(file), file.stat().st_size)
        monkeypatch.setitem(OFFICIAL, "vit_b", official)

    return as_official


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    """Serves a small file that is no checkpoint under Meta's name."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / NAME).write_bytes(bytes(range(256)) * 4000)
    with serve(folder) as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def refusal(call: Callable[[], object]) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- real files -----------------------------------------------------------------------------------


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


# -- bad checkpoints ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flat() -> dict[str, Tensor]:
    return flat_state("vit_b")


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


def refused(file: Path, root: Path) -> str:
    """The line that refuses a checkpoint; the cache must not even come to be."""
    line = refusal(lambda: get_weights("vit_b", root, source=file, url=NOWHERE))
    assert line.startswith(f"{file}: ")
    assert not root.exists()
    return line


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


def test_layout_is_all_that_a_fine_tuned_file_needs(
    flat: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "my fine-tuned one.pt"
    torch.save(flat, file)
    found = read_encoder(file, "vit_b")
    assert len(found) == len([k for k in flat if k[:13] == "image_encoder"]) - 6  # the neck's
    assert all(torch.equal(each, flat["image_encoder." + name]) for name, each in found.items())


# -- downloads ------------------------------------------------------------------------------------


def test_a_download_that_ends_early_is_kept_and_resumed(
    server: WeightsServer, tmp_path: Path, root: Path, publish: Callable[[Path], None]
) -> None:
    whole = server.folder / NAME
    publish(whole)
    server.breaks = [300_000, 0]
    line = refusal(lambda: get_weights("vit_b", root, url=server.url))
    assert f"{server.url}/{NAME}: the connection broke after 300,000 of 1,024,000 bytes" in line
    assert "run the same command again" in line
    assert names(root) == [f"{NAME}.part"]

    part, seen = root / f"{NAME}.part", []
    download(f"{server.url}/{NAME}", part, 1_024_000, lambda done, total: seen.append(done))
    assert server.asked == ["", "bytes=300000-", "bytes=300000-"]
    assert part.read_bytes() == whole.read_bytes()
    assert min(seen) > 300_000
    download(f"{server.url}/{NAME}", part, 1_024_000)  # nothing is missing
    assert len(server.asked) == 3


def test_a_server_without_ranges_sends_it_all_again(server: WeightsServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    server.ranges, server.breaks = False, [400_000, 700_000, 500_000]
    line = refusal(lambda: download(f"{server.url}/{NAME}", part, 1_024_000))
    assert "the connection broke after 500,000" in line
    download(f"{server.url}/{NAME}", part, 1_024_000)
    assert part.read_bytes() == (server.folder / NAME).read_bytes()


def test_a_part_that_is_too_long_starts_anew(server: WeightsServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(bytes(2_000_000))
    download(f"{server.url}/{NAME}", part, 1_024_000)
    assert part.read_bytes() == (server.folder / NAME).read_bytes()


def test_a_server_cannot_send_more_than_the_file(server: WeightsServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    server.headers = {"Content-Length": "?"}
    download(f"{server.url}/{NAME}", part, 1000)
    assert part.stat().st_size == 1000


def test_a_download_with_another_sha256_is_deleted(
    server: WeightsServer, root: Path, publish: Callable[[Path], None]
) -> None:
    publish(server.folder / NAME)
    root.mkdir(parents=True)
    (root / f"{NAME}.part").write_bytes(b"x" * 1000)  # from another file
    line = refusal(lambda: get_weights("vit_b", root, url=server.url))
    assert "sha256 of what came begins with" in line
    assert "it is deleted, run the same command again" in line
    assert names(root) == []


def test_what_servers_say_instead_of_a_file(server: WeightsServer, root: Path) -> None:
    def line(url: str) -> str:
        said = refusal(lambda: get_weights("vit_b", root, url=url))
        assert names(root) == []
        assert said.startswith(f"{url}/{NAME}: ")
        assert "EMSAM_WEIGHTS_URL" in said
        assert "--from FILE" in said
        return said

    assert "a file of 1,024,000 bytes, not 375,042,383" in line(server.url)
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    assert "a web page, not a file" in line(server.url)
    assert "HTTP 404 Not Found" in line(f"{server.url}/elsewhere")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        assert "cannot be reached" in line(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert "cannot be reached" in line("http://name.invalid")
    assert "cannot be reached" in line("http://127.0.0.1:port")
    for url in ("file:///etc", "ftp://127.0.0.1", "nonsense"):
        assert "no address of the web" in line(url)


# -- the cache ------------------------------------------------------------------------------------


def test_a_full_disk_is_bad_input(
    server: WeightsServer, flat: dict[str, Tensor], tmp_path: Path, root: Path
) -> None:
    part = tmp_path / "file.part"
    part.symlink_to("/dev/full")
    line = refusal(lambda: download(f"{server.url}/{NAME}", part, 1_024_000))
    assert f"{part}: No space left on device; free space, or set EMSAM_WEIGHTS_ROOT" in line

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
        assert "vit_b, vit_l, vit_h" in line("abcdef", encoder)
    assert "vit_t: Meta published no" in refusal(lambda: get_weights("vit_t", root, url=NOWHERE))


def test_an_encoder_takes_all_weights_or_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, ours = SamEncoder(SMALL).vit, SamEncoder(SMALL).vit
    state = {name: torch.rand_like(each) for name, each in theirs.state_dict().items()}
    file = tmp_path / "encoder.safetensors"
    save_file(state, file)
    load_encoder_weights(ours, file, file_sha256(file))
    assert all(torch.equal(each, state[name]) for name, each in ours.state_dict().items())

    def line(path: Path, sha256: str | None = None) -> str:
        said = refusal(lambda: load_encoder_weights(ours, path, sha256))
        assert said.startswith(f"{path}: ")
        assert "'emsam weights get'" in said
        assert all(torch.equal(each, state[name]) for name, each in ours.state_dict().items())
        return said

    assert "sha256" in line(file, "0" * 64)
    assert "no such file" in line(tmp_path / "none", "0" * 64).lower()
    assert "no such file" in line(tmp_path / "none").lower()
    assert "directory" in line(tmp_path, "0" * 64).lower()
    line(tmp_path)
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


# -- other files ----------------------------------------------------------------------------------


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
