"""Separable filters: the compiled loops against torch and scipy."""

import numpy as np
import pytest
import torch
from monai.transforms.intensity.array import GaussianSmooth
from scipy.ndimage import gaussian_filter

from medseg.transforms.filters import blurred, blurred_twin, gaussian_weights, mixed, mixed_twin
from medseg.transforms.resolution import linear_taps, mean_taps, nearest_taps

SHAPES = [(1, 1, 1), (1, 9, 8), (9, 1, 8), (9, 8, 1), (13, 2, 3), (12, 11, 10)]


def make_image(shape, channels=2):
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigmas", [(0.7, 1.3, 2.9), (0.0, 2.0, 0.05)])
def test_blur_by_torch_is_the_same(shape, sigmas):
    image = make_image(shape)
    weights = [gaussian_weights(sigma if n > 1 else 0) for sigma, n in zip(sigmas, shape, strict=True)]
    torch.testing.assert_close(blurred(image, sigmas), blurred_twin(image, weights), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_equals_scipy(shape):
    image = make_image(shape, 1)
    theirs = gaussian_filter(image[0].double().numpy(), (0.5, 1.0, 2.5), mode="nearest", radius=(2, 3, 8))
    np.testing.assert_allclose(blurred(image, (0.5, 1.0, 2.5))[0].numpy(), theirs, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.7, 1.0])
def test_blur_equals_monai_away_from_the_border(sigma):
    image = make_image((24, 22, 20), 1)
    theirs = GaussianSmooth(sigma, approx="sampled")(image)
    inner = (slice(None), *[slice(6, -6)] * 3)  # MONAI takes zeros beyond the border, and cuts at 4 sigma
    torch.testing.assert_close(blurred(image, (sigma,) * 3)[inner], torch.as_tensor(theirs)[inner], atol=0.02, rtol=0)


def test_blur_of_a_view_is_that_of_its_copy():
    image = make_image((8, 9, 10)).flip(1).transpose(2, 3)
    copied = image.clone(memory_format=torch.contiguous_format)
    assert torch.equal(blurred(image, (1, 1, 1)), blurred(copied, (1, 1, 1)))


def test_blur_does_not_depend_on_the_number_of_threads():
    image = make_image((33, 9, 10))
    once = blurred(image, (1.0, 2.0, 3.0))
    torch.set_num_threads(3)
    assert torch.equal(blurred(image, (1.0, 2.0, 3.0)), once)


def test_weights_sum_to_one_and_fall():
    weights = gaussian_weights(1.7)
    assert weights[0] + 2 * sum(weights[1:]) == pytest.approx(1) and weights == sorted(weights, reverse=True)


@pytest.mark.parametrize("kept", [(), (0,), (1,), (2,), (0, 2)])
@pytest.mark.parametrize("taps", [mean_taps, nearest_taps, linear_taps])
def test_mixing_by_torch_is_the_same(kept, taps):
    image = make_image((7, 5, 6), channels=4)
    sides = tuple(None if axis in kept else taps(n, 3) for axis, n in enumerate((7, 5, 6)))
    torch.testing.assert_close(mixed(image, sides), mixed_twin(image, sides), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_mixing_is_the_product_with_a_matrix_along_each_axis(shape):
    image, sides = make_image(shape), tuple(mean_taps(n, (n + 1) // 2) for n in shape)
    matrices = [np.zeros((len(places), n)) for (places, _), n in zip(sides, shape, strict=True)]
    for matrix, (places, weights) in zip(matrices, sides, strict=True):
        np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
    expected = np.einsum("cxyz,ix,jy,kz->cijk", image.double().numpy(), *matrices)
    np.testing.assert_allclose(mixed(image, sides).numpy(), expected, atol=1e-6)


def test_mixing_does_not_depend_on_the_number_of_threads():
    image, sides = make_image((33, 9, 10)), (mean_taps(33, 20), None, linear_taps(10, 17))
    once = mixed(image, sides)
    torch.set_num_threads(3)
    assert torch.equal(mixed(image, sides), once)


@pytest.mark.parametrize("taps", [mean_taps, nearest_taps, linear_taps])
@pytest.mark.parametrize(("count", "length"), [(1, 1), (10, 1), (10, 3), (10, 9), (3, 10), (7, 7)])
def test_weights_of_every_new_voxel_sum_to_one(taps, count, length):
    if length > count and taps is mean_taps:
        length = count
    places, weights = taps(count, length)
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(length))
    assert places.min() >= 0 and places.max() < count and weights.min() >= 0
