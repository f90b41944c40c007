"""Attention with SAM's decomposed relative positions, without its (tokens × tokens) matrix.

SAM adds to each logit a term that depends on the query and the key's row, and one that depends on
the query and the key's column::

    logit(i, j) = scale q_i·k_j + q_i·H[row_i - row_j] + q_i·W[col_i - col_j]

Both are a dot product with a longer vector: let a query end in its terms for every row and every
column, and a key in the one-hot codes of its own row and column. What is left is plain attention
without a mask, for which torch has kernels that never write the matrix down.

References
----------
.. [1] Li et al., MViTv2, CVPR 2022 (decomposed relative positions).
.. [2] Kirillov et al., Segment Anything, ICCV 2023.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention

_ALIGN = 8
"""Kernels for GPUs want head sizes that are multiples of this."""


def fused_attention(attention: Any, x: Tensor, window: int) -> Tensor:
    """What segment-anything's ``Attention`` gives, windows included.

    The linear layers see real tokens alone: a token that pads a window is zero there, so its
    query is not needed and its key and value are the layer's bias.

    Parameters
    ----------
    attention
        A ``segment_anything.modeling.image_encoder.Attention``.
    x
        Normalised tokens (n, h, w, c).
    window
        Side of the windows in tokens; 0 attends over the whole image.

    Returns
    -------
    Tensor
        (n, h, w, c).
    """
    n, height, width, channels = x.shape
    qkv = attention.qkv(x)  # (n, h, w, 3 c)
    if window:
        qkv = _partition(qkv, window, attention.qkv.bias)  # (n windows, window, window, 3 c)
    grid = (qkv.shape[1], qkv.shape[2])
    heads = attention.num_heads
    # (3, n, heads, tokens, c / heads)
    q, k, v = qkv.reshape(len(qkv), -1, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
    longer_q, longer_k = fold_relative_positions(
        q, k, attention.rel_pos_h, attention.rel_pos_w, grid, attention.scale
    )
    same_length = pad(v, (0, longer_q.shape[-1] - v.shape[-1]))
    out = scaled_dot_product_attention(longer_q, longer_k, same_length, scale=1.0)
    out = out[..., : v.shape[-1]].transpose(1, 2).reshape(len(qkv), *grid, channels)
    if window:
        out = _unpartition(out, n, height, width)
    return cast("Tensor", attention.proj(out))  # (n, h, w, c)


def fold_relative_positions(
    q: Tensor, k: Tensor, rows: Tensor, columns: Tensor, grid: tuple[int, int], scale: float
) -> tuple[Tensor, Tensor]:
    """Queries and keys whose plain dot product is SAM's scaled logit with relative positions.

    Parameters
    ----------
    q, k
        (n, heads, h·w, c).
    rows, columns
        Tables of relative positions (2·size - 1, c), resized where ``grid`` differs.
    grid
        h, w in tokens.
    scale
        Factor of q·k.

    Returns
    -------
    q, k : Tensor
        (n, heads, h·w, c + h + w), filled up with zeros to a multiple of 8.
    """
    height, width = grid
    on_grid = q.unflatten(2, grid)  # (n, heads, h, w, c)
    by_row = torch.einsum("nahwc,hkc->nahwk", on_grid, relative_table(rows, height))
    by_column = torch.einsum("nahwc,wkc->nahwk", on_grid, relative_table(columns, width))
    row = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, 0)
    column = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    code = torch.cat([row, column], dim=1).expand(*k.shape[:2], -1, -1)
    fill = -(q.shape[-1] + height + width) % _ALIGN
    queries = [q * scale, by_row.flatten(2, 3).to(q.dtype), by_column.flatten(2, 3).to(q.dtype)]
    return pad(torch.cat(queries, -1), (0, fill)), pad(torch.cat([k, code], -1), (0, fill))


def relative_table(table: Tensor, size: int) -> Tensor:
    """(2·any - 1, c) → (size, size, c): the entry for each pair of a query and a key."""
    length = 2 * size - 1
    if len(table) != length:
        table = interpolate(table.T[None], length, mode="linear")[0].T
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place[None, :] + size - 1]


def _partition(x: Tensor, window: int, padding: Tensor) -> Tensor:
    """(n, h, w, c) → (n·windows, window, window, c), filled up with ``padding`` (c,)."""
    n, height, width, channels = x.shape
    more_rows, more_columns = -height % window, -width % window
    if more_rows or more_columns:
        fill = padding.to(x.dtype)
        right = fill.expand(n, height, more_columns, channels)
        below = fill.expand(n, more_rows, width + more_columns, channels)
        x = torch.cat([torch.cat([x, right], dim=2), below], dim=1)
    x = x.unflatten(1, (-1, window)).unflatten(3, (-1, window))  # (n, rows, win, columns, win, c)
    return x.transpose(2, 3).reshape(-1, window, window, channels)


def _unpartition(windows: Tensor, n: int, height: int, width: int) -> Tensor:
    """(n·windows, window, window, c) → (n, height, width, c)."""
    side, channels = windows.shape[1], windows.shape[3]
    rows, columns = -(-height // side), -(-width // side)
    x = windows.reshape(n, rows, columns, side, side, channels).transpose(2, 3)
    return x.reshape(n, rows * side, columns * side, channels)[:, :height, :width]
