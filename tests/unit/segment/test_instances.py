from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emsam.errors import InputError
from emsam.params import Params, SegmentParams, TargetParams
from emsam.segment.instances import make_instances
from emsam.train.targets import make_targets

METHODS = get_args(SegmentParams.model_fields["method"].annotation)
"""Every method, the default first."""
BY_FRAGMENTS = ("agglomerate", "multicut")
PROBABILITY = st.floats(0.9375, 1, width=32) | st.floats(0, 1, width=32)
"""Every other one so sure that objects begin there."""


def post(**segment: Any) -> Params:
    """Parameters of a network of foreground, affinities in x and in y, and distance."""
    return Params(
        targets=TargetParams(
            channels=("foreground", "affinities", "distance"), offsets=((0, 1), (1, 0))
        ),
        segment=SegmentParams(**segment),
    )


def drawn(labels: np.ndarray, certainty: float = 0.95) -> np.ndarray:
    """Maps (4, y, x) of a network that sees ``labels``, membranes as sure as objects."""
    alike_x = np.zeros(labels.shape, bool)
    alike_x[:, :-1] = (labels[:, :-1] == labels[:, 1:]) & (labels[:, 1:] > 0)
    alike_y = np.zeros(labels.shape, bool)
    alike_y[:-1] = (labels[:-1] == labels[1:]) & (labels[1:] > 0)
    maps = np.where([labels > 0, alike_x, alike_y], certainty, 1 - certainty)
    distance = make_targets(torch.from_numpy(labels)[None], post())[0][:, -1]
    return np.concatenate([maps, distance]).astype(np.float32)


def test_the_default_is_the_first_method() -> None:
    assert METHODS[0] == SegmentParams().method


@pytest.fixture
def three_objects() -> np.ndarray:
    """Two objects side by side with a membrane of one pixel, and one apart."""
    labels = np.zeros((40, 60), np.int32)
    labels[3:18, 3:20] = 7
    labels[3:18, 21:40] = 9
    labels[25:38, 10:50] = 4
    return labels


@pytest.mark.parametrize("method", METHODS)
def test_drawn_objects_are_found(three_objects: np.ndarray, method: str) -> None:
    ids, confidence = make_instances(drawn(three_objects), post(method=method))
    assert (ids.shape, ids.dtype) == (three_objects.shape, np.int32)
    np.testing.assert_array_equal(ids > 0, three_objects > 0)
    pairs = {(int(a), int(b)) for a, b in zip(three_objects.flat, ids.flat, strict=True) if a}
    assert sorted(b for _, b in pairs) == [1, 2, 3]
    assert confidence.shape == (3,)
    assert ((confidence > 0.5) & (confidence <= 1)).all()


@pytest.mark.parametrize("method", ["seeds", *BY_FRAGMENTS])
def test_touching_objects_are_told_apart_by_affinity(method: str) -> None:
    labels = np.repeat([1, 2], 20)[None].repeat(20, axis=0)
    ids, confidence = make_instances(drawn(labels), post(method=method))
    assert len(confidence) == 2
    assert len(np.unique(ids[:, :18])) == len(np.unique(ids[:, 22:])) == 1
    assert (ids > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_small_objects_are_dropped(three_objects: np.ndarray, method: str) -> None:
    three_objects[20:23, 55:58] = 5  # nine pixels, a seed of fewer
    for least, count in ((0, 4), (20, 3), (100_000, 0)):
        ids, confidence = make_instances(drawn(three_objects), post(method=method, min_size=least))
        assert ids.max() == len(confidence) == count


@pytest.mark.parametrize("method", ["seeds", *BY_FRAGMENTS])
def test_small_seeds_are_dropped(method: str) -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[2:18, 2:18] = 1
    maps = drawn(labels)
    maps[:3, 2:18, 8:18] = 0.6  # foreground, but no seed
    found = [
        int(make_instances(maps, post(method=method, min_size=least))[0].max())
        for least in (75, 100)
    ]
    assert found == [1, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_any_object_and_with_one_that_fills_the_slice(
    value: float, method: str
) -> None:
    ids, confidence = make_instances(np.full((4, 20, 30), value, np.float32), post(method=method))
    assert (ids == value).all()
    assert confidence.tolist() == [1.0] * int(value)


@pytest.mark.parametrize("method", METHODS)
def test_confidence_ranks_the_surer_object_higher(three_objects: np.ndarray, method: str) -> None:
    maps = drawn(three_objects, 0.99)
    dim = three_objects == 9
    maps[:3, dim] = np.minimum(maps[:3, dim], 0.91)
    ids, confidence = make_instances(maps, post(method=method))
    assert confidence.argmin() == ids[10, 30] - 1


@pytest.mark.parametrize("method", METHODS)
def test_objects_that_are_not_sure_enough_are_dropped(
    three_objects: np.ndarray, method: str
) -> None:
    maps = drawn(three_objects, 0.99)
    dim = three_objects == 9
    maps[:3, dim] = np.minimum(maps[:3, dim], 0.91)
    everything, sureness = make_instances(maps, post(method=method))
    least = float(np.sort(sureness)[0]) + 0.01
    sure, confidence = make_instances(maps, post(method=method, min_confidence=least))
    np.testing.assert_array_equal(sure > 0, (everything > 0) & ~dim)
    np.testing.assert_array_equal(np.unique(sure), [0, 1, 2])
    np.testing.assert_array_equal(confidence, np.sort(sureness)[1:])


@pytest.mark.parametrize("method", METHODS)
@settings(phases=[Phase.generate])  # shrinking so many numbers takes minutes
@given(coarse=arrays(np.float32, (4, 3, 4), elements=PROBABILITY, fill=st.nothing()))
def test_ids_are_dense_and_confidence_belongs_to_them(method: str, coarse: np.ndarray) -> None:
    maps = np.kron(coarse, np.ones((1, 3, 3), np.float32))
    ids, confidence = make_instances(maps, post(method=method, min_size=10))
    assert set(np.unique(ids)) - {0} == set(range(1, len(confidence) + 1))
    assert (np.bincount(ids.ravel())[1:] >= 10).all()
    assert (maps[0][ids > 0] > 0.5).all()
    interior = maps[0] * np.minimum(maps[1], maps[2])
    for number, value in enumerate(confidence, start=1):
        assert value == pytest.approx(interior[ids == number].mean(), abs=1e-5)


@pytest.mark.parametrize("method", BY_FRAGMENTS)
def test_a_gap_in_a_membrane_merges_no_two_objects(method: str) -> None:
    """Seeds leak through one weak pixel; the mean over the whole boundary does not."""
    labels = np.zeros((60, 60), np.int32)
    labels[:, :29], labels[:, 31:] = 1, 2
    maps = drawn(labels, 0.99)
    maps[:, 30, 28:32] = 0.85
    assert make_instances(maps, post(method="seeds", threshold=0.6))[0].max() == 1
    assert make_instances(maps, post(method=method))[0].max() == 2


@pytest.mark.parametrize("method", BY_FRAGMENTS)
def test_merge_decides_what_a_weak_boundary_is(method: str) -> None:
    labels = np.ones((40, 60), np.int32)
    maps = drawn(labels, 0.98)
    maps[1, :, 29] = 0.5  # the network cannot say whether this is a membrane
    counts = {
        merge: int(make_instances(maps, post(method=method, merge=merge))[0].max())
        for merge in (0.4, 0.6)
    }
    assert counts == {0.4: 1, 0.6: 2}


@pytest.mark.parametrize("method", METHODS[1:])
def test_an_unsure_object_is_not_lost_to_a_sure_neighbour(method: str) -> None:
    """Seeds lose it: nothing in it is as sure as ``threshold``."""
    labels = np.zeros((40, 60), np.int32)
    labels[:, :29], labels[:, 31:] = 1, 2
    maps = np.where(labels[None] == 2, drawn(labels, 0.78), drawn(labels, 0.99))
    assert make_instances(maps, post(method="seeds"))[0].max() == 1
    assert make_instances(maps, post(method=method))[0].max() == 2


def test_mitochondria_that_touch_are_parted_by_the_distance_that_the_network_was_taught() -> None:
    y, x = np.mgrid[:40, :70]
    labels = np.zeros((40, 70), np.int32)
    labels[(y - 20) ** 2 + (x - 20) ** 2 < 14**2] = 1
    labels[((y - 20) ** 2 + (x - 46) ** 2 < 14**2) & (labels == 0)] = 2
    params = Params(
        task="mitochondria",
        targets=TargetParams(offsets=((0, 1), (1, 0))),
        segment=SegmentParams(method="distance"),
    )
    target, _ = make_targets(torch.from_numpy(labels)[None], params)
    maps = target[0].numpy()
    maps[0] = labels > 0
    maps[3] = np.where(labels > 0, np.maximum(maps[3], 0.5), maps[3])
    ids, _ = make_instances(maps, params)
    np.testing.assert_array_equal(ids > 0, labels > 0)
    assert ids.max() == 2
    assert (ids[labels == 1] == ids[20, 20]).mean() > 0.97
    assert (ids[labels == 2] == ids[20, 46]).mean() > 0.97


def test_distance_needs_a_network_that_predicts_it() -> None:
    params = Params(
        targets=TargetParams(offsets=((0, 1), (1, 0))), segment=SegmentParams(method="distance")
    )
    with pytest.raises(InputError, match="distance"):
        make_instances(np.ones((3, 20, 20), np.float32), params)
