from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from windows import SIZE, augment, batch_of, flat_batch, only, patches_of, random_batch

STEPS = range(6)


def gradient_energy(images: Tensor) -> Tensor:
    return images.diff(dim=1).square().mean((1, 2)) + images.diff(dim=2).square().mean((1, 2))


@pytest.mark.parametrize("name", ["blur", "defocus"])
def test_blur_takes_edges_and_leaves_brightness(name: str) -> None:
    batch = random_batch(SIZE)
    before = torch.from_numpy(batch.images)
    energies = []
    for strength in (0.5, 3):
        images = torch.cat([augment(only(name, strength=strength), batch, s)[0] for s in STEPS])
        energies.append(gradient_energy(images).mean())
        torch.testing.assert_close(
            images.mean((1, 2)), before.mean((1, 2)).repeat(len(STEPS)), atol=0.01, rtol=0
        )
    assert energies[1] < 0.5 * energies[0] < 0.5 * gradient_energy(before).mean()


def test_blur_is_a_gaussian() -> None:
    point = np.zeros((4, SIZE, SIZE), np.float32)
    point[:, SIZE // 2, SIZE // 2] = 1
    images, _ = augment(only("blur", strength=2), batch_of(point))
    axis = torch.arange(SIZE) - SIZE // 2
    for image in images:
        sigma = float((image.sum(0) * axis**2).sum() ** 0.5)
        assert sigma <= 2.001
        if sigma > 0.6:  # below it a pixel is no point
            expected = gaussian_filter(point[0], sigma, truncate=4)
            np.testing.assert_allclose(image.numpy(), expected, atol=3e-3)


def test_defocus_is_a_disk() -> None:
    point = np.zeros((4, SIZE, SIZE), np.float32)
    point[:, SIZE // 2, SIZE // 2] = 1
    images, _ = augment(only("defocus", strength=6), batch_of(point))
    for image in images:
        flat = image[image > 0.99 * image.max()]
        radius = float((1 / image.max() / torch.pi) ** 0.5)
        assert radius <= 6.6
        assert len(flat) > 0.6 * torch.pi * radius**2 or radius < 2
        assert torch.equal(image[1:, 1:], image[1:, 1:].T)  # round


def test_poisson_variance_grows_with_brightness_and_falls_with_photons() -> None:
    def variance(grey: float, photons: float) -> float:
        images = [augment(only("poisson", photons=photons), flat_batch(grey), s)[0] for s in STEPS]
        deviation = torch.cat(images) - grey
        assert abs(float(deviation.mean())) < 0.01
        return float(deviation.square().mean())

    assert variance(0.6, 200) == pytest.approx(2 * variance(0.3, 200), rel=0.1)
    assert variance(0.3, 200) == pytest.approx(2 * variance(0.3, 400), rel=0.1)
    assert variance(0.3, 200) < 0.3 / 200  # 200 are the fewest
    assert variance(0.3, 200) > 0.3 / 2000
    assert variance(0.0, 200) == 0


def test_noise_is_gaussian_and_no_stronger_than_asked() -> None:
    images = torch.cat(
        [augment(only("noise", strength=0.05), flat_batch(0.5), s)[0] for s in STEPS]
    )
    deviations = (images - 0.5).flatten(1).std(1)
    assert 0.03 < deviations.max() < 0.052
    assert deviations.min() < 0.02
    normalised = (images - 0.5).flatten(1) / deviations[:, None]
    assert float((normalised.abs() < 1).float().mean()) == pytest.approx(0.683, abs=0.01)
    assert abs(float((normalised[:, 1:] * normalised[:, :-1]).mean())) < 0.01  # pixels differ


def test_gain_offset_and_gamma_are_what_they_say() -> None:
    grey = np.linspace(0.3, 0.7, SIZE * SIZE).reshape(1, SIZE, SIZE)
    before = torch.from_numpy(grey.astype(np.float32))
    for step in STEPS:
        gain = (augment(only("gain", strength=0.3), batch_of(grey), step)[0] - 0.5) / (before - 0.5)
        factor = gain[(before - 0.5).abs() > 0.05]
        assert factor.max() - factor.min() < 1e-4
        assert 0.7 <= factor.mean() <= 1.3
        shift = augment(only("offset", strength=0.2), batch_of(grey), step)[0] - before
        assert shift.max() - shift.min() < 1e-5
        assert shift.abs().max() <= 0.2
        power = augment(only("gamma", strength=0.4), batch_of(grey), step)[0].log() / before.log()
        assert power.max() - power.min() < 1e-3
        assert power.log().abs().max() <= 0.401


def test_drift_is_slow_and_differs_across_the_patch() -> None:
    images, _ = augment(only("drift", strength=0.5), flat_batch(0.5))
    change = images - 0.5
    assert (change.amax((1, 2)) - change.amin((1, 2)) > 0.02).all()
    assert change.abs().max() <= 0.25
    assert images.diff(dim=1).abs().max() < 0.02
    bright, _ = augment(only("drift", strength=0.5), flat_batch(0.9))
    dark, _ = augment(only("drift", strength=0.5), flat_batch(0.1))
    contrast = (bright - dark) / 0.8
    assert (contrast.amax((1, 2)) - contrast.amin((1, 2)) > 0.02).all()
    assert (contrast - 1).abs().max() <= 0.51


def test_curtains_vary_across_stripes_and_little_along_them() -> None:
    directions = set()
    for step in STEPS:
        images, _ = augment(only("curtains", strength=0.1), flat_batch(0.5), step)
        for image in images:
            across_x, across_y = (float(image.diff(dim=axis).std()) for axis in (1, 0))
            assert max(across_x, across_y) > 5 * min(across_x, across_y)
            directions.add(across_x > across_y)
            assert image.std() < 0.1
    assert directions == {True, False}


def test_missing_places_are_rectangles_no_larger_than_asked() -> None:
    batch = random_batch(SIZE)
    before, labels = patches_of(batch)
    fills = set()
    for step in range(12):
        images, ids = augment(only("missing", strength=0.4, count=1), batch, step)
        np.testing.assert_array_equal(ids.numpy(), labels)  # the tissue is still there
        for image, original in zip(images.numpy(), before, strict=True):
            y, x = np.nonzero(image != original)
            height, width = np.ptp(y) + 1, np.ptp(x) + 1
            assert max(height, width) <= 0.4 * SIZE + 1
            assert min(height, width) >= 0.2 * 0.4 * SIZE - 1
            assert len(y) >= height * width - 2  # a random pixel may have had this grey value
            (fill,) = np.unique(image[y, x])
            fills.add(float(fill) if fill in (0, 1) else "mean")
            assert fill in (0, 1) or fill == pytest.approx(original.mean(), abs=1e-5)
    assert fills == {0.0, 1.0, "mean"}


def test_several_places_can_be_missing() -> None:
    batch = random_batch(SIZE)
    areas = []
    for count in (1, 4):
        images = torch.cat([augment(only("missing", count=count), batch, s)[0] for s in STEPS])
        areas.append((images != torch.from_numpy(batch.images).repeat(6, 1, 1)).float().mean())
    assert areas[1] > 1.5 * areas[0]
    assert areas[1] < 4 * 0.25**2
