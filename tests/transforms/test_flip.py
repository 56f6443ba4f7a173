"""Flips: their own inverse, and left and right change names only when they change sides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import LabelError, UsageError
from medseg.transforms.entries import Entries
from medseg.transforms.flip import FlipConfig, FlipParams, swap_classes

PAIRS = ((1, 2),)


def one_voxel(label: int) -> torch.Tensor:
    labels = torch.zeros(1, 4, 3, 2, dtype=torch.int16)
    labels[0, 0, 0, 0] = label
    return labels


@given(st.sets(st.integers(0, 2), min_size=1), st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_flipping_twice_is_the_identity(axes, seed):
    flip = FlipConfig().build(mirror_pairs=PAIRS)
    labels = torch.randint(-1, 4, (2, 4, 3, 2), dtype=torch.int16, generator=torch.Generator().manual_seed(seed))
    sample = {"image": labels[:1].float(), "labels": labels}
    params = FlipParams(tuple(sorted(axes)))

    twice = flip.apply(flip.apply(sample, params), params)

    assert torch.equal(twice["image"], sample["image"]) and torch.equal(twice["labels"], labels)


def test_left_right_flip_renames_a_left_structure():
    flipped = FlipConfig().build(mirror_pairs=PAIRS).apply_labels(one_voxel(1), FlipParams((0,)))
    assert flipped[0, 3, 0, 0] == 2 and flipped.sum() == 2


def test_up_down_flip_keeps_the_names():
    flipped = FlipConfig().build(mirror_pairs=PAIRS).apply_labels(one_voxel(1), FlipParams((2,)))
    assert flipped[0, 0, 0, 1] == 1 and flipped.sum() == 1


def test_by_chirality_every_odd_number_of_flips_swaps_the_names():
    flip = FlipConfig(swap="chirality").build(mirror_pairs=PAIRS)
    swaps = {axes: bool(flip.apply_labels(one_voxel(1), FlipParams(axes)).max() == 2)
             for axes in [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]}  # fmt: skip
    assert swaps == {(0,): True, (1,): True, (2,): True, (0, 1): False, (1, 2): False, (0, 1, 2): True}


def test_a_flip_is_undone_by_itself():
    flip, params = FlipConfig().build(mirror_pairs=PAIRS), FlipParams((0, 2))
    entries = Entries({"image": torch.rand(1, 4, 3, 2)}, {"labels": one_voxel(1)}, (1.0, 1.0, 1.0))
    back = flip.invert_entries(flip.apply_entries(entries, params), params, (4, 3, 2))
    assert torch.equal(back.images["image"], entries.images["image"])
    assert torch.equal(back.labels["labels"], entries.labels["labels"])


def test_left_right_axis_can_be_another_one():
    flip = FlipConfig().build(mirror_pairs=PAIRS, left_right_axis=2)
    assert flip.apply_labels(one_voxel(1), FlipParams((2,)))[0, 0, 0, 1] == 2


def test_soft_channels_of_a_pair_are_swapped():
    soft = torch.zeros(3, 2, 1, 1)
    soft[0], soft[1, 0], soft[2, 1] = 0.25, 0.75, 0.75
    flipped = FlipConfig().build(mirror_pairs=PAIRS).apply_labels(soft, FlipParams((0,)))
    assert flipped[:, 0, 0, 0].tolist() == [0.25, 0.75, 0.0]
    assert flipped[:, 1, 0, 0].tolist() == [0.25, 0.0, 0.75]


def test_swap_of_several_pairs_leaves_ignore_and_others():
    labels = torch.tensor([-1, 0, 1, 2, 3, 4, 5], dtype=torch.int16)
    assert swap_classes(labels, ((1, 2), (5, 4))).tolist() == [-1, 0, 2, 1, 3, 5, 4]


def test_swapping_does_not_touch_the_callers_labels():
    labels = one_voxel(1)
    swap_classes(labels, PAIRS)
    assert torch.equal(labels, one_voxel(1))


def test_every_axis_is_flipped_about_half_of_the_time():
    flip = FlipConfig(axes=(0, 1, 2)).build()
    rng = np.random.default_rng(0)
    drawn = [flip.sample(rng, (4, 4, 4), (1, 1, 1)) for _ in range(2000)]
    for axis in range(3):
        share = sum(params is not None and axis in params.axes for params in drawn) / 2000
        assert abs(share - 0.5) < 0.05  # 4.5 standard errors


@pytest.mark.parametrize("pairs", [((1, 1),), ((1, 2), (2, 3)), ((-1, 2),)])
def test_pairs_that_do_not_pair_are_refused(pairs):
    with pytest.raises(LabelError, match="one to one"):
        FlipConfig().build(mirror_pairs=pairs)


def test_pair_beyond_the_soft_channels_is_refused():
    with pytest.raises(LabelError, match="below 2"):
        swap_classes(torch.full((2, 1, 1, 1), 0.5), ((1, 2),))


def test_unknown_left_right_axis_is_refused():
    with pytest.raises(UsageError, match="0, 1 or 2"):
        FlipConfig().build(left_right_axis=3)
