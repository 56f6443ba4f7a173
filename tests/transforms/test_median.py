"""The median of cubes, beside scipy's."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from medseg.transforms.channels import Channels
from medseg.transforms.median import MedianConfig, MedianParams, median_of, median_twin

SHAPES = [(1, 1, 1), (1, 5, 9), (12, 2, 1), (14, 11, 13)]
IMAGE = torch.randn(1, 30, 40, 36, generator=torch.Generator().manual_seed(0)) * 300


def make_image(shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(2)) * 300


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_median_equals_scipy_to_half_a_level(shape, size):
    image = make_image(shape)
    half_a_level = float(image.max() - image.min()) / 16382
    error = (median_of(image, size)[0] - torch.from_numpy(median_filter(image[0].numpy(), size=size))).abs().max()
    assert float(error) <= half_a_level * 1.01 + 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_median_by_torch_is_the_same(shape, size):
    image = make_image(shape)
    torch.testing.assert_close(median_twin(image, size), median_of(image, size), atol=1e-3, rtol=0)


def test_median_of_planes_longer_than_a_chunk_equals_scipy():
    theirs = torch.from_numpy(median_filter(IMAGE[0].numpy(), size=3))
    assert float((median_of(IMAGE, 3)[0] - theirs).abs().max()) < 0.2


def test_median_does_not_depend_on_the_number_of_threads():
    once = median_of(IMAGE, 3)
    torch.set_num_threads(3)
    assert torch.equal(median_of(IMAGE, 3), once)


def test_median_removes_a_point_and_keeps_an_edge():
    image = torch.zeros(1, 9, 9, 9)
    image[:, 5:] = 100
    pointed = image.clone()
    pointed[0, 2, 4, 4] = 100
    torch.testing.assert_close(MedianConfig().build().apply_image(pointed, MedianParams(3)), image)


def test_cube_of_one_voxel_and_image_of_one_value_change_nothing():
    flat, median = torch.full((1, 3, 3, 3), -7.3), MedianConfig().build()
    assert torch.equal(median.apply_image(IMAGE, MedianParams(1)), IMAGE)
    assert torch.equal(median.apply_image(flat, MedianParams(3)), flat)
    assert torch.equal(median_twin(flat, 3), flat)


def test_only_the_chosen_channels_are_smoothed():
    image = torch.rand(4, 5, 6, 7)
    smooth = MedianConfig().build().apply_image(image, MedianParams(3, Channels(0.5, 1)))
    assert [torch.equal(new, old) for new, old in zip(smooth, image, strict=True)] == [True, True, False, True]


def test_sizes_are_drawn_with_both_ends():
    median, rng = MedianConfig(probability=1, size=(2, 7)).build(), np.random.default_rng(0)
    assert {median.sample(rng, (4, 4, 4), (1, 1, 1)).size for _ in range(200)} == set(range(2, 8))
