"""segment-anything's own encoder, to compare with.

It is made here from its arguments and not by :mod:`emsam.model.encoder`, whose arguments it tests.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from emsam.model.encoder import SamEncoder


def reference_encoder(encoder: SamEncoder) -> nn.Module:
    """``ImageEncoderViT`` with the weights and the dtype of ``encoder``, without its neck."""
    from segment_anything.modeling import ImageEncoderViT

    config = encoder.config
    vit = ImageEncoderViT(
        img_size=config.image_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window,
        global_attn_indexes=config.global_blocks,
    )
    vit.neck = nn.Identity()
    vit.to(encoder.vit.pos_embed.dtype).load_state_dict(encoder.vit.state_dict())
    return vit
