"""The difference of two models on the same slices, with an interval that knows neighbours."""

from __future__ import annotations

from collections.abc import Mapping

from emsam.metrics.block_bootstrap import block_bootstrap_interval


def paired_block_bootstrap_interval(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    block: int = 4,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean over slices of ``first`` minus ``second``, with its block-bootstrap interval.

    A slice that is hard for one model is hard for the other. Their difference on each slice is
    resampled, so what they share cancels, and the interval is narrower than those of the two
    means suggest. A slice whose score is NaN in either model is left out.

    Parameters
    ----------
    first, second
        Score by z, of the same slices.
    block, resamples, confidence, seed
        As in :func:`~emsam.metrics.block_bootstrap.block_bootstrap_interval`.

    Returns
    -------
    difference, low, high : float
        NaN where no slice has both scores; the interval is NaN with fewer than two blocks.

    Raises
    ------
    ValueError
        The slices of the two differ.
    """
    unpaired = sorted(first.keys() ^ second.keys())
    if unpaired:
        shown = ", ".join(map(str, unpaired[:5])) + (" …" if len(unpaired) > 5 else "")
        raise ValueError(f"only one of the two models has a score of slice {shown}")
    slices = sorted(first)
    return block_bootstrap_interval(
        [first[z] - second[z] for z in slices],
        slices,
        block=block,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
