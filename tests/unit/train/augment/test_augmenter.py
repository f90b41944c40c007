from __future__ import annotations

import numpy as np
import pytest
import torch
from windows import CHANGES, SIZE, augment, only, patches_of, random_batch, same

from emsam.data.patches import Batch, PatchSampler
from emsam.data.store import Volume
from emsam.params import AugmentParams, load_params
from emsam.train.augment.augmenter import Augmenter

ALWAYS = AugmentParams.model_validate({name: {"probability": 1} for name in CHANGES})


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    batch = random_batch()
    straight = Augmenter(ALWAYS, size=SIZE, seed=7)
    expected = [straight(batch, step) for step in range(4)]
    resumed = Augmenter(ALWAYS, size=SIZE, seed=7)
    torch.manual_seed(99)  # what else draws random numbers says nothing
    for step in (3, 1, 2, 3):
        assert same(resumed(batch, step), expected[step])
    assert not torch.equal(expected[0][0], expected[1][0])
    other_seed = Augmenter(ALWAYS, size=SIZE, seed=8)(batch, 0)
    assert not torch.equal(other_seed[0], expected[0][0])


def test_the_random_state_of_torch_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    augment(ALWAYS, random_batch())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_batch_that_is_given_stays_as_it_was() -> None:
    batch = random_batch(SIZE)
    before = batch.images.copy(), batch.labels.copy()
    augment(ALWAYS, batch)
    np.testing.assert_array_equal(batch.images, before[0])
    np.testing.assert_array_equal(batch.labels, before[1])


@pytest.mark.parametrize("step", range(4))
def test_shapes_types_and_range(step: int) -> None:
    batch = random_batch()
    images, ids = augment(ALWAYS, batch, step)
    assert (images.shape, images.dtype) == ((4, SIZE, SIZE), torch.float32)
    assert (ids.shape, ids.dtype) == ((4, SIZE, SIZE), torch.int32)
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(ids.unique().tolist()) <= set(np.unique(batch.labels).tolist())


@pytest.mark.parametrize(
    "params",
    [
        AugmentParams(amount=0),
        AugmentParams.model_validate(dict.fromkeys(CHANGES, 0)),
        AugmentParams.model_validate({name: {"probability": 0} for name in CHANGES}),
    ],
    ids=["amount", "strength", "probability"],
)
def test_nothing_asked_for_is_the_patch_itself(params: AugmentParams) -> None:
    batch = random_batch()
    for result, patch in zip(augment(params, batch), patches_of(batch), strict=True):
        np.testing.assert_array_equal(result.numpy(), patch)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_does_something_and_only_to_the_patches_it_is_drawn_for(name: str) -> None:
    batch = random_batch()
    plain = torch.from_numpy(patches_of(batch)[0])

    def changed(params: AugmentParams) -> list[bool]:
        images = [augment(params, batch, step)[0] for step in range(10)]
        return [not torch.equal(a, b) for each in images for a, b in zip(each, plain, strict=True)]

    always, half, tenth = (changed(only(name, probability=p)) for p in (1, 0.5, 0.1))
    assert sum(always) >= 32  # hardly any blur is none
    assert 8 <= sum(half) <= 32
    assert sum(tenth) <= 12
    assert all(in_half for in_tenth, in_half in zip(tenth, half, strict=True) if in_tenth)


def test_amount_scales_every_probability() -> None:
    batch = random_batch()
    for name in CHANGES:
        less = only(name, probability=0.8).model_copy(update={"amount": 0.5})
        for step in range(3):
            expected = augment(only(name, probability=0.4), batch, step)
            assert same(augment(less, batch, step), expected)


def test_a_patch_is_changed_alike_whether_or_not_another_one_is() -> None:
    """True of all but noise, whose fields are drawn for changed patches alone."""
    batch = random_batch()
    for name in set(CHANGES) - {"noise", "poisson"}:
        every = augment(only(name), batch, 5)[0]
        some = augment(only(name, probability=0.5), batch, 5)[0]
        plain = torch.from_numpy(patches_of(batch)[0])
        for one, all_, before in zip(some, every, plain, strict=True):
            close = torch.allclose(one, all_, atol=1e-5)
            assert close or torch.equal(one, before), name


def test_switching_one_change_off_leaves_the_others_as_they_were() -> None:
    batch = random_batch()
    both = {"missing": {"probability": 1}, "offset": {"probability": 1}}
    off = dict.fromkeys(CHANGES, 0)
    together = augment(AugmentParams.model_validate(off | both), batch)[0]
    alone = augment(only("missing"), batch)[0]
    black = (alone == 0) & (torch.from_numpy(patches_of(batch)[0]) > 0)
    assert (together[black] == 0).all()


def test_flips_alone_are_exact(synthetic_volume: Volume) -> None:
    params = load_params(None, ["augment.amount=0", "train.patch=64"])
    sampler = PatchSampler.of_job(synthetic_volume, params)
    augmenter = Augmenter.of_job(params, torch.device("cpu"))
    seen = set()
    for step in range(20):
        batch = sampler.batch(step, 2)
        images, ids = augmenter(batch, step)
        for number, place in enumerate(batch.places):
            seen.add(place.orientation)
            np.testing.assert_array_equal(images[number].numpy(), sampler.image(place))
            np.testing.assert_array_equal(ids[number].numpy(), batch.labels[number])
    assert seen == set(range(8))


def test_large_ids_survive_deformation() -> None:
    batch = random_batch()
    large = batch.labels + np.int32(2**31 - 60)  # no float32 tells these apart
    _, ids = augment(only("elastic"), batch._replace(labels=large))
    _, small = augment(only("elastic"), batch)
    assert torch.equal(ids, small + (2**31 - 60))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_but_for_fields_of_noise() -> None:
    params = AugmentParams.model_validate(
        {name: {"probability": 1} for name in CHANGES} | {"noise": 0, "poisson": 0}
    )
    batch: Batch = random_batch()
    here = augment(params, batch)
    there = Augmenter(params, size=SIZE, seed=7, device="cuda")(batch, 0)
    torch.testing.assert_close(there[0].cpu(), here[0], atol=2e-3, rtol=0)
    assert (there[1].cpu() == here[1]).float().mean() > 0.999
    again = Augmenter(ALWAYS, size=SIZE, seed=7, device="cuda")
    assert same(again(batch, 3), again(batch, 3))
