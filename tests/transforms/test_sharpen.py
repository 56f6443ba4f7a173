"""Sharpening: what it does to fine and coarse detail."""

import numpy as np
import pytest
import torch
from scipy.ndimage import laplace

from medseg.transforms.filters import blurred
from medseg.transforms.sharpen import SharpenConfig, SharpenParams, less_laplacian

SHARPEN = SharpenConfig().build()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (8, 9, 10)])
def test_difference_to_the_neighbours_equals_scipy(shape):
    image = torch.randn(1, *shape)
    expected = image[0].numpy() - 0.6 * laplace(image[0].numpy(), mode="nearest")
    np.testing.assert_allclose(less_laplacian(image, 0.6)[0].numpy(), expected, atol=1e-5)


def test_unsharp_mask_is_the_image_plus_what_the_blur_takes():
    image = torch.randn(1, 9, 8, 7)
    sharp = SHARPEN.apply_image(image, SharpenParams(0.5, 1.0, (1.0, 1.0, 2.0)))
    torch.testing.assert_close(sharp, image + 0.5 * (image - blurred(image, (1.0, 1.0, 0.5))))


@pytest.mark.parametrize(("period", "gain"), [(2, 2.0), (64, 1.05)])
def test_fine_waves_grow_by_one_plus_the_strength_and_coarse_ones_hardly(period, gain):
    wave = torch.cos(2 * torch.pi * torch.arange(128) / period).reshape(1, 128, 1, 1)
    sharp = SHARPEN.apply_image(wave, SharpenParams(1.0, 3.0, (1.0, 1.0, 1.0)))
    assert float(sharp[0, 32:96].abs().max()) == pytest.approx(gain, abs=0.01)


@pytest.mark.parametrize("sigma_mm", [None, 1.0])
def test_a_flat_image_and_the_mean_stay(sigma_mm):
    flat, image = torch.full((1, 6, 6, 6), -40.0), torch.rand(1, 6, 6, 6)
    params = SharpenParams(0.7, sigma_mm, (1, 1, 1))
    torch.testing.assert_close(SHARPEN.apply_image(flat, params), flat)
    if sigma_mm is None:
        torch.testing.assert_close(SHARPEN.apply_image(image, params).mean(), image.mean())


@pytest.mark.parametrize("params", [SharpenParams(0.0, None, (1, 1, 1)), SharpenParams(1.0, 0.01, (1, 1, 1))])
def test_no_strength_or_no_width_changes_no_bit_and_never_the_input(params):
    image = torch.rand(2, 4, 3, 2)
    kept = image.clone()
    assert torch.equal(SHARPEN.apply_image(image, params), kept) and torch.equal(image, kept)


def test_width_of_null_stands_for_the_six_neighbours():
    params = SharpenConfig(probability=1, sigma_mm=None).build().sample(np.random.default_rng(0), (4, 4, 4), (1, 1, 1))
    assert params.sigma_mm is None and 0.3 <= params.strength <= 1
