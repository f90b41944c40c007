from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsam.data.splits import SPLIT_NAMES, default_splits, parse_splits
from emsam.errors import InputError


def test_both_ends_are_included_and_one_number_is_one_slice() -> None:
    assert parse_splits("train=0-43,val=44-62,test=63", 64) == {
        "train": (0, 43),
        "val": (44, 62),
        "test": (63, 63),
    }


def test_spaces_order_and_gaps_are_free() -> None:
    assert parse_splits(" val=0-2 , train=10-19 ,", 20) == {"val": (0, 2), "train": (10, 19)}


@pytest.mark.parametrize(
    "text",
    [
        "train", "train=", "train=a-b", "train=5-", "train=-5", "train=3-1", "train=0-20",
        "trian=0-3", "val=0-3", "train=0-3,train=5-6", "train=0-5,val=5-9", "train=0-9,test=3-4",
        "", "train=0..3", "train=0-3;val=4-5",
    ],
)  # fmt: skip
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_splits(text, 20)
    assert "--split" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 500))
def test_default_covers_every_slice_once_in_order_of_z(depth: int) -> None:
    splits = default_splits(depth)
    spans = [splits[name] for name in SPLIT_NAMES if name in splits]
    assert [z for first, last in spans for z in range(first, last + 1)] == list(range(depth))
    assert all(first <= last for first, last in spans)
    if depth >= 3:
        assert set(splits) == set(SPLIT_NAMES)
    if depth >= 20:
        assert splits["train"][1] + 1 == pytest.approx(0.7 * depth, abs=1.5)


@given(st.integers(3, 200))
def test_default_can_be_typed(depth: int) -> None:
    splits = default_splits(depth)
    text = ",".join(f"{name}={first}-{last}" for name, (first, last) in splits.items())
    assert parse_splits(text, depth) == splits
