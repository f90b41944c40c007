"""Each finding: a defect put into the synthetic volume is found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from spoilt import Stack

from emsam.data.checks.images import BRIGHTNESS


def numbered_anew(labels: np.ndarray) -> np.ndarray:
    """3D ids as 2D ids: every slice counts its connected parts from 1."""
    from skimage.measure import label

    return np.stack([label(plane, background=0, connectivity=2) for plane in labels])


def test_nothing_is_found_where_nothing_is_wrong(stack: Stack) -> None:
    stack.splits = {"train": (0, 12), "val": (13, 15), "test": (16, 18)}
    assert stack.findings() == []


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_nothing_is_found_in_other_types(stack: Stack, dtype: str) -> None:
    stack.image = (stack.image.astype(np.float64) * 117.5 + 900).astype(dtype)
    assert stack.findings() == []


# -- the image ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 17, 255])
def test_a_constant_slice_is_missing(stack: Stack, value: int) -> None:
    stack.image[[4, 5, 9]] = value
    finding = stack.only("missing")
    assert finding.slices == (4, 5, 9)
    assert "slices 4-5, 9" in finding.message


@pytest.mark.parametrize("name", ["lowest", "highest"])
def test_a_saturated_slice(stack: Stack, name: str) -> None:
    low, high = np.quantile(stack.image[6], (0.15, 1) if name == "lowest" else (0, 0.85))
    np.clip(stack.image[6], int(low), int(high), out=stack.image[6])
    finding = stack.only("saturated")
    assert finding.slices == (6,)
    assert f"{name} grey value" in finding.message


def test_a_few_saturated_pixels_are_usual(stack: Stack) -> None:
    stack.image[6][stack.image[6] <= np.quantile(stack.image[6], 0.04)] = 0
    assert stack.findings() == []


def thin(stack: Stack) -> Stack:
    """Sections as thin as in real sets: in the synthetic volume each is warped by itself."""
    return Stack(gaussian_filter(stack.image, (1.0, 0, 0)), {})


def test_a_shift_is_a_jump(stack: Stack) -> None:
    stack = thin(stack)
    assert stack.findings() == []
    stack.image[8:] = np.roll(stack.image[8:], 60, axis=1)
    finding = stack.only("jumps")
    assert [(pair.first, pair.second) for pair in finding.pairs] == [(7, 8)]
    assert finding.pairs[0].correlation < 0.3


def test_slices_that_were_left_out_are_a_jump(stack: Stack) -> None:
    stack = thin(stack)
    stack.image = stack.image[[*range(8), *range(13, 19)]]
    assert stack.only("jumps").slices == (8,)


def test_no_jump_is_seen_beside_a_missing_section_nor_in_noise(stack: Stack) -> None:
    stack = thin(stack)
    stack.image[8] = 0
    assert stack.kinds() == ["missing"]
    rng = np.random.default_rng(0)
    stack.image = rng.integers(0, 256, stack.image.shape, dtype=np.uint8)
    assert stack.findings() == []


def test_a_bright_slice_and_one_of_little_contrast(stack: Stack) -> None:
    grey = stack.image.astype(np.float32)
    stack.image = grey
    contrast = float(np.median(grey.std(axis=(1, 2))))
    grey[3] += 1.7 * BRIGHTNESS * contrast
    assert stack.only("intensity").slices == (3,)
    grey[3] -= 1.7 * BRIGHTNESS * contrast
    grey[11] = (grey[11] - grey[11].mean()) * 0.4 + grey[11].mean()
    finding = stack.only("intensity")
    assert finding.slices == (11,)
    assert "contrast" in finding.message


def test_brightness_that_drifts_is_found_at_both_ends(stack: Stack) -> None:
    ramp = np.linspace(-2, 2, len(stack.image), dtype=np.float32)
    contrast = float(np.median(stack.image.std(axis=(1, 2))))
    stack.image = stack.image + (ramp * contrast)[:, None, None]
    assert {0, 1, 17, 18} <= set(stack.only("intensity").slices)


# -- copies ---------------------------------------------------------------------------------------


@given(
    pair=st.tuples(st.integers(0, 18), st.integers(0, 18)).filter(lambda p: p[0] < p[1]),
    noise=st.sampled_from([0.0, 2.0, 6.0]),
    blur=st.sampled_from([0.0, 0.8]),
    contrast=st.sampled_from([1.0, 0.9]),
)
@settings(max_examples=25)
def test_the_same_section_twice(
    stack: Stack, pair: tuple[int, int], noise: float, blur: float, contrast: float
) -> None:
    first, second = pair
    image = stack.image.copy()
    copy = gaussian_filter(image[first].astype(np.float64), blur) * contrast
    copy += np.random.default_rng(0).normal(0, noise, copy.shape)
    image[second] = np.clip(copy, 0, 255)
    findings = {each.kind: each for each in Stack(image, {}).findings()}
    assert set(findings) <= {"duplicates", "jumps"}, findings
    (found,) = findings["duplicates"].pairs
    assert (found.first, found.second) == pair
    assert found.identical == (noise == 0 and blur == 0 and contrast == 1)


def test_a_copy_in_two_splits_is_leakage(stack: Stack) -> None:
    stack.labels = {}
    stack.splits = {"train": (0, 12), "val": (14, 15), "test": (17, 18)}
    stack.image[14] = stack.image[3]  # val, train
    stack.image[18] = stack.image[3]  # test, train
    stack.image[1] = stack.image[2]  # in one split
    stack.image[16] = stack.image[5]  # in none
    findings = {each.kind: each for each in stack.findings()}
    leaks = [(pair.first, pair.second) for pair in findings["leakage"].pairs]
    copies = [(pair.first, pair.second) for pair in findings["duplicates"].pairs]
    assert leaks == [(3, 14), (3, 18), (14, 18)]
    assert copies == [(1, 2), (5, 16)]
    assert all(pair.identical for pair in findings["leakage"].pairs)


def test_slow_change_is_no_copy(stack: Stack) -> None:
    """Sections so thin that neighbours correlate above 0.999 are still other sections."""
    ends = gaussian_filter(stack.image[[0, 9]].astype(np.float64), (0, 2, 2))
    part = np.linspace(0, 1, 60)[:, None, None]
    thin = Stack((1 - part) * ends[0] + part * ends[1], {}, {"train": (0, 30), "val": (31, 59)})
    assert thin.findings() == []


# -- labels ---------------------------------------------------------------------------------------


def test_slices_without_labels(stack: Stack) -> None:
    stack.labels["neurites"][[2, 3]] = 0
    finding = stack.only("unlabelled")
    assert (finding.task, finding.slices) == ("neurites", (2, 3))
    assert finding.message == "no neurites labels in slices 2-3"


def test_a_missing_section_needs_no_labels(stack: Stack) -> None:
    stack.image[2] = 0
    for labels in stack.labels.values():
        labels[2] = 0
    assert stack.kinds() == ["missing"]


def test_where_objects_are_few_a_slice_without_is_only_noted(stack: Stack) -> None:
    mitochondria = stack.labels["mitochondria"]
    mitochondria[~np.isin(mitochondria, np.unique(mitochondria)[1:5])] = 0
    assert {(each.kind, each.level) for each in stack.findings()} == {("unlabelled", "note")}
    mitochondria[:] = 0
    mitochondria[:, :60, :60] = np.arange(3600).reshape(60, 60) // 400 + 1
    mitochondria[4] = 0  # nine in each slice but this
    assert stack.only("unlabelled").slices == (4,)


@pytest.mark.parametrize("grain", [0, 1])
def test_objects_in_padding(stack: Stack, grain: int) -> None:
    """Padding is constant, or nearly so after JPEG."""
    rng = np.random.default_rng(0)
    stack.image[5, :60] = 40 + rng.integers(0, grain + 1, (60, 256))
    inside = set(np.unique(stack.labels["neurites"][5, 60:]))
    finding = next(each for each in stack.findings() if each.task == "neurites")
    named = {number for z, number in finding.ids if z == 5}
    assert (finding.kind, finding.slices) == ("blank objects", (5,))
    assert named
    assert not named & inside


def test_padding_beside_the_labels_is_no_finding(stack: Stack) -> None:
    pad = ((0, 0), (0, 20), (0, 0))  # 7 % of the slice
    stack.image = np.pad(stack.image, pad)
    stack.labels = {task: np.pad(labels, pad) for task, labels in stack.labels.items()}
    assert stack.findings() == []


def test_an_object_of_a_slice_in_several_parts(stack: Stack) -> None:
    labels = numbered_anew(stack.labels["neurites"])
    stack.labels = {"neurites": labels}
    assert stack.findings() == []
    one, other, third = np.unique(labels[7])[[3, 8, 12]]
    apart = int(min((labels[7] == each).sum() for each in (one, other, third)))
    labels[7][np.isin(labels[7], [other, third])] = one
    finding = stack.only("parts")
    assert finding.slices == (7,)
    assert finding.ids == ((7, one),)
    assert "in 3" in finding.message
    assert apart > 0


def test_ids_through_the_slices_may_branch(stack: Stack) -> None:
    neurites = stack.labels["neurites"]
    neurites[np.isin(neurites, [12, 40, 61])] = 3
    assert stack.findings() == []
