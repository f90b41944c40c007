from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from emsam.errors import InputError
from emsam.model.build import build_model
from emsam.model.emsam_net import EmSam
from emsam.model.package import load_network
from emsam.params import Params, dump_params, load_params

NAMES = ["emsam", "unet", "published"]
SIZES = [(16, 16), (16, 48), (80, 32), (64, 112)]


def small_params(name: str, *overrides: str) -> Params:
    widths = [f"model.{each}_widths=[4,6,8,8]" for each in ("decoder", "unet")]
    encoder = "vit_s" if name == "published" else "vit_t"
    return load_params(
        None, [f"model.name={name}", f"model.encoder={encoder}", *widths, *overrides]
    )


@pytest.fixture(params=NAMES)
def params(request: pytest.FixtureRequest) -> Params:
    return small_params(request.param)


def trained(params: Params) -> nn.Module:
    """A network in eval mode that has seen a batch and holds no weight that is zero any more."""
    torch.manual_seed(0)
    model = build_model(params)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    model.train()(torch.rand((2, 1, 64, 64)))
    return model.eval()


def test_any_multiples_of_16_give_maps_of_that_size(params: Params) -> None:
    model = trained(params)
    channels = len(params.maps)
    for height, width in SIZES:
        with torch.inference_mode():
            out = model(torch.rand((1, 1, height, width)))
        assert out.shape == (1, channels, height, width)
        assert bool(out.isfinite().all())


def test_the_number_of_offsets_decides_the_channels() -> None:
    for name in NAMES:
        model = trained(small_params(name, "targets.offsets=[[0,1],[1,0],[5,5]]"))
        with torch.inference_mode():
            assert model(torch.rand((1, 1, 32, 32))).shape == (1, 4, 32, 32)


@pytest.mark.parametrize("name", ["emsam", "unet"])
def test_side_heads_speak_in_training_alone(name: str) -> None:
    model = build_model(small_params(name, "loss.deep_supervision=0.5")).train()
    image = torch.rand((2, 1, 32, 48))
    outputs = model(image)
    channels = len(small_params(name).maps)
    assert [each.shape for each in outputs] == [
        (2, channels, 32, 48), (2, channels, 16, 24), (2, channels, 8, 12)
    ]  # fmt: skip
    sum(each.sum() for each in outputs).backward()
    assert all(each.grad is not None for each in model.parameters())
    with torch.inference_mode():
        assert model.eval()(image).shape == (2, channels, 32, 48)


def test_a_batch_equals_its_items(params: Params) -> None:
    model, images = trained(params), torch.rand((3, 1, 64, 48))
    with torch.inference_mode():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_every_parameter_learns(params: Params) -> None:
    model = build_model(params).train()
    model(torch.rand((2, 1, 64, 64))).square().mean().backward()
    idle = [name for name, each in model.named_parameters() if each.grad is None]
    # the published network computes its last blocks for nothing and adds no position embedding
    unused = ("encoder.vit.pos_embed", "encoder.vit.blocks.10.", "encoder.vit.blocks.11.")
    assert all(name.startswith(unused) for name in idle)
    assert bool(idle) == (params.model.name == "published")


def test_finer_taps_count_for_nothing_until_they_have_learnt_to_help() -> None:
    torch.manual_seed(0)
    model = build_model(small_params("emsam")).eval()
    assert isinstance(model, EmSam)
    image = torch.rand((1, 1, 64, 64))
    with torch.inference_mode():
        taps = model.encode(image)
        noise = [*(torch.randn_like(tap) for tap in taps[:3]), taps[3]]
        assert torch.equal(model.decode(image, taps), model.decode(image, noise))
        for tap in (model.tap8, model.tap4, model.tap2):
            nn.init.normal_(tap.up.spell.weight)
            changed = model.decode(image, noise)
            assert not torch.equal(model.decode(image, taps), changed)
            nn.init.zeros_(tap.up.spell.weight)


def test_the_seed_decides_the_first_weights(params: Params) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([each.flatten() for each in build_model(params).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("name", "widths"),
    [("unet", "unet_widths=[8]"), ("unet", "unet_widths=[2,2,2,2,2,2]"),
     ("emsam", "decoder_widths=[8,8]"), ("emsam", "decoder_widths=[8,8,8,8,8]")],
)  # fmt: skip
def test_widths_that_do_not_fit_are_refused(name: str, widths: str) -> None:
    with pytest.raises(InputError, match=widths.split("=")[0]):
        build_model(small_params(name, f"model.{widths}"))


# -- as files -------------------------------------------------------------------------------------


@pytest.fixture
def package(params: Params, tmp_path: Path) -> tuple[nn.Module, Path, Path]:
    """A network, its weights and its parameters as files."""
    model = trained(params)
    weights, params_file = tmp_path / "model.safetensors", tmp_path / "params.yaml"
    save_file({name: each.contiguous() for name, each in model.state_dict().items()}, weights)
    params_file.write_text(dump_params(params))
    return model, weights, params_file


def test_an_exported_network_gives_the_same_bits(
    package: tuple[nn.Module, Path, Path], params: Params
) -> None:
    model, weights, params_file = package
    loaded, loaded_params = load_network(weights, params_file)
    assert loaded_params == params
    assert not loaded.training
    device = next(loaded.parameters()).device
    model = model.to(device, memory_format=torch.channels_last)  # as it is loaded
    image = torch.rand((2, 1, 48, 64), device=device)
    with torch.inference_mode():
        assert torch.equal(loaded(image), model(image))


def test_files_that_are_missing_damaged_or_do_not_fit_are_bad_input(
    package: tuple[nn.Module, Path, Path], params: Params, tmp_path: Path
) -> None:
    _, weights, params_file = package
    half, text, empty = tmp_path / "half", tmp_path / "text", tmp_path / "empty"
    half.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    text.write_text("not safetensors at all")
    empty.touch()
    other = tmp_path / "other.yaml"
    name = next(each for each in NAMES if each != params.model.name)
    other.write_text(dump_params(small_params(name)))
    wider = tmp_path / "wider.yaml"
    wider.write_text(dump_params(small_params(params.model.name, "targets.offsets=[[0,1],[1,0]]")))
    for files in (
        (tmp_path / "none", params_file), (half, params_file), (text, params_file),
        (empty, params_file), (weights, tmp_path / "none.yaml"), (weights, text),
        (weights, other), (weights, wider),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            load_network(*files)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_a_folder_in_place_of_the_weights_is_bad_input(
    package: tuple[nn.Module, Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        load_network(tmp_path, package[2])


def test_nothing_is_unpickled(package: tuple[nn.Module, Path, Path], tmp_path: Path) -> None:
    model, _, params_file = package
    pickled = tmp_path / "model.pt"
    torch.save(model.state_dict(), pickled)
    with pytest.raises(InputError, match="damaged"):
        load_network(pickled, params_file)
