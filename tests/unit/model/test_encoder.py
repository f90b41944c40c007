from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emsam.model.encoder import ENCODERS, EncoderConfig, SamEncoder
from emsam.model.torchvision_ops import declare_missing_operators
from tests.reference_encoder import reference_encoder

SMALL = EncoderConfig(24, 6, 2, (1, 2, 3, 5), window=3, image_size=80)
"""Five tokens a side and windows of three: windows are padded, as with SAM's 64 and 14."""


@pytest.fixture
def encoder() -> SamEncoder:
    """Random weights everywhere, relative positions included (they start as zeros)."""
    torch.manual_seed(0)
    encoder = SamEncoder(SMALL).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def meta_s_features(encoder: SamEncoder, image: Tensor) -> list[Tensor]:
    """After each block of segment-anything's own encoder with the same weights: (n, c, y, x)."""
    theirs = reference_encoder(encoder).eval()
    after: list[Tensor] = []
    for block in theirs.blocks:
        block.register_forward_hook(lambda _module, _input, out: after.append(out))
    # SAM's preprocessing: 0-255, minus the mean, over the standard deviation, channel by channel
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    last = theirs((255 * image.repeat(1, 3, 1, 1) - mean) / std)
    assert torch.equal(last, after[-1].permute(0, 3, 1, 2))
    return [features.permute(0, 3, 1, 2) for features in after]


def test_equals_segment_anything_at_its_native_size(encoder: SamEncoder) -> None:
    image = torch.rand((2, 1, 80, 80))
    with torch.inference_mode():
        ours = encoder.forward_intermediates(image, range(SMALL.depth))
        theirs = meta_s_features(encoder, image)
    assert len(ours) == len(theirs) == SMALL.depth
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_position_and_relative_positions_matter(encoder: SamEncoder) -> None:
    image = torch.rand((1, 1, 80, 80))
    with torch.inference_mode():
        (before,) = encoder.forward_intermediates(image, [5])
        for name, parameter in encoder.named_parameters():
            if name.endswith(("rel_pos_h", "pos_embed")):
                parameter.zero_()
                (after,) = encoder.forward_intermediates(image, [5])
                assert (after - before).abs().max() > 1e-4, name
                before = after


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (48, 32), (80, 96), (112, 80)])
def test_any_size_of_whole_tokens(encoder: SamEncoder, shape: tuple[int, int]) -> None:
    with torch.inference_mode():
        features = encoder.forward_intermediates(torch.rand((1, 1, *shape)), SMALL.global_blocks)
    assert [tuple(each.shape) for each in features] == [
        (1, SMALL.width, shape[0] // 16, shape[1] // 16)
    ] * 4
    assert all(bool(each.isfinite().all()) for each in features)


def test_taps_are_the_blocks_asked_for(encoder: SamEncoder) -> None:
    image = torch.rand((1, 1, 48, 48))
    with torch.inference_mode():
        every = encoder.forward_intermediates(image, range(6))
        some = encoder.forward_intermediates(image, [1, 4])
    assert torch.equal(some[0], every[1])
    assert torch.equal(some[1], every[4])


def test_meta_s_sizes_take_meta_s_weights() -> None:
    # names and shapes of the published ViT-B without its neck, built without memory
    declare_missing_operators()
    from segment_anything import build_sam_vit_b

    with torch.device("meta"):
        theirs = build_sam_vit_b().image_encoder.state_dict()
        ours = SamEncoder(ENCODERS["vit_b"]).vit.state_dict()
    wanted = {name: each.shape for name, each in theirs.items() if not name.startswith("neck.")}
    assert {name: each.shape for name, each in ours.items()} == wanted
