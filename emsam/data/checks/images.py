"""Findings about the image: lost sections, saturation, jumps along z, drift."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from emsam.data.checks.finding import Finding, SlicePair, z_ranges
from emsam.data.checks.fingerprints import fingerprint, neighbour_correlations

SATURATED = 0.1
"""Part of a slice at its lowest, or at its highest grey value, from which it is warned of.

The worst slice of five real sets has 0.026 (``cdeep3m_sbem_mito``, at 0).
"""
JUMP = 0.5
"""A pair of neighbours is a jump if Fisher's z of its correlation is below this part of the median.

Fisher's z, artanh r, makes a fall from 0.99 to 0.9 as large as one from 0.83 to 0. In CA1 (5 nm a
section) steps of five sections and more give at most 0.49 of the median, steps of one at least
0.94. Four other sets have no less than 0.54, but for one place of ``isbi2012_vnc``: 0.27.
"""
JUMP_MEDIAN = 0.4
"""Where neighbours correlate less than this in the median, a jump cannot be seen.

The five real sets have 0.56 and more; the synthetic volume, whose sections are each warped by
themselves, 0.38.
"""
JUMP_PAIRS = 5
"""Fewest pairs of neighbours of which a median is taken."""
BRIGHTNESS = 1.0
"""Distance of a slice's mean from the median slice, in the contrast of the median slice.

At 1, what is mean grey in most slices is as bright as a membrane or a lumen here. The largest of
five real sets is 0.62 (``isbi2012_vnc``).
"""
CONTRAST = 1.5
"""Ratio of a slice's contrast to the median slice, either way; 1.24 at most in five real sets."""

_SAMPLED_ROWS = 128
"""At least so many rows, evenly apart, give mean, contrast and the parts at the extremes; of a
smaller slice all rows do."""


class SliceImage(NamedTuple):
    """What is kept of one slice of the image.

    Attributes
    ----------
    low, high
        Lowest and highest grey value.
    at_low, at_high
        Part of the pixels that have them, from some of the rows.
    mean, contrast
        Mean and standard deviation of the grey values, from the same rows.
    checksum
        Of the pixels; equal slices have the same.
    fingerprint
        See :func:`~emsam.data.checks.fingerprints.fingerprint`.
    """

    low: float
    high: float
    at_low: float
    at_high: float
    mean: float
    contrast: float
    checksum: int
    fingerprint: np.ndarray

    @property
    def constant(self) -> bool:
        return self.low == self.high


def measure_image(image: np.ndarray, coarse: np.ndarray) -> SliceImage:
    """Look at one slice (y, x) of finite grey values, and at the coarsest level of its pyramid."""
    low, high = image.min(), image.max()
    sample = image[:: max(1, len(image) // _SAMPLED_ROWS)]
    mean, contrast = _mean_and_contrast(sample)
    return SliceImage(
        low=float(low),
        high=float(high),
        at_low=np.count_nonzero(sample == low) / sample.size,
        at_high=np.count_nonzero(sample == high) / sample.size,
        mean=mean,
        contrast=contrast,
        checksum=xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data),
        fingerprint=fingerprint(coarse),
    )


def _mean_and_contrast(sample: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; of integers from their squares, in half the time."""
    values = sample.ravel().astype(np.float64)
    mean = float(values.mean())
    if sample.dtype.kind == "f":  # squares of large floats would leave nothing of a small contrast
        return mean, float(values.std())
    # not values @ values: BLAS would wake threads that go on spinning between slices
    squares = float(np.einsum("i,i", values, values))
    return mean, math.sqrt(max(0.0, squares / values.size - mean**2))


def image_findings(slices: Sequence[SliceImage], known: Collection[int]) -> list[Finding]:
    """Findings about the image of a volume; ``known`` are slices said to be missing."""
    found = [_missing(slices, known), _saturated(slices), _jumps(slices), _intensity(slices)]
    return [finding for each in found for finding in each]


def _missing(slices: Sequence[SliceImage], known: Collection[int]) -> list[Finding]:
    constant = [z for z, each in enumerate(slices) if each.constant]
    found = []
    if new := tuple(z for z in constant if z not in known):
        text = f"constant image, taken as missing sections: slices {z_ranges(new)}"
        found.append(Finding("missing", text, slices=new))
    if old := tuple(z for z in constant if z in known):
        text = f"missing sections, known: slices {z_ranges(old)}"
        found.append(Finding("missing", text, level="note", slices=old))
    return found


def _saturated(slices: Sequence[SliceImage]) -> list[Finding]:
    found = []
    for name, shares in (
        ("lowest", [0.0 if each.constant else each.at_low for each in slices]),
        ("highest", [0.0 if each.constant else each.at_high for each in slices]),
    ):
        if where := tuple(z for z, share in enumerate(shares) if share >= SATURATED):
            text = (
                f"up to {max(shares):.0%} of the pixels have the {name} grey value (saturation "
                f"or padding): slices {z_ranges(where)}"
            )
            found.append(Finding("saturated", text, slices=where))
    return found


def _jumps(slices: Sequence[SliceImage]) -> list[Finding]:
    if not slices:
        return []
    together = neighbour_correlations(np.stack([each.fingerprint for each in slices]))
    seen = together[np.isfinite(together)]
    if seen.size < JUMP_PAIRS or (usual := float(np.median(seen))) < JUMP_MEDIAN:
        return []
    with np.errstate(invalid="ignore"):
        fallen = fisher_z(together) < JUMP * fisher_z(usual)
    pairs = tuple(SlicePair(z - 1, z, float(together[z])) for z in np.flatnonzero(fallen).tolist())
    if not pairs:
        return []
    where = ", ".join(f"{pair.first}-{pair.second}" for pair in pairs)
    text = (
        f"neighbours unlike each other (a shift, missing sections or an artefact): {where}; "
        f"correlation {min(pair.correlation for pair in pairs):.2f} at worst, usually {usual:.2f}"
    )
    return [Finding("jumps", text, slices=tuple(p.second for p in pairs), pairs=pairs)]


def _intensity(slices: Sequence[SliceImage]) -> list[Finding]:
    real = {z: each for z, each in enumerate(slices) if not each.constant}
    if not real:
        return []
    mean = float(np.median([each.mean for each in real.values()]))
    contrast = float(np.median([each.contrast for each in real.values()]))
    found = []
    off = {z: abs(each.mean - mean) / contrast for z, each in real.items()}
    if bright := tuple(z for z, distance in off.items() if distance > BRIGHTNESS):
        text = (
            f"brightness {max(off.values()):.1f} times the contrast away from the median slice: "
            f"slices {z_ranges(bright)}"
        )
        found.append(Finding("intensity", text, slices=bright))
    ratios = {z: each.contrast / contrast for z, each in real.items()}
    odd = tuple(z for z, r in ratios.items() if not 1 / CONTRAST <= r <= CONTRAST)
    if odd:
        worst = max((ratios[z] for z in odd), key=lambda ratio: abs(np.log(ratio)))
        text = f"contrast {worst:.2f} times that of the median slice: slices {z_ranges(odd)}"
        found.append(Finding("intensity", text, slices=odd))
    return found


def fisher_z(correlation: np.ndarray | float) -> np.ndarray:
    """artanh of correlations, which are kept a little below 1."""
    return np.arctanh(np.clip(correlation, -1 + 1e-7, 1 - 1e-7))
