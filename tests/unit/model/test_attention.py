"""Our attention against segment-anything's own encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emsam.model.attention import fold_relative_positions, relative_table
from emsam.model.encoder import EncoderConfig, SamEncoder
from tests.reference_encoder import reference_encoder

SMALL = EncoderConfig(
    width=32, depth=4, heads=2, global_blocks=(0, 1, 2, 3), window=0, image_size=64
)
WINDOWS = EncoderConfig(width=32, depth=4, heads=2, global_blocks=(3,) * 4, window=5, image_size=64)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def make_encoder(config: EncoderConfig, dtype: torch.dtype = torch.float32) -> SamEncoder:
    """An encoder whose relative positions, zero at first, say something."""
    torch.manual_seed(0)
    encoder = SamEncoder(config, attention="fused").to(dtype)
    for name, parameter in encoder.named_parameters():
        if "rel_pos" in name:
            nn.init.normal_(parameter, std=0.3)
    return encoder


def run(encoder: nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Last features and every parameter's gradient of something made from them."""
    encoder.zero_grad()
    if isinstance(encoder, SamEncoder):
        out = encoder.forward_intermediates(image, [encoder.config.depth - 1])[0]
        vit: nn.Module = encoder.vit
    else:
        out, vit = encoder(image), encoder
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    (out * weight).sum().backward()
    gradients = {name: p.grad.clone() for name, p in vit.named_parameters() if p.grad is not None}
    return out.detach(), gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", [SMALL, WINDOWS], ids=["global", "windows"])
def test_fused_attention_is_segment_anything(config: EncoderConfig, dtype: torch.dtype) -> None:
    encoder = make_encoder(config, dtype)
    image = torch.rand((2, 1, 64, 64), dtype=dtype)
    normalised = (image - encoder.pixel_mean) / encoder.pixel_std
    ours, our_gradients = run(encoder, image)
    theirs, their_gradients = run(reference_encoder(encoder), normalised)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        scale = their_gradients[name].abs().max()
        assert (gradient - their_gradients[name]).abs().max() <= tolerance * max(1, scale), name


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (112, 64), (160, 160)])
@pytest.mark.parametrize("config", [SMALL, WINDOWS], ids=["global", "windows"])
def test_fused_and_reference_agree_at_any_size(
    config: EncoderConfig, size: tuple[int, int]
) -> None:
    encoder = make_encoder(config, torch.float64)
    image = torch.rand((2, 1, *size), dtype=torch.float64)
    ours, our_gradients = run(encoder, image)
    encoder.attention = "reference"
    theirs, their_gradients = run(encoder, image)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for name, gradient in our_gradients.items():
        scale = their_gradients[name].abs().max()
        assert (gradient - their_gradients[name]).abs().max() <= 1e-12 * max(1, scale), name


@pytest.mark.parametrize("size", [(64, 64), (160, 160), (320, 320)])
def test_auto_gives_what_both_give(size: tuple[int, int]) -> None:
    encoder = make_encoder(WINDOWS, torch.float64).eval()
    image = torch.rand((1, 1, *size), dtype=torch.float64)
    with torch.inference_mode():
        fused = encoder.forward_intermediates(image, [3])[0]
        encoder.attention = "auto"
        torch.testing.assert_close(encoder.forward_intermediates(image, [3])[0], fused)


def test_the_longer_dot_product_is_the_logit_with_relative_positions() -> None:
    torch.manual_seed(0)
    height, width, channels = 3, 4, 5
    q, k = torch.randn((2, 1, 1, height * width, channels), dtype=torch.float64)
    rows = torch.randn((2 * height - 1, channels), dtype=torch.float64)
    columns = torch.randn((2 * width - 1, channels), dtype=torch.float64)
    longer_q, longer_k = fold_relative_positions(q, k, rows, columns, (height, width), 0.5)
    logits = (longer_q @ longer_k.transpose(-1, -2))[0, 0]
    for i in range(height * width):
        for j in range(height * width):
            (y, x), (v, u) = divmod(i, width), divmod(j, width)
            query = q[0, 0, i]
            by_hand = 0.5 * query @ k[0, 0, j]
            by_hand += query @ rows[y - v + height - 1] + query @ columns[x - u + width - 1]
            torch.testing.assert_close(logits[i, j], by_hand)
    assert longer_q.shape[-1] % 8 == 0


def test_a_table_of_relative_positions_is_resized() -> None:
    table = torch.arange(7.0)[:, None].expand(7, 2)
    same = relative_table(table, 4)
    assert same[:, :, 0].tolist() == [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]
    assert relative_table(table, 9).shape == (9, 9, 2)


def test_gradient_checkpointing_changes_nothing() -> None:
    encoder = make_encoder(WINDOWS, torch.float64)
    image = torch.rand((1, 1, 48, 64), dtype=torch.float64)
    plain, gradients = run(encoder, image)
    encoder.gradient_checkpointing = True
    again, same_gradients = run(encoder, image)
    assert torch.equal(plain, again)
    assert all(torch.equal(gradients[name], same_gradients[name]) for name in gradients)


def test_bf16_stays_near_the_reference() -> None:
    encoder = make_encoder(WINDOWS).eval()
    image = torch.rand((1, 1, 160, 160))
    with torch.inference_mode():
        exact = encoder.forward_intermediates(image, [3])[0]
        with torch.autocast("cpu", torch.bfloat16):
            fused = encoder.forward_intermediates(image, [3])[0]
            encoder.attention = "reference"
            reference = encoder.forward_intermediates(image, [3])[0]
    assert (fused - exact).abs().mean() <= 1.5 * (reference - exact).abs().mean()
